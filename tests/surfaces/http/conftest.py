"""Fixtures of the HTTP service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.store.conftest import postgres_schema_url, postgres_url
from tests.surfaces.http.servers import Served, redis_server, serving

__all__ = ["postgres_schema_url", "postgres_url"]


@pytest.fixture(scope="session")
def _redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_url(_redis: str) -> str:
    """Return the URL of an empty Redis."""
    import redis

    with redis.Redis.from_url(_redis) as client:
        client.flushall()
    return _redis


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve with default settings, no credential and no model."""
    async with serving(tmp_path) as running:
        yield running

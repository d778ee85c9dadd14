"""Fixtures for transports: real sshd processes, and the places of the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from tests.transports.contract import FACTORIES, Place
from tests.transports.sshd import Sshd


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """Yield one sshd for all tests that leave it as it is."""
    server = Sshd()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_sshd() -> Iterator[Sshd]:
    """Yield an sshd that this test may break."""
    server = Sshd()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
async def pool(sshd: Sshd, tmp_path: Path) -> AsyncIterator[SshPool]:
    """Yield a pool that knows the shared sshd as web1."""
    config = tmp_path / "ssh_config"
    config.write_text(sshd.config())
    async with SshPool(SshConfig(config=str(config))) as opened:
        yield opened


@pytest.fixture(params=sorted(FACTORIES))
async def place(request: pytest.FixtureRequest, short_dir: Path, sshd: Sshd) -> AsyncIterator[Place]:
    """Yield each transport of the contract suite, opened."""
    root = short_dir / "place"
    root.mkdir()
    async with FACTORIES[request.param](root, sshd) as opened:
        yield opened

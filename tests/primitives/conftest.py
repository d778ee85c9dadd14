"""Call verbs in process, without an event loop, and clean up the backups they leave in /var/tmp."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.surfaces.context import BlockingContext
from sane.transports.blocking import run_blocking
from sane.verbs.registry import as_json, load_verb

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call() -> Iterator[Call]:
    """Yield a function that calls a verb by name and returns its answer as JSON has it."""
    context = BlockingContext()

    def call_verb(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return as_json(run_blocking(load_verb(name).function(context, *args, **kwargs)))

    yield call_verb
    run_blocking(context.close())


@pytest.fixture(autouse=True)
def _no_backups_left() -> Iterator[None]:
    """Remove the backups a test made; their names hold the second they were made in."""
    started = int(time.time()) - 1
    yield
    for path in Path("/var/tmp").glob("backup-*-*"):
        epoch = path.name.split("-")[1]
        if epoch.isdigit() and int(epoch) >= started and path.name.split("-", 2)[2].startswith("t-"):
            path.unlink()

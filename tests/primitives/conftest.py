"""Call verbs in process, without an event loop, and clean up the backups they leave in /var/tmp."""

from __future__ import annotations

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
    """Yield a function that calls a verb by name and returns its answer as JSON has it; remove its backups."""
    context, backups = BlockingContext(), list[str]()

    def call_verb(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        answer = as_json(run_blocking(load_verb(name).function(context, *args, **kwargs)))
        backups.extend([str(answer["backup_path"])] if answer.get("backup_path") else [])
        return answer

    yield call_verb
    run_blocking(context.close())
    for backup in backups:
        Path(backup).unlink(missing_ok=True)

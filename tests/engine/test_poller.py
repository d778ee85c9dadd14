"""One poll of one host, on this machine, with the real shell text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.command import Command, CommandResult
from sane.core.target import Target
from sane.engine.poller import PolledHost, poll_host
from sane.engine.runner import steady_clock
from sane.transports.context import Context
from sane.transports.local import LocalTransport

NOW = steady_clock()


class _Writing(LocalTransport):
    """Be a host whose program is in the middle of its health file; `texts` is what the file holds at each question."""

    def __init__(self, path: Path, *texts: str) -> None:
        super().__init__()
        self._path, self._texts = path, list(texts)

    async def transport(self, target: Target) -> _Writing:
        return self

    async def run(self, command: Command, *rest: Any) -> CommandResult:
        self._path.write_text(self._texts.pop(0))
        return await super().run(command, *rest)


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        (['{"status": "hea', '{"status": "healthy"}'], "pass"),
        (['{"status": "hea', '{"status": "hea'], "malformed"),
        (['["healthy"]'], "malformed"),  # not cut: asked once
    ],
)
async def test_a_file_that_looks_cut_is_read_once_more(tmp_path: Path, texts: list[str], verdict: str) -> None:
    path = tmp_path / "health.json"
    host = PolledHost("web1", Target(None, None), str(path))
    sample = await poll_host(cast("Context", _Writing(path, *texts)), host, NOW)
    assert (sample.reachable, sample.verdict) == (True, verdict)


async def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    context = cast("Context", _Writing(tmp_path / "other", ""))
    sample = await poll_host(context, PolledHost("web1", Target(None, None), str(tmp_path)), NOW)
    assert (sample.reachable, sample.verdict) == (True, "missing")

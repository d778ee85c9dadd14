"""Closing what is open on hosts that confirm no end: it takes its time and no longer, and raises nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.core.target import Target
from sane.engine import context as contexts
from sane.engine import host_leases
from sane.engine.context import AsyncContext
from sane.engine.host_leases import HostLeases
from sane.transports.base import Machine
from sane.transports.local import LocalTransport

LIMIT_S = 0.2


class _Silence:
    """Answer nothing, not even to who stops waiting, until `confirmed` is set."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.confirmed = asyncio.Event()

    async def keep(self) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.confirmed.wait()


@pytest.fixture
def silence() -> Iterator[_Silence]:
    kept = _Silence()
    yield kept
    kept.confirmed.set()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "CLOSE_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(host_leases, "RELEASE_TIMEOUT_S", LIMIT_S)


class _SilentContext(AsyncContext):
    def __init__(self, silence: _Silence) -> None:
        super().__init__()
        self._silence = silence

    async def machine(self, host: str | None) -> Machine:
        await self._silence.keep()
        raise AssertionError


async def test_a_target_that_never_opens_keeps_a_context_from_closing_for_the_limit_only(silence: _Silence) -> None:
    context = _SilentContext(silence)
    opening = asyncio.create_task(context.transport(Target("web1", "%1")))
    await asyncio.wait_for(silence.asked.wait(), 5)
    closing = asyncio.create_task(context.close())
    done, _ = await asyncio.wait({closing}, timeout=10 * LIMIT_S)
    silence.confirmed.set()
    await asyncio.gather(opening, closing, return_exceptions=True)
    assert done == {closing}
    assert closing.exception() is None


async def test_leases_that_nobody_confirms_are_given_up_within_the_limit(silence: _Silence, tmp_path: Path) -> None:
    transport, taken = LocalTransport(), False

    async def run(host: str, command: Command) -> CommandResult:
        nonlocal taken
        if taken:
            await silence.keep()
        taken = True
        env = {**command.env, "SANE_HOST_DIR": str(tmp_path)}
        return await transport.run(Command(command.script, env=env, timeout_s=5.0))

    leases = HostLeases("app", "a:one", lambda: 1, run)
    await leases.take("web1")
    releasing = asyncio.create_task(leases.release())
    done, _ = await asyncio.wait({releasing}, timeout=10 * LIMIT_S)
    silence.confirmed.set()
    await asyncio.gather(releasing, return_exceptions=True)
    assert done == {releasing}
    assert releasing.exception() is None

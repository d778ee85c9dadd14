"""Tasks that work beside a loop: what goes wrong in one is survived, or ends the loop, and never goes unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.target import Target
from sane.engine import host_leases
from sane.engine.host_leases import HostLeases
from sane.engine.poller import PolledHost, Poller
from sane.errors import StoreError, UnavailableError
from sane.store import open_store
from sane.store.base import Store
from sane.transports.context import Context
from sane.transports.local import LocalTransport
from tests.engine.test_runner import NOW, ScriptedPerformer, create, runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


class _RestartingStore:
    """Break off whoever follows the log for the first time, as a database does that is started anew."""

    def __init__(self, within: Store) -> None:
        self._within = within
        self.broken = asyncio.Event()

    async def follow(self, *args: Any, **options: Any) -> AsyncGenerator[Event]:
        if not self.broken.is_set():
            self.broken.set()
            raise StoreError("the event log can't be reached")
        async for event in self._within.follow(*args, **options):
            yield event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def test_a_request_is_heard_though_the_log_was_away_for_a_moment(store: Store) -> None:
    performer, restarting = ScriptedPerformer(), _RestartingStore(store)
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 2)
    running = asyncio.create_task(runner(cast("Store", restarting), performer).run())
    await asyncio.wait_for(asyncio.gather(performer.reached.wait(), restarting.broken.wait()), 5)
    changes = store.follow(None, deployment="app-1", kinds=("deployment_transition",))
    paused = asyncio.create_task(anext(changes))
    data = {"request": "pause", "reason": "wait"}
    await store.append([Event("operator_request", NOW(), key="app", deployment="app-1", data=data)])
    assert (await asyncio.wait_for(paused, 10)).data["to"] == "paused"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    said = [event.data["text"] for event in await store.read(kinds=("message",))]
    assert len(said) == 1
    assert "can't be reached" in said[0]


class _BrokenContext:
    async def transport(self, target: Target) -> Any:
        raise RuntimeError("a defect")


async def test_a_defect_in_the_polling_of_a_host_comes_to_light(store: Store) -> None:
    wake = asyncio.Event()
    hosts = [PolledHost("web1", Target("web1", None), "health.json")]
    poller = Poller(cast("Context", _BrokenContext()), hosts, interval_ms=1000, now_ms=NOW, once=True)
    poller.start(wake)
    try:
        await asyncio.wait_for(wake.wait(), 5)
        with pytest.raises(RuntimeError, match="a defect"):
            poller.take()
    finally:
        await poller.stop()


async def test_a_lease_on_a_busy_host_is_renewed_at_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_leases, "HOST_LEASE_S", 0.3)
    transport, renewed, asked = LocalTransport(), asyncio.Event(), 0

    async def busy(host: str, command: Command) -> CommandResult:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise UnavailableError("the host takes no further session")
        if asked > 2:
            renewed.set()
        env = {**command.env, "SANE_TTL": "1", "SANE_HOST_DIR": str(tmp_path)}
        return await transport.run(Command(command.script, env=env, timeout_s=5.0))

    async with HostLeases("app", "a:one", lambda: 1, busy).held("web1"):
        await asyncio.wait_for(renewed.wait(), 5)

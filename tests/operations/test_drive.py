"""Driving a deployment here: what the keyboard, a deadline and a log that is away make of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.events import Event
from sane.errors import InterruptedRunError, StoppedRunError, StoreError
from sane.operations.deployments import create_deployment, find_driver, load_plan, request
from sane.operations.drive import drive
from sane.operations.inputs import DeployRequest
from sane.store import open_store
from sane.store.base import Lease, Store

WORKFLOW = """\
name: app
stage:
  - name: hold
    run-command: {command: 'touch "$HOME/begun"; while [ ! -e "$HOME/go" ]; do sleep 0.05; done'}
"""
INVENTORY = "hosts: {web1: {target: 'local:'}}\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


@pytest.fixture
async def deployment(store: Store, tmp_path: Path) -> AsyncIterator[str]:
    """Yield the id of a deployment whose one step waits; it ends with the test."""
    (tmp_path / "app.yaml").write_text(WORKFLOW)
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    asked = DeployRequest(tmp_path / "app.yaml", tmp_path / "hosts.yaml", "1.0")
    yield (await create_deployment(store, load_plan(asked), asked)).deployment
    Path(os.environ["HOME"], "go").touch()


async def begun(store: Store) -> None:
    """Return once a step is under way."""
    async with asyncio.timeout(20):
        async for _ in store.follow(0, kinds=("step_started",)):
            return


class _Refusing:
    """A log that takes no event of a kind."""

    def __init__(self, within: Store, kind: str) -> None:
        self._within = within
        self._kind = kind

    async def append(self, events: list[Event], **options: Any) -> list[Event]:
        if any(event.kind == self._kind for event in events):
            raise StoreError("the disk is full", hint="Free space.")
        return await self._within.append(events, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


@pytest.fixture
async def refused(store: Store, tmp_path: Path) -> str:
    """Return the id of a deployment whose first hook waits for `go`, and fails."""
    hook = 'touch "$HOME/begun"; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo no backup >&2; exit 7'
    hooks = f"hooks:\n  pre_deploy:\n  - name: check\n    run-command: {{command: '{hook}'}}\n"
    (tmp_path / "app.yaml").write_text(WORKFLOW + hooks)
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    asked = DeployRequest(tmp_path / "app.yaml", tmp_path / "hosts.yaml", "1.0")
    return (await create_deployment(store, load_plan(asked), asked)).deployment


async def parts_begun(store: Store) -> set[object]:
    return {event.data.get("part") for event in await store.read(kinds=("step_started",))}


async def test_who_dies_between_a_failed_first_hook_and_its_word_leaves_hosts_that_nobody_touches(
    store: Store, refused: str
) -> None:
    Path(os.environ["HOME"], "go").touch()
    with pytest.raises(InterruptedRunError):
        await drive(cast("Store", _Refusing(store, "operator_request")), refused, say=lambda _: None)
    async with asyncio.timeout(20):
        state = await drive(store, refused, say=lambda _: None)
    assert (state.status, state.hosts[0].status) == ("failed", "not_attempted")
    assert "hook pre_deploy, step 'check': no backup" in state.reason
    assert await parts_begun(store) == {"pre_deploy"}


async def test_a_first_hook_that_fails_in_a_cancelled_deployment_leaves_it_cancelled(
    store: Store, refused: str
) -> None:
    driving = asyncio.create_task(drive(store, refused, say=lambda _: None))
    await begun(store)
    await request(store, refused, "cancel", "enough")
    Path(os.environ["HOME"], "go").touch()
    async with asyncio.timeout(20):
        state = await driving
    assert (state.status, state.hosts[0].status) == ("cancelled", "not_attempted")
    assert await parts_begun(store) == {"pre_deploy"}


class _GoneLog:
    """A log that is away from the end of the first step on: it takes nothing more, not even a lease back."""

    def __init__(self, within: Store) -> None:
        self._within = within
        self._gone = False

    async def append(self, events: list[Event], **options: Any) -> list[Event]:
        self._gone = self._gone or any(event.kind == "step_finished" for event in events)
        if self._gone:
            raise StoreError("the disk is full")
        return await self._within.append(events, **options)

    async def release_lease(self, lease: Lease, now_ms: int) -> None:
        if self._gone:
            raise StoreError("the disk is full")
        await self._within.release_lease(lease, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def test_who_ended_without_its_log_keeps_nobody_waiting_for_the_end_of_its_lease(
    store: Store, deployment: str
) -> None:
    Path(os.environ["HOME"], "go").touch()
    with pytest.raises(InterruptedRunError, match="disk is full"):
        async with asyncio.timeout(20):
            await drive(cast("Store", _GoneLog(store)), deployment, say=lambda _: None)
    assert await store.find_lease("app") is not None
    assert await find_driver(store, "app") is None, "it has ended, whatever the lease says"
    await request(store, deployment, "cancel", "enough")
    async with asyncio.timeout(20):
        assert (await drive(store, deployment, say=lambda _: None)).status == "cancelled"


async def test_a_stop_by_signal_names_the_hosts_in_flight(store: Store, deployment: str) -> None:
    driving = asyncio.create_task(drive(store, deployment, say=lambda _: None))
    await begun(store)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="while at work on web1"):
        await asyncio.wait_for(driving, 20)


async def test_a_cancellation_from_outside_stays_one(store: Store, deployment: str) -> None:
    driving = asyncio.create_task(drive(store, deployment, say=lambda _: None))
    await begun(store)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving


async def test_a_cancellation_that_the_log_does_not_take_is_told_and_a_second_one_stops(
    store: Store, deployment: str
) -> None:
    said: list[str] = []
    told = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if "disk" in text:
            told.set()

    driving = asyncio.create_task(drive(cast("Store", _Refusing(store, "operator_request")), deployment, say=say))
    await begun(store)
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.wait_for(told.wait(), 5)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StoppedRunError, match="web1"):
            await asyncio.wait_for(driving, 20)
    assert said[-1] == "the disk is full"


async def test_a_log_that_fails_in_the_middle_interrupts_and_names_the_way_on(store: Store, deployment: str) -> None:
    refusing = cast("Store", _Refusing(store, "step_finished"))
    driving = asyncio.create_task(drive(refusing, deployment, say=lambda _: None))
    await begun(store)
    Path(os.environ["HOME"], "go").touch()
    with pytest.raises(InterruptedRunError, match="the disk is full") as caught:
        await asyncio.wait_for(driving, 20)
    assert caught.value.hint == f"Free space. sane resume {deployment} goes on where it stopped."
    assert await store.find_lease("app") is None, "whoever resumes need not wait for the end of the lease"

"""A host that refuses: it has an outcome of its own, and the rollout and what other hosts did go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.fleet.inventory import Host, Inventory
from sane.core.rollout.controller import Effect, JudgeGates, ProbeHealth, RolloutState, apply
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create as creation
from sane.core.rollout.state import HostSpec
from sane.core.target import Target
from sane.core.units import Amount
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.engine.context import AsyncContext
from sane.engine.hosts import HostPlaces
from sane.engine.performer import WorkflowPerformer
from sane.engine.plan import DeploymentPlan, Source
from sane.errors import SaneError, UnavailableError
from sane.store import open_store
from sane.store.base import Store
from sane.transports.local import LocalTransport
from tests.engine.test_runner import NOW, ScriptedPerformer, create, runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


class _BusyContext:
    """Take one command, and refuse every other one."""

    def __init__(self, refusal: SaneError) -> None:
        self._refusal = refusal
        self._taken = False
        self._within = LocalTransport()

    async def transport(self, target: Target) -> _BusyContext:
        return self

    async def run(self, command: Command) -> CommandResult:
        if self._taken:
            raise self._refusal
        self._taken = True
        return await self._within.run(command)


async def test_a_guard_that_can_not_be_called_off_is_a_sample_and_no_end_of_the_rollout(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    path.write_text(json.dumps({"status": "healthy", "version": "2"}))
    workflow = Workflow(name="app", key="app", health=HealthFile(path=str(path)))
    inventory = Inventory((Host("web1", target="local:"),), {})
    plan = DeploymentPlan(workflow, inventory, Source("", ""), Source("", ""))
    context = cast("AsyncContext", _BusyContext(UnavailableError("the host takes no further session")))
    places = HostPlaces(context, "app", "ssh")
    performer = WorkflowPerformer(plan, context, places, "me", lambda: 1, NOW, lambda _: None)
    policy = RolloutPolicy(min_healthy_ms=0, dead_man_ms=60_000)
    state = apply(None, creation("app-1", "app", 1, "2", [HostSpec("web1")], policy, NOW()))
    action = ProbeHealth("app-1/web1/probe/1", "web1", "2", activated=False)
    event = await performer.perform(action, state, resumed=False)
    assert (event.kind, event.data["verdict"]) == ("health_observed", "unreachable")
    assert event.data["reason"] == "the host takes no further session"


class _DefectivePerformer(ScriptedPerformer):
    """Fail, by a defect, at the stage of web1, in the turn in which that of web2 ends well."""

    async def perform(self, action: Effect | JudgeGates, state: RolloutState, *, resumed: bool) -> Event:
        event = await super().perform(action, state, resumed=resumed)
        if action.operation == "app-1/web1/stage/1":
            raise RuntimeError("a defect")
        return event


async def test_a_defect_in_one_effect_keeps_what_others_did_in_the_log(store: Store) -> None:
    await create(store, 2, max_parallel=Amount(2))
    performer, gate = _DefectivePerformer(), asyncio.Event()
    performer.hold = {("web1", "stage"): gate, ("web2", "stage"): gate}
    running = asyncio.create_task(runner(store, performer).run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    gate.set()
    with pytest.raises(RuntimeError, match="a defect"):
        await asyncio.wait_for(running, 5)
    ended = [e.data["operation"] for e in await store.read(kinds=("action_finished",)) if e.data["action"] == "stage"]
    assert ended == ["app-1/web2/stage/1"]

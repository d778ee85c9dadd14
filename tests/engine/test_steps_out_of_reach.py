"""A step whose host goes out of reach once it was, or may have been, begun: lost, which is probed, never unreachable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.fleet.inventory import Host, Inventory
from sane.core.host.detached import stop
from sane.core.rollout.controller import Stage, apply
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create as creation
from sane.core.rollout.state import HostSpec
from sane.core.target import Target
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import Workflow
from sane.engine import steps
from sane.engine.context import AsyncContext
from sane.engine.hosts import HostPlaces
from sane.engine.performer import WorkflowPerformer
from sane.engine.plan import DeploymentPlan, Source
from sane.errors import PaneError, SaneError, UnavailableError, UnreachableError
from sane.transports.context import Context
from sane.transports.local import LocalTransport
from tests.engine.test_runner import NOW
from tests.engine.test_steps import COUNT, PLACE, binding, count, home, step_of

__all__ = ["home"]
OPERATION = "app-1.web1.stage.1.1"
GONE = UnreachableError("no route to web1", phase="connect", host="web1")


class _Host:
    """A context of one host, this machine; the commands that `gone` picks, by number and text, can't reach it."""

    def __init__(self, gone: Callable[[int, Command], bool], error: SaneError = GONE) -> None:
        self._gone = gone
        self._error = error
        self._asked = 0
        self._within = LocalTransport()

    async def transport(self, target: Target) -> _Host:
        return self

    async def run(self, command: Command, on_output: Any = None) -> CommandResult:
        self._asked += 1
        if self._gone(self._asked, command):
            raise self._error
        return await self._within.run(command, on_output)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "RECONTACT_S", 0.3)


async def outcome_of(host: _Host, step: Step, *, resumed: bool = False) -> tuple[str, str]:
    result = await steps.run_step(cast("Context", host), PLACE, step, binding(), OPERATION, resumed=resumed)
    return result.outcome, result.error


@pytest.mark.parametrize("error", [GONE, UnavailableError("no further session")])
async def test_a_step_that_took_too_long_and_can_not_be_told_to_stop_is_lost(home: Path, error: SaneError) -> None:
    host = _Host(lambda _, command: command.script == stop(f"{OPERATION}.1").script, error)
    found = await outcome_of(host, step_of(f"{COUNT}; sleep 3", timeout_ms=300))
    assert found == ("lost", f"no end within 0.3 s, and it could not be stopped: {error.message}")
    assert count(home) == 1


@pytest.mark.parametrize("error", [GONE, PaneError("somebody is typing"), UnavailableError("no further session")])
async def test_a_step_that_an_earlier_controller_may_have_begun_is_lost(home: Path, error: SaneError) -> None:
    assert await outcome_of(_Host(lambda *_: True, error), step_of(COUNT), resumed=True) == ("lost", error.message)


async def test_a_step_that_was_begun_by_another_is_lost(home: Path) -> None:
    await outcome_of(_Host(lambda *_: False), step_of(COUNT))
    assert await outcome_of(_Host(lambda number, _: number > 1), step_of(COUNT)) == ("lost", GONE.message)


async def test_a_step_that_never_began_is_unreachable(home: Path) -> None:
    assert await outcome_of(_Host(lambda *_: True), step_of(COUNT)) == ("unreachable", GONE.message)


@pytest.mark.parametrize(("resumed", "outcome"), [(True, "lost"), (False, "unreachable")])
async def test_a_part_that_may_have_been_begun_is_lost_where_its_lease_can_not_be_had(
    *, resumed: bool, outcome: str
) -> None:
    event = await stage_of(_Host(lambda *_: True), step_of(COUNT), resumed=resumed)
    assert event.data["outcome"] == outcome


async def stage_of(host: _Host, *staged: Step, resumed: bool = False) -> Event:
    """Return the event that ends a stage of these steps."""
    workflow = Workflow(name="app", key="app", stage=staged)
    plan = DeploymentPlan(workflow, Inventory((Host("web1", target="local:"),), {}), Source("", ""), Source("", ""))
    context = cast("AsyncContext", host)
    performer = WorkflowPerformer(
        plan, context, HostPlaces(context, "app", "ssh"), "me", lambda: 1, NOW, lambda _: None
    )
    state = apply(None, creation("app-1", "app", 1, "2", [HostSpec("web1")], RolloutPolicy(), NOW()))
    return await performer.perform(Stage("app-1/web1/stage/1", "web1"), state, resumed=resumed)


@pytest.mark.parametrize("allowed", [0, 1])
async def test_a_part_of_which_no_step_began_says_so(home: Path, allowed: int) -> None:
    """Without the lease no step is announced; with it, the first one can't reach the host."""
    event = await stage_of(_Host(lambda number, _: number > allowed), step_of(COUNT))
    assert (event.data["outcome"], event.data.get("begun")) == ("unreachable", False)
    assert count(home) == 0


async def test_a_part_that_is_refused_behind_its_first_step_does_not(home: Path) -> None:
    second = OPERATION.removesuffix(".1") + ".2"
    host = _Host(lambda _, command: second in " ".join([command.script, *command.env.values()]))
    event = await stage_of(host, step_of(COUNT), step_of(COUNT))
    assert (event.data["outcome"], "begun" in event.data) == ("unreachable", False)
    assert count(home) == 1


async def test_a_part_whose_step_is_refused_when_it_is_tried_again_does_not(home: Path) -> None:
    again = f"{OPERATION}.2"
    host = _Host(lambda _, command: again in " ".join([command.script, *command.env.values()]))
    event = await stage_of(host, step_of(f"{COUNT}; exit 1", retries=1))
    assert (event.data["outcome"], "begun" in event.data) == ("unreachable", False)
    assert count(home) == 1

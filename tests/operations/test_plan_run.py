"""What counts as done of a plan's step."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sane.core.rollout.policy import RolloutPolicy
from sane.core.units import Amount
from sane.core.watch.plan import Plan, PlanStep
from sane.operations.plan_run import PlanRunner, did_help, what_came_of
from tests.core.rollout.rollout_world import QUICK, World, begin
from tests.core.rollout.rollout_world import drive as drive_world


def state_of(status: str, **hosts: str) -> Any:
    rows = [SimpleNamespace(status=word) for word in hosts.values()]
    return SimpleNamespace(status=status, hosts=rows, index={name: number for number, name in enumerate(hosts)})


@pytest.mark.parametrize(
    ("status", "hosts", "wanted", "helped"),
    [
        ("successful", {"a": "healthy"}, ["a"], True),
        ("partial", {"a": "healthy", "b": "failed"}, ["a"], True),
        ("partial", {"a": "unchanged", "b": "failed"}, ["a"], True),
        ("partial", {"a": "healthy", "b": "failed"}, ["b"], False),
        ("partial", {"a": "healthy", "b": "failed"}, ["a", "b"], False),
        ("partial", {"a": "healthy", "b": "failed"}, [], False),
        ("partial", {"a": "healthy"}, ["gone"], False),
        ("failed", {"a": "healthy"}, ["a"], False),
        ("awaiting_promotion", {"a": "healthy"}, ["a"], True),
    ],
)
def test_a_partial_deployment_helped_only_where_the_hosts_of_the_step_are_well(
    status: str, hosts: dict[str, str], wanted: list[str], helped: bool
) -> None:
    assert did_help(state_of(status, **hosts), wanted) is helped


def row_of(version: str, revision: int, at_ms: int) -> Any:
    return SimpleNamespace(id=f"app-{revision}", version=version, digest=version, created_at_ms=at_ms)


class Log:
    """Answer with deployments, newest first, and count how many look at them at once."""

    def __init__(self, *rows: Any) -> None:
        self.rows, self.inside, self.most = rows, 0, 0

    async def list_deployments(self, **_: Any) -> list[Any]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.01)
        self.inside -= 1
        return list(self.rows)


def runner_of(log: Log) -> PlanRunner:
    unused: Any = None
    return PlanRunner(cast("Any", log), unused, {}, "app", notify=unused, say=lambda _: None)


ROLLBACK = Plan((PlanStep("rollback", ("web1",)),), "crash", 1.0)


async def test_a_second_episode_does_not_roll_back_what_the_first_one_rolled_back() -> None:
    log = Log(row_of("1.0", 5, 2_000), row_of("2.0", 4, 500))
    episode: Any = SimpleNamespace(id="e2", opened_ms=1_000)
    outcome, told = await runner_of(log).run(episode, ROLLBACK)
    assert (outcome, told) == ("failed", "rollback: app went from 2.0 to 1.0 since the episode was opened")


async def test_plans_of_several_episodes_take_turns() -> None:
    log = Log(row_of("1.0", 5, 2_000), row_of("2.0", 4, 500))
    runner = runner_of(log)
    episode: Any = SimpleNamespace(id="e2", opened_ms=1_000)
    await asyncio.gather(*(runner.run(episode, ROLLBACK) for _ in range(4)))
    assert log.most == 1


def test_a_deployment_that_did_not_help_names_its_first_bad_host_and_why() -> None:
    hosts = ["web1", "web2", "web3"]
    fates = {"web2": "sick", "web3": "stage_fails"}
    state = drive_world(begin(hosts, RolloutPolicy(max_parallel=Amount(3), **QUICK)), World(fates)).state  # type: ignore[arg-type]
    assert what_came_of(state, ["web1"]) == (
        "failed",
        "app-1 is failed: web2: not healthy within 60ms: fail, and 1 more",
    )
    well = drive_world(begin(["web1"], RolloutPolicy(**QUICK)), World({})).state  # type: ignore[arg-type]
    assert what_came_of(well, ["web1"]) == ("done", "app-1 is successful")

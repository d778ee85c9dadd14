"""What people gave as the reason stays with a deployment: its words go into the log, and from there into every list."""

from __future__ import annotations

from collections.abc import Callable

from sane.core.rollout.controller import RolloutState, check_request
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import retry_of
from sane.core.units import Amount
from sane.errors import ConflictError
from tests.core.rollout.rollout_world import QUICK, Run, World, begin, drive

CANARY = RolloutPolicy(strategy="canary", canary=Amount(1), **QUICK)  # type: ignore[arg-type]


def asking(*requests: str) -> Callable[[RolloutState, int], str]:
    """Ask for each of these, `WORD: REASON`, one after the other, as soon as the canaries wait and it is allowed."""
    left = list(requests)

    def meddle(state: RolloutState, now_ms: int) -> str:
        if state.status not in ("awaiting_promotion", "paused"):
            return ""
        try:
            check_request(state, left[0].partition(":")[0])
        except (ConflictError, IndexError):
            return ""
        return left.pop(0)

    return meddle


def told(run: Run) -> dict[str, str]:
    """Return the reason of each change of the deployment, by the state it went to."""
    return {e.data["to"]: str(e.data["reason"]) for e in run.log if e.kind == "deployment_transition"}


def test_why_it_was_asked_for_is_told_with_every_state() -> None:
    run = drive(begin(["a", "b"], RolloutPolicy(**QUICK), reason="restore the worker"), World({}))  # type: ignore[arg-type]
    assert told(run) == {
        "running": "preflight is within the failure budget; asked for: restore the worker",
        "successful": "2 of 2 hosts are healthy; asked for: restore the worker",
    }
    assert run.state.reason == told(run)["successful"]


def test_without_a_reason_nothing_is_added() -> None:
    run = drive(begin(["a"], RolloutPolicy(**QUICK)), World({}))  # type: ignore[arg-type]
    assert told(run)["successful"] == "1 of 1 hosts are healthy"


def test_the_reasons_of_a_pause_a_resume_and_a_promotion_outlive_the_state() -> None:
    run = drive(
        begin(["a", "b"], CANARY),
        World({}),
        meddle=asking("pause: lunch", "resume: back", "promote: the graphs are flat"),
    )
    assert told(run)["paused"] == "lunch"
    assert told(run)["successful"] == "2 of 2 hosts are healthy; resumed: back; promoted: the graphs are flat"


def test_a_fail_that_reverts_says_once_why_and_what_it_was_for() -> None:
    policy = RolloutPolicy(strategy="canary", canary=Amount(1), on_failure="revert_all", **QUICK)  # type: ignore[arg-type]
    run = drive(begin(["a", "b"], policy, reason="faster cache"), World({}), meddle=asking("fail: errors went up"))
    assert told(run)["reverting"] == "errors went up"
    back = "errors went up; 1 of 1 hosts are back on their previous version; asked for: faster cache"
    assert told(run)["reverted"] == back


def test_a_cancellation_and_a_retry_say_why() -> None:
    first = drive(begin(["a", "b"], CANARY), World({}), meddle=asking("cancel: wrong build"))
    assert first.state.reason == "wrong build"
    again = drive(retry_of(first.state, "app-2", 2, 0), World({}), meddle=asking("promote"))
    assert again.state.reason.endswith("hosts are healthy (1 unchanged); asked for: retry of revision 1")

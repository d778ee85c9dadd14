"""Before canaries are promoted without a person, each of them is looked at once more: the first may be bad by now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.controller import ProbeHealth, RolloutState, observed
from sane.core.rollout.policy import RolloutPolicy
from sane.core.units import Amount
from tests.core.rollout.rollout_world import QUICK, Run, World, begin, drive, statuses

HOSTS = ["web1", "web2", "web3", "web4"]
POLICY = RolloutPolicy(strategy="canary", canary=Amount(2), auto_promote=True, on_failure="revert_all", **QUICK)  # type: ignore[arg-type]


class Later(World):
    """Answer for web1 with `words`, one after another, once both canaries were proven."""

    words: tuple[str, ...] = ()

    def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
        proven = state.canaries and state.canaries_proven and not state.promoted
        if isinstance(action, ProbeHealth) and action.host == "web1" and proven and self.words:
            word, self.words = self.words[0], self.words[1:]
            return observed(action, state, now_ms, word, reason="what web1 says now")
        return super().answer(action, state, now_ms)


def run_with(*words: str, **options: Any) -> Run:
    world = Later({})
    world.words = words
    return drive(begin(HOSTS, POLICY), world, **options)


def test_a_canary_that_went_bad_while_the_next_was_proven_is_not_promoted() -> None:
    run = run_with("fail")
    assert run.state.status == "reverted"
    assert statuses(run.state) == {
        "web1": "reverted",
        "web2": "reverted",
        "web3": "not_attempted",
        "web4": "not_attempted",
    }
    assert not [event for event in run.log if event.kind == "deployment_promoted"]


def test_a_sample_that_proves_nothing_is_asked_for_again() -> None:
    run = run_with("missing", "unreachable")
    assert run.state.status == "successful"
    promoted = next(event for event in run.log if event.kind == "deployment_promoted")
    passed = [e for e in run.log if e.kind == "health_observed" and e.host == "web1" and e.data["verdict"] == "pass"]
    assert run.log.index(passed[-1]) < run.log.index(promoted)


def test_a_canary_that_stays_silent_is_bad_after_its_deadline() -> None:
    run = run_with(*["unreachable"] * 50)
    assert (run.state.status, statuses(run.state)["web1"]) == ("reverted", "reverted")
    assert not [event for event in run.log if event.kind == "deployment_promoted"]


def test_an_inconclusive_canary_asks_a_person_who_may_go_on() -> None:
    paused = run_with("inconclusive")
    assert (paused.state.status, statuses(paused.state)["web3"]) == (t.PAUSED, "pending")
    assert "what web1 says now" in paused.state.reason

    def resume(state: RolloutState, now_ms: int) -> str:
        return "resume" if state.status == t.PAUSED and state.request is None else ""

    assert run_with("inconclusive", meddle=resume).state.status == "successful"
    # what it said before does not count, what it says then does
    again = run_with("inconclusive", "inconclusive", meddle=resume)
    assert again.state.status == "successful"
    assert [e.data["to"] for e in again.log if e.kind == "deployment_transition"].count("paused") == 2


def test_an_inconclusive_answer_to_a_promotion_asks_a_person_who_may_go_on_and_promote_again() -> None:
    world = Later({})
    by_hand = replace(POLICY, auto_promote=False)
    asked: list[str] = []

    def meddle(state: RolloutState, now_ms: int) -> str:
        if state.request is not None or state.status not in (t.AWAITING, t.PAUSED):
            return ""
        world.words = () if asked else ("inconclusive",)
        asked.append("resume" if state.status == t.PAUSED else "promote")
        return asked[-1]

    run = drive(begin(HOSTS, by_hand), world, meddle=meddle)
    assert (run.state.status, asked) == ("successful", ["promote", "resume", "promote"])

"""The breaker: every row of its table, and random histories of 100 callers."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sane.core.breaker import Breaker, Permit

THRESHOLD, RESET_MS = 3, 1_000


def opened(at_ms: int = 0) -> Breaker:
    breaker = Breaker(threshold=THRESHOLD, reset_ms=RESET_MS)
    for _ in range(THRESHOLD):
        breaker, permit = breaker.ask(at_ms)
        assert permit is not None
        breaker = breaker.fail(permit, at_ms)
    return breaker


def test_threshold_failures_in_a_row_open_it() -> None:
    breaker = opened(5_000)
    assert breaker.state == "open"
    assert breaker.ask(5_500) == (breaker, None)
    assert breaker.retry_after_ms(5_400) == 600


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(threshold=2)
    permit = Permit(0, False)
    assert breaker.fail(permit, 0).succeed(permit, 1).fail(permit, 2).state == "closed"


@pytest.mark.parametrize(("outcome", "state"), [("succeed", "closed"), ("fail", "open")])
def test_the_probe_decides(outcome: str, state: str) -> None:
    probing, permit = opened().ask(RESET_MS)
    assert permit is not None
    assert permit.is_probe
    assert probing.ask(RESET_MS + 1)[1] is None
    after = getattr(probing, outcome)(permit, RESET_MS + 2)
    assert after.state == state
    if state == "open":
        assert after.ask(RESET_MS + 3)[1] is None


def test_a_cancelled_probe_frees_its_place_at_once() -> None:
    probing, permit = opened().ask(RESET_MS)
    assert permit is not None
    _, next_permit = probing.release(permit, RESET_MS + 1).ask(RESET_MS + 1)
    assert next_permit is not None
    assert next_permit.is_probe


def test_a_silent_probe_is_given_up_after_its_limit() -> None:
    probing, _ = opened().ask(RESET_MS)
    assert probing.ask(RESET_MS + probing.probe_limit_ms - 1)[1] is None
    assert probing.ask(RESET_MS + probing.probe_limit_ms)[1] is not None


def test_late_answers_of_an_earlier_state_change_nothing() -> None:
    early = Permit(0, False)
    probing, _ = opened().ask(RESET_MS)
    assert probing.succeed(early, RESET_MS + 1) == probing
    assert probing.fail(early, RESET_MS + 1) == probing
    assert probing.release(early, RESET_MS + 1) == probing


def test_reset_closes_it() -> None:
    assert opened().reset(10).ask(11)[1] is not None


class Callers(RuleBasedStateMachine):
    """100 callers ask, answer late, fail and are cancelled in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(threshold=THRESHOLD, reset_ms=RESET_MS, probe_limit_ms=1_000_000_000)
        self.now_ms = 0
        self.out: list[Permit] = []

    @rule(callers=st.integers(1, 100))
    def ask_at_once(self, callers: int) -> None:
        state, due = self.breaker.state, self.breaker.retry_after_ms(self.now_ms) == 0
        given: list[Permit] = []
        for _ in range(callers):
            self.breaker, permit = self.breaker.ask(self.now_ms)
            given += [permit] if permit is not None else []
        expected = callers if state == "closed" else 1 if state == "open" and due else 0
        assert len(given) == expected
        self.out = (self.out + given)[-100:] if state == "closed" else self.out + given

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 1_000), outcome=st.sampled_from(["succeed", "fail", "release"]))
    def answer(self, which: int, outcome: str) -> None:
        permit = self.out.pop(which % len(self.out))
        before = self.breaker
        self.breaker = getattr(self.breaker, outcome)(permit, self.now_ms)
        if permit.era != before.era:
            assert self.breaker == before
        elif permit.is_probe:
            assert self.breaker.state == ("closed" if outcome == "succeed" else "open")

    @rule(elapsed_ms=st.integers(0, 2_000))
    def wait(self, elapsed_ms: int) -> None:
        self.now_ms += elapsed_ms

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        probes = [permit for permit in self.out if permit.is_probe and permit.era == self.breaker.era]
        assert len(probes) == (1 if self.breaker.state == "half_open" else 0)

    @invariant()
    def closed_means_under_the_threshold(self) -> None:
        assert self.breaker.state != "closed" or self.breaker.failures < THRESHOLD


Callers.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_callers = Callers.TestCase

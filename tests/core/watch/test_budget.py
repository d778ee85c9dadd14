"""Budgets: a sliding hour, per episode, O(1) memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sane.core.watch.budget import HOUR_MS, Budget, BudgetPolicy, Spending

POLICY = BudgetPolicy(tokens_per_hour=100, cost_micro_per_hour=1_000, tokens_per_episode=50, cost_micro_per_episode=400)


def test_the_hour_refuses_and_then_slides() -> None:
    budget = Budget().add(0, Spending(60, 0), POLICY).add(1_800_000, Spending(40, 0), POLICY)
    assert "hour's budget of tokens" in budget.refusal(1_800_000, Spending(), POLICY)
    assert budget.refusal(HOUR_MS + 60_000, Spending(), POLICY) == ""


def test_money_and_the_episode_refuse() -> None:
    assert "money" in Budget().add(0, Spending(0, 1_000), POLICY).refusal(1, Spending(), POLICY)
    assert "episode" in Budget().refusal(1, Spending(50, 0), POLICY)
    assert "episode" in Budget().refusal(1, Spending(0, 400), POLICY)


def test_zero_is_no_limit() -> None:
    free = BudgetPolicy(0, 0, 0, 0)
    assert Budget().add(0, Spending(10**9, 10**9), free).refusal(0, Spending(10**9, 10**9), free) == ""


@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 50)), max_size=200))
def test_it_counts_what_the_last_hour_holds_in_bounded_memory(calls: list[tuple[int, int]]) -> None:
    budget, now_ms, all_calls = Budget(), 0, list[tuple[int, int]]()
    for elapsed_ms, tokens in calls:
        now_ms += elapsed_ms
        all_calls.append((now_ms, tokens))
        budget = budget.add(now_ms, Spending(tokens, 0), POLICY)
        assert len(budget.slots) <= 61
    exact = sum(tokens for at_ms, tokens in all_calls if at_ms > now_ms - HOUR_MS)
    within_a_minute = sum(tokens for at_ms, tokens in all_calls if at_ms >= now_ms - HOUR_MS - 60_000)
    assert exact <= budget.spent(now_ms).tokens <= within_a_minute

"""Rollout policies: defaults, rules, and what people may write."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.document import Problems, node_of
from sane.core.rollout.controller import policy_as_json
from sane.core.rollout.policy import POLICY_KEYS, RolloutPolicy, override_policy, read_policy
from sane.core.units import Amount
from sane.errors import ConfigError, UsageError


def policy_from_mapping(written: dict[str, Any], where: str = "") -> RolloutPolicy:
    problems = Problems()
    policy = read_policy(node_of(written, where), problems)
    problems.check()
    return policy


def test_defaults() -> None:
    policy = policy_from_mapping({})
    assert policy == RolloutPolicy()
    assert policy_as_json(policy) == {
        "strategy": "rolling",
        "max_parallel": "1",
        "canary": "0",
        "min_healthy_ms": 10_000,
        "healthy_deadline_ms": 300_000,
        "progress_deadline_ms": 600_000,
        "health_check": "checks",
        "auto_promote": False,
        "auto_revert": False,
        "max_failures": "0",
        "on_failure": "stop",
        "dead_man_ms": 0,
        "poll_interval_ms": 1_000,
    }


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ({"batch_size": "25%"}, "max_parallel", Amount(25, percent=True)),
        ({"auto_rollback": True}, "on_failure", "revert_all"),
        ({"auto_revert": True}, "on_failure", "revert_all"),
        ({"health_check_timeout": 60.0}, "healthy_deadline_ms", 60_000),
        ({"health_check_timeout": "90s"}, "healthy_deadline_ms", 90_000),
        ({"min_healthy": "5s"}, "min_healthy_ms", 5_000),
        ({"min_healthy_s": 5}, "min_healthy_ms", 5_000),
        ({"min_healthy_ms": 0}, "min_healthy_ms", 0),
        ({"progress_deadline": "0s"}, "progress_deadline_ms", 0),
        ({"canary": 1}, "strategy", "canary"),
        ({"canary": 1, "auto_promote": True}, "auto_promote", True),
        ({"strategy": None, "max_failures": None}, "strategy", "rolling"),
    ],
)
def test_what_may_be_written(written: dict[str, Any], field: str, value: object) -> None:
    assert getattr(policy_from_mapping(written), field) == value


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"strategy": "canry"}, "strategy must be one of rolling, canary, blue-green, got 'canry'"),
        ({"max_paralel": 1}, "unknown key 'max_paralel' in policy"),
        ({"min_healthy": "6m"}, "min_healthy (6m) must be shorter than healthy_deadline (5m)"),
        ({"healthy_deadline": "10m"}, "healthy_deadline (10m) must be shorter than progress_deadline (10m)"),
        ({"auto_promote": True}, "auto_promote needs canary > 0"),
        ({"strategy": "canary"}, "strategy canary needs canary > 0"),
        ({"strategy": "rolling", "canary": 1}, "strategy rolling has no canaries"),
        ({"auto_revert": True, "on_failure": "stop"}, "auto_revert contradicts on_failure: stop"),
        ({"max_parallel": 0}, "max_parallel must be at least 1"),
        ({"max_parallel": 2, "batch_size": 2}, "batch_size and max_parallel say the same thing twice"),
        ({"min_healthy": 5}, "min_healthy has no unit, got '5'"),
        ({"auto_revert": "yes"}, "auto_revert must be true or false, got 'yes'"),
        ({"on_failure": "panic"}, "on_failure must be one of stop, revert_failed, revert_all, got 'panic'"),
        ({"poll_interval": "0s"}, "poll_interval must be longer than 0"),
    ],
)
def test_rules(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_from_mapping(written, "request")
    assert caught.value.problems[0].text == f"request: {message}"


def test_all_mistakes_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        policy_from_mapping({"min_healthy": "1 w", "canary": "x", "nope": 1})
    assert len(caught.value.problems) == 3


def test_one_made_in_code_keeps_the_rules_too() -> None:
    assert RolloutPolicy(auto_revert=True).on_failure == "revert_all"
    with pytest.raises(UsageError):
        RolloutPolicy(min_healthy_ms=300_000)
    with pytest.raises(UsageError):
        RolloutPolicy(auto_promote=True)


def test_numbers_of_hosts() -> None:
    policy = RolloutPolicy(max_parallel=Amount(10, percent=True), max_failures=Amount(10, percent=True))
    assert [policy.parallel(n) for n in (1, 10, 11)] == [1, 1, 2]
    assert [policy.failure_budget(n) for n in (1, 10, 19, 20)] == [0, 1, 1, 2]
    assert RolloutPolicy(strategy="blue-green").canaries(7) == 7
    assert RolloutPolicy(strategy="canary", canary=Amount(9)).canaries(7) == 7
    assert RolloutPolicy().canaries(7) == 0


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 700), st.sampled_from(["5s", "20m", "25%", "canary", "stop"])
)


@given(st.dictionaries(st.sampled_from(POLICY_KEYS), VALUES, max_size=5))
def test_a_policy_reads_back_from_its_json(written: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        policy = policy_from_mapping(written)
        assert policy_from_mapping(policy_as_json(policy)) == policy
        assert policy.min_healthy_ms < policy.healthy_deadline_ms


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ({}, {"canary": Amount(1)}, {"strategy": "canary", "canary": "1"}),
        ({"strategy": "canary", "canary": 2}, {"strategy": "rolling"}, {"strategy": "rolling", "canary": "0"}),
        ({"canary": 2, "auto_promote": True}, {"canary": Amount(0)}, {"strategy": "rolling", "auto_promote": False}),
        ({"auto_revert": True}, {"on_failure": "stop"}, {"on_failure": "stop", "auto_revert": False}),
        ({"auto_revert": True}, {"auto_revert": False}, {"on_failure": "stop", "auto_revert": False}),
        ({"on_failure": "revert_failed"}, {"auto_revert": True}, {"on_failure": "revert_all"}),
        ({"on_failure": "revert_failed"}, {"auto_revert": False}, {"on_failure": "revert_failed"}),
        ({"on_failure": "revert_all"}, {"min_healthy_ms": 5}, {"on_failure": "revert_all", "min_healthy_ms": 5}),
    ],
)
def test_what_is_given_later_wins(before: dict[str, Any], given: dict[str, Any], after: dict[str, Any]) -> None:
    policy = policy_as_json(override_policy(policy_from_mapping(before), given))
    assert {name: policy[name] for name in after} == after


def test_what_is_given_must_not_contradict_itself() -> None:
    with pytest.raises(UsageError, match="contradicts"):
        override_policy(RolloutPolicy(), {"auto_revert": True, "on_failure": "stop"})
    with pytest.raises(UsageError, match="no canaries"):
        override_policy(RolloutPolicy(), {"strategy": "rolling", "canary": Amount(1)})


def test_a_mistyped_word_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        override_policy(RolloutPolicy(), {"strategy": "roling"})
    assert caught.value.hint == "Did you mean 'rolling'?"

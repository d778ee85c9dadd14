"""Leaks: found when they rise, not when a day, a step, a sawtooth or an outage looks like it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from sane.core.watch.detect_trend import NO_TRENDS, Trends, leaking, observe_fields, restart_fields
from sane.core.watch.policy import TrendPolicy

POLICY = TrendPolicy()
HOUR = 4  # readings


def follow(
    value: Callable[[int], float], readings: int, *, gap: range = range(0), name: str = "files"
) -> tuple[Trends, int | None]:
    """Return the trends after the readings, and the first at which a leak was found."""
    trends, found = NO_TRENDS, None
    for i in range(readings):
        if i in gap:
            continue
        trends = observe_fields(trends, {name: value(i)}, i * POLICY.tick_ms, POLICY)
        if found is None and leaking(trends)[0]:
            found = i
    return trends, found


def day(i: int, share: float = 0.4) -> float:
    return 1 + share * math.sin(2 * math.pi * i / (24 * HOUR))


def noise(seed: int) -> Callable[[int], float]:
    rng = random.Random(seed)
    return lambda i: 1 + rng.gauss(0, 0.03)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hours", [10, 24, 48])
def test_a_leak_is_found_before_it_is_full_grown(seed: int, hours: int) -> None:
    shake, start = noise(seed), 48 * HOUR
    leak = lambda i: 2.0 * max(0, i - start) / (hours * HOUR)  # noqa: E731
    _, found = follow(lambda i: 400 * (day(i, 0.1) * shake(i) + leak(i)), start + hours * HOUR)
    assert found is not None
    assert found >= start


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [
    lambda i: day(i),
    lambda i: day(i, 0.1) * (1.25 if i > 300 else 1.0),
    lambda i: day(i, 0.1) * (0.75 if i > 300 else 1.0),
    lambda i: day(i, 0.1) + 0.12 * (i % 7) / 7,
])  # fmt: skip
def test_what_is_no_leak_is_not_found(seed: int, shape: Callable[[int], float]) -> None:
    shake = noise(seed)
    assert follow(lambda i: 400 * shape(i) * shake(i), 7 * 24 * HOUR)[1] is None


@pytest.mark.parametrize("hours", [1, 5, 11, 23, 30])
@pytest.mark.parametrize("at", range(100, 196, 8))
def test_an_outage_does_not_shift_the_day(hours: int, at: int) -> None:
    gap = range(at, at + hours * HOUR)
    assert follow(lambda i: 400 * day(i), 7 * 24 * HOUR, gap=gap)[1] is None


def test_a_full_field_needs_no_trend_and_a_restart_ends_it() -> None:
    trends = NO_TRENDS
    for i in range(3 * HOUR):
        values = {"memory_used_mb": 950.0, "memory_total_mb": 1_000.0}
        trends = observe_fields(trends, values, i * POLICY.tick_ms, POLICY)
    assert leaking(trends) == ("memory_used_mb", "memory_used_mb is at 95% of its total")
    assert leaking(restart_fields(trends)) == ("", "")


def test_memory_is_bounded() -> None:
    trends = NO_TRENDS
    for i in range(2_000):
        trends = observe_fields(trends, {f"f{n}": float(i) for n in range(40)}, i * POLICY.tick_ms, POLICY)
    assert len(trends) == POLICY.field_limit
    assert all(len(t.day) <= POLICY.season and len(t.rises) <= POLICY.long_window for t in trends.values())

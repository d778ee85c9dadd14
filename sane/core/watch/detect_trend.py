"""Slow leaks: fields that rise and keep rising, told from noise, daily rhythm, sawtooths and steps.

O(1) memory each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

from sane.core.watch.policy import TrendPolicy


@dataclass(frozen=True, slots=True)
class FieldTrend:
    """Hold what is known of one field: a day of bucket minima, the recent rises, and their sum above the allowance.

    `day` is oldest first, at most `season` long; `rises` at most `long_window`. `is_leaking` once found, until a
    restart or until it has come down.
    """

    bucket: int
    low: float
    day: tuple[float, ...] = ()
    rises: tuple[float, ...] = ()
    sum: float = 0.0
    is_leaking: bool = False
    rule: str = ""


Trends = Mapping[str, FieldTrend]
NO_TRENDS: Trends = MappingProxyType({})


def observe_fields(trends: Trends, values: Mapping[str, float], at_ms: int, policy: TrendPolicy) -> Trends:
    """Return the trends with one more reading of each field; the first `field_limit` fields are followed."""
    bucket = at_ms // policy.bucket_ms
    known = dict(trends)
    for name, value in values.items():
        trend = known.get(name)
        if trend is None:
            if len(known) < policy.field_limit and "_total" not in name:
                known[name] = FieldTrend(bucket, value)
            continue
        if trend.bucket == bucket:
            known[name] = trend if value >= trend.low else replace(trend, low=value)
        else:
            closed = _close_bucket(trend, name, _total_of(name, values), policy)
            known[name] = replace(_bridge(closed, bucket - trend.bucket - 1, policy), bucket=bucket, low=value)
    return known


def _bridge(trend: FieldTrend, missing: int, policy: TrendPolicy) -> FieldTrend:
    """Return the trend after `missing` buckets without a reading: as yesterday, so that hours stay aligned."""
    if missing >= policy.season:
        return replace(trend, day=(), rises=(), sum=0.0)
    day = trend.day
    for _ in range(max(0, missing)):
        day = (*day[1:], day[0]) if len(day) >= policy.season else (*day, trend.low)
    return trend if missing <= 0 else replace(trend, day=day)


def restart_fields(trends: Trends) -> Trends:
    """Return the trends after the process started anew: a leak that was found is over.

    What was only suspected goes on: had the start cured it, the next buckets are low and say so.
    """
    return {name: FieldTrend(trend.bucket, trend.low) if trend.is_leaking else trend for name, trend in trends.items()}


def leaking(trends: Trends) -> tuple[str, str]:
    """Return the name of the first leaking field and the rule that says so; two empty strings when none is."""
    for name, trend in trends.items():
        if trend.is_leaking:
            return name, trend.rule
    return "", ""


def is_settled(trends: Trends, policy: TrendPolicy) -> bool:
    """Return whether enough is known to say that no field leaks: a poller that has just started does not know it."""
    return all(len(trend.rises) >= policy.least and not trend.is_leaking for trend in trends.values())


def _close_bucket(trend: FieldTrend, name: str, total: float, policy: TrendPolicy) -> FieldTrend:
    is_young = len(trend.day) < policy.season
    reference = trend.low if not trend.day else min(trend.day) if is_young else trend.day[0]
    rise = (trend.low - reference) / (abs(reference) or 1.0)
    excess = rise - (policy.young_allowance if is_young else policy.allowance)
    closed = replace(
        trend,
        day=(*trend.day, trend.low)[-policy.season :],
        rises=(*trend.rises, rise)[-policy.long_window :],
        sum=min(max(0.0, trend.sum + excess), 2 * policy.limit),
    )
    share = trend.low / total if total > 0 else 0.0
    if trend.is_leaking:
        is_over = closed.sum == 0.0 and share < policy.relief_share
        return replace(closed, is_leaking=not is_over, rule="" if is_over else trend.rule)
    if share >= policy.full_share:
        return replace(closed, is_leaking=True, rule=f"{name} is at {share:.0%} of its total")
    if closed.sum > policy.limit and _is_leak(closed.rises, policy):
        rule = f"{name} rises: {trend.low:.4g}, {rise:+.0%} against {'its least' if is_young else 'a day ago'}"
        return replace(closed, is_leaking=True, rule=rule)
    return closed


def _is_leak(rises: tuple[float, ...], policy: TrendPolicy) -> bool:
    """Return whether the rises rise together, far enough, and not in one step."""
    recent = rises[-policy.window :]
    if len(recent) >= policy.least and _is_steady(recent, policy.concordance, policy.window_rise, policy.step_share):
        return True
    is_long = len(rises) == policy.long_window
    return is_long and _is_steady(rises, policy.long_concordance, policy.long_rise, policy.step_share)


def _is_steady(rises: tuple[float, ...], concordance: float, least_rise: float, step_share: float) -> bool:
    total = sum(rises[-4:]) / 4 - sum(rises[:4]) / 4
    step = max(b - a for a, b in pairwise(rises))
    if total - step < least_rise or step > step_share * (rises[-1] - rises[0]):
        return False
    score = sum((b > a) - (b < a) for i, a in enumerate(rises) for b in rises[i + 1 :])
    return score >= concordance * len(rises) * (len(rises) - 1) / 2


def _total_of(name: str, values: Mapping[str, float]) -> float:
    return values.get(name.replace("_used", "_total"), 0.0) if "_used" in name else 0.0

"""sane-friction-analysis: what the friction log shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from sane.core.units import parse_duration_ms
from sane.errors import UsageError
from sane.primitives._friction import log_path, read_lines
from sane.transports.context import Context
from sane.verbs.registry import verb

PATTERN_LIMIT = 50  # the most frequent ones are shown


@dataclass(frozen=True, slots=True)
class FrictionAnalysis:
    """Answer counts over a log; `skipped_lines` were no entries."""

    total_operations: int
    validation_stats: Mapping[str, int]
    event_distribution: Mapping[str, int]
    failure_patterns: list[dict[str, object]]
    platform_stats: Mapping[str, dict[str, int]]
    performance_stats: Mapping[str, float]
    skipped_lines: int


@verb(access="read", example="sane-friction-analysis --since 24h --event-type command_run")
async def friction_analysis(
    context: Context,
    *,
    since: Annotated[str | None, "a duration such as 24h, an ISO time, or epoch seconds"] = None,
    event_type: Annotated[str | None, "only events of this name"] = None,
    log_file: Annotated[str | None, "another log than ~/.tmux-sane/friction.jsonl"] = None,
) -> FrictionAnalysis:
    """Count operations, validations, failures and durations in the friction log."""
    start = parse_since(since, datetime.now(UTC))
    entries, skipped = list[dict[str, object]](), 0
    for entry in read_lines(log_path(log_file, os.environ)):
        if entry is None:
            skipped += 1
        elif (event_type is None or entry.get("event") == event_type) and _is_since(entry, start):
            entries.append(entry)
    return analyse(entries, skipped)


def parse_since(text: str | None, now: datetime) -> datetime | None:
    """Return the moment that a duration before `now`, an ISO time (UTC where it has no zone) or epoch seconds mean."""
    if text is None:
        return None
    moment = _as_moment(text)
    if moment is not None:
        return moment
    try:
        return now - timedelta(milliseconds=_duration_ms(text))
    except UsageError:
        raise UsageError(
            f"since must be a duration or a time, got '{text}'", hint="Write 24h, or 2026-01-31T12:00."
        ) from None


def _duration_ms(text: str) -> int:
    return (
        int(text[:-1]) * 86_400_000
        if text.endswith("d") and text[:-1].isdecimal()
        else parse_duration_ms(text, "since")
    )


def _as_moment(value: object) -> datetime | None:
    """Return the moment an entry's timestamp means: ISO text or epoch seconds; None for anything else."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _is_since(entry: Mapping[str, object], start: datetime | None) -> bool:
    if start is None:
        return True
    moment = _as_moment(entry.get("timestamp"))
    return moment is not None and moment >= start


def analyse(entries: Iterable[Mapping[str, object]], skipped_lines: int = 0) -> FrictionAnalysis:
    """Return the counts over entries, in one pass."""
    total = 0
    validations, events, failures = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    platforms: dict[str, dict[str, int]] = {}
    durations_ms: list[float] = []
    for entry in entries:
        total += 1
        failed = is_failure(entry)
        events[str(entry.get("event", "unknown"))] += 1
        if entry.get("validation") is not None:
            validations[str(entry["validation"])] += 1
        if failed:
            failures[(str(entry.get("command", "")), str(entry.get("reason", "")))] += 1
        if entry.get("platform") is not None:
            counts = platforms.setdefault(str(entry["platform"]), {"operations": 0, "failures": 0})
            counts["operations"] += 1
            counts["failures"] += failed
        duration = entry.get("duration_ms")
        if isinstance(duration, int | float) and not isinstance(duration, bool):
            durations_ms.append(duration)
    return FrictionAnalysis(
        total_operations=total,
        validation_stats=dict(validations.most_common()),
        event_distribution=dict(events.most_common()),
        failure_patterns=[
            {"command": command, "reason": reason, "count": count}
            for (command, reason), count in failures.most_common(PATTERN_LIMIT)
        ],
        platform_stats=platforms,
        performance_stats=_performance(durations_ms),
        skipped_lines=skipped_lines,
    )


def is_failure(entry: Mapping[str, object]) -> bool:
    """Say whether an entry tells of a failure: an exit code other than 0, or a validation that did not pass."""
    code = entry.get("exit_code")
    return (code is not None and code not in (0, "0")) or entry.get("validation") in (
        "failed",
        "fail",
        "invalid",
        "error",
    )


def _performance(durations_ms: list[float]) -> dict[str, float]:
    if not durations_ms:
        return {"avg_duration_ms": 0, "min_duration_ms": 0, "max_duration_ms": 0, "operations_counted": 0}
    return {
        "avg_duration_ms": round(sum(duration / len(durations_ms) for duration in durations_ms), 3),
        "min_duration_ms": min(durations_ms),
        "max_duration_ms": max(durations_ms),
        "operations_counted": len(durations_ms),
    }

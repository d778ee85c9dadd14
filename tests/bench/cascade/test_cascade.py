"""The benchmark's bounds on a reduced trace, and that the simulator's shortcuts change nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cascade_fleet
from cascade_fleet import KINDS, POLL_MS, build_fleet, load_shapes
from cascade_ours import detect_all, run_cascade, watch_host
from cascade_prices import CHEAP_SWEEP
from cascade_score import score
from run_cascade import SEEDS, broken, compare

from sane.core.watch.escalation_state import EscalationPolicy
from sane.core.watch.policy import WatchPolicy
from sane.core.watch.samples import Sample


@pytest.fixture(scope="module")
def result() -> dict[str, object]:
    fleet = build_fleet(folder="judge", hosts=60, days=10, incidents=70, seed=9_001)
    return compare(fleet, seed=1)


def test_the_bounds_hold_on_a_reduced_trace(result: dict[str, object]) -> None:
    assert [said for figures in result["figures"] for said in broken(figures)] == []  # type: ignore[attr-defined]


def test_a_bad_cheap_model_loses_no_skew_that_lasts_little_longer_than_it_may_postpone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, watch = EscalationPolicy(), WatchPolicy()
    least = (watch.patience_ms + policy.postpone_ms) // POLL_MS + 2
    short = {"polls": [least, least + 6], "set": {"restart": True, "version": "previous"}}
    shapes = {**load_shapes("tune"), "skew": [{"name": "short", "weight": 1, "phases": [short]}]}
    monkeypatch.setattr(cascade_fleet, "load_shapes", lambda _: shapes)
    fleet = build_fleet(folder="tune", hosts=39, days=8, incidents=50, seed=14)
    assert sum(incident.kind == "skew" for incident in fleet.incidents) >= 5
    findings, _ = detect_all(fleet, watch)
    for matrix in (None, *CHEAP_SWEEP):
        row = score(fleet, run_cascade(fleet, findings, matrix=matrix, seed=14), str(matrix))
        assert (row.name, row.missed_incidents) == (str(matrix), [])
        assert row.false_a_day <= 1.0
        assert row.planner_calls <= 1.2 * len(fleet.incidents)


def test_hosts_that_say_no_zone_cost_no_call_each_and_nothing_is_missed() -> None:
    fleet = build_fleet(folder="tune", hosts=60, days=10, incidents=60, seed=11)
    findings = [replace(finding, zone="") for finding in detect_all(fleet, WatchPolicy())[0]]
    fleet.zone_sizes.clear()
    fleet.zone_sizes[""] = len(fleet.hosts)
    row = score(fleet, run_cascade(fleet, findings, matrix=None, seed=11), "no zones")
    assert row.missed_incidents == []
    assert row.false_a_day <= 1.0
    assert row.planner_calls <= 1.2 * len(fleet.incidents)


def test_the_bounds_can_fail(result: dict[str, object]) -> None:
    worse = {**result["figures"][0], "missed": 1, "times_cheaper_than_cheap": 2.0}  # type: ignore[index]
    assert len(broken(worse)) == 2


def test_skipping_what_can_change_nothing_changes_nothing() -> None:
    fleet = build_fleet(folder="judge", hosts=9, days=5, incidents=12, seed=5)
    for trace in fleet.hosts:
        full, looked_at, full_end = watch_host(fleet, trace, WatchPolicy(), skip=False)
        quick, looked_at_quick, quick_end = watch_host(fleet, trace, WatchPolicy())
        assert (full, full_end) == (quick, quick_end)
        assert looked_at == fleet.polls
        assert looked_at_quick < looked_at / 5


def test_the_same_seed_is_the_same_run() -> None:
    runs = []
    for _ in range(2):
        fleet = build_fleet(folder="tune", hosts=9, days=4, incidents=9, seed=3)
        findings, _ = detect_all(fleet, WatchPolicy())
        runs.append((fleet.incidents, findings, run_cascade(fleet, findings, matrix=(0.8, 0.2), seed=4).covers))
    assert runs[0] == runs[1]


def test_tuning_and_judging_share_no_seed_and_no_shape() -> None:
    assert not set(SEEDS["tune"]) & set(SEEDS["judge"])
    tune, judge = load_shapes("tune"), load_shapes("judge")
    assert set(tune) == set(judge) == set(KINDS)
    for kind in KINDS:
        assert not {str(shape) for shape in tune[kind]} & {str(shape) for shape in judge[kind]}


def test_a_sample_holds_nothing_of_the_truth() -> None:
    fleet = build_fleet(folder="judge", hosts=9, days=4, incidents=9, seed=3)
    sample = fleet.hosts[0].sample(100)
    assert type(sample) is Sample
    assert sample.at_ms == 100 * POLL_MS
    assert set(sample.fields) == {"memory_used_mb", "memory_total_mb", "open_files", "requests_per_s"}

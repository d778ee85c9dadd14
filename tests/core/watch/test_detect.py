"""Detectors of one host: each fault, what must not be found, recovery, and that skipping changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.watch.detect import HostWatch, can_skip, observe_sample, resume_watch
from sane.core.watch.episodes import Finding
from sane.core.watch.policy import WatchPolicy
from sane.core.watch.samples import Sample, sample_from_json, signature_of

POLL_MS = 30_000
POLICY = WatchPolicy()
HEALTHY = Sample("web1", 0, version="1.0", zone="a", probe_ok=True, nonce="n1")
GONE = replace(HEALTHY, verdict="", status="", reachable=False, version="", probe_ok=None, nonce="")
FAILED = replace(HEALTHY, verdict="fail", status="critical")


def play(
    samples: list[Sample], watch: HostWatch | None = None, **more: object
) -> tuple[HostWatch, list[tuple[int, Finding]]]:
    """Return the watch after the samples, one a poll, and (poll, finding) of each finding."""
    watch, found = watch or HostWatch("web1", "a"), list[tuple[int, Finding]]()
    for i, sample in enumerate(samples):
        at_ms = i * POLL_MS
        mtime_ms = sample.mtime_ms or at_ms - 5_000
        watch, findings = observe_sample(watch, replace(sample, at_ms=at_ms, mtime_ms=mtime_ms), policy=POLICY, **more)  # type: ignore[arg-type]
        found += [(i, finding) for finding in findings]
    return watch, found


def names(found: list[tuple[int, Finding]]) -> list[tuple[int, str, bool]]:
    return [(i, finding.fault, finding.cleared) for i, finding in found]


@pytest.mark.parametrize(
    ("bad", "fault", "rule"),
    [
        (GONE, "crash", "does not answer"),
        (FAILED, "crash", "critical"),
        (replace(HEALTHY, verdict="missing", status=""), "crash", "missing"),
        (replace(HEALTHY, verdict="unrecognised", status="zombie"), "crash", "zombie"),
        (replace(HEALTHY, probe_ok=False), "lying", "the probe disagrees"),
        (replace(HEALTHY, gate="errors < 1"), "lying", "gate 'errors < 1'"),
    ],
)
def test_three_in_a_row_are_a_finding_and_recovery_closes_it(bad: Sample, fault: str, rule: str) -> None:
    _, found = play([HEALTHY] * 5 + [bad] * 8 + [HEALTHY] * 40)
    assert names(found)[0] == (7, fault, False)
    assert rule in found[0][1].rule
    assert [(fault, cleared) for _, fault, cleared in names(found)[1:]] == [(fault, True)]


@pytest.mark.parametrize("length", [1, 2])
def test_a_blip_is_no_finding(length: int) -> None:
    watch, found = play([HEALTHY] * 5 + [GONE] * length + [HEALTHY] * 50)
    assert found == []
    assert watch.is_quiet


def test_one_good_sample_does_not_hide_a_crash() -> None:
    _, found = play([HEALTHY] * 5 + [GONE, GONE, HEALTHY, GONE, GONE, HEALTHY, GONE])
    assert found[0][1].fault in ("crash", "flapping")


def test_a_stale_file_is_found_by_its_age() -> None:
    frozen = replace(HEALTHY, mtime_ms=10 * POLL_MS)
    _, found = play([HEALTHY] * 11 + [frozen] * 10)
    assert names(found)[0] == (15, "stale", False)  # older than three polls at 14, and again at 15


@pytest.mark.parametrize(
    "cycle", [[GONE, HEALTHY], [FAILED, FAILED, *[HEALTHY] * 8], [replace(HEALTHY, probe_ok=False), *[HEALTHY] * 2]]
)
def test_flapping_is_one_finding_until_it_is_calm(cycle: list[Sample]) -> None:
    _, found = play([HEALTHY] * 5 + cycle * 12 + [HEALTHY] * 150)
    assert [(fault, cleared) for _, fault, cleared in names(found)] == [("flapping", False), ("flapping", True)]


def test_starting_is_waited_for_but_not_for_ever() -> None:
    starting = replace(HEALTHY, verdict="wait", status="starting")
    assert play([HEALTHY] * 5 + [starting] * 9 + [HEALTHY] * 20)[1] == []
    assert play([HEALTHY] * 5 + [starting] * 40)[1][0][1].fault == "crash"


def test_degraded_is_patient() -> None:
    degraded = replace(HEALTHY, verdict="inconclusive", status="degraded")
    assert play([HEALTHY] * 5 + [degraded] * 15 + [HEALTHY] * 20)[1] == []
    assert play([HEALTHY] * 5 + [degraded] * 60)[1][0][1].fault == "degraded"


def test_a_degraded_host_that_goes_down_is_found_anew() -> None:
    degraded = replace(HEALTHY, verdict="inconclusive", status="degraded")
    _, found = play([HEALTHY] * 5 + [degraded] * 30 + [GONE] * 5)
    assert [fault for _, fault, _ in names(found)] == ["degraded", "crash"]
    assert names(found)[1][0] == 35 + POLICY.bad_in_a_row - 1
    assert [fault for _, fault, _ in names(play([HEALTHY] * 5 + [degraded] * 30 + [GONE] + [degraded] * 5)[1])] == [
        "degraded"
    ]


def test_skew_is_found_after_patience_and_cleared_by_the_right_version() -> None:
    old = replace(HEALTHY, version="0.9")
    _, found = play([HEALTHY] * 5 + [old] * 30 + [HEALTHY] * 5, expected_version="1.0")
    assert names(found) == [(25, "skew", False), (35, "skew", True)]
    assert "0.9" in found[0][1].rule


def test_maintenance_silences_and_what_is_bad_after_it_is_found() -> None:
    watch, found = play([HEALTHY] * 5 + [GONE] * 50, in_maintenance=True)
    assert found == []
    _, found = play([GONE] * 5, watch)
    assert names(found) == [(2, "crash", False)]


def test_a_second_incident_after_recovery_is_a_second_finding() -> None:
    _, found = play([HEALTHY] * 3 + [GONE] * 5 + [HEALTHY] * 90 + [GONE] * 5)
    assert [cleared for _, _, cleared in names(found)] == [False, True, False]


def test_a_poller_that_starts_again_sees_the_recovery_of_what_was_open() -> None:
    watch = resume_watch("web1", "a", ["crash", "skew"])
    _, found = play([HEALTHY] * 12, watch, expected_version="1.0")
    assert {(fault, cleared) for _, fault, cleared in names(found)} == {("crash", True), ("skew", True)}
    leaking = resume_watch("web1", "a", ["leak"])
    assert play([replace(HEALTHY, fields={"files": 5.0})] * 200, leaking)[1] == []


KINDS = st.sampled_from(
    [
        HEALTHY,
        HEALTHY,
        HEALTHY,
        GONE,
        FAILED,
        replace(HEALTHY, version="0.9"),
        replace(HEALTHY, verdict="wait", status="starting"),
        replace(HEALTHY, verdict="inconclusive", status="degraded"),
        replace(HEALTHY, probe_ok=False),
        replace(HEALTHY, nonce="n2"),
        replace(HEALTHY, fields={"files": 5.0}),
    ]
)
RUNS = st.lists(st.tuples(KINDS, st.integers(1, 60), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(RUNS)
def test_what_can_be_skipped_changes_nothing(runs: list[tuple[Sample, int, bool]]) -> None:
    full, skipping = HostWatch("web1", "a"), HostWatch("web1", "a")
    full_found, skip_found, i = list[Finding](), list[Finding](), 0
    for kind, length, in_maintenance in runs:
        for _ in range(length):
            sample = replace(kind, at_ms=i * POLL_MS, mtime_ms=max(1, i * POLL_MS - 5_000))
            more = {"policy": POLICY, "expected_version": "1.0", "in_maintenance": in_maintenance}
            full, found = observe_sample(full, sample, **more)  # type: ignore[arg-type]
            full_found += found
            signature = signature_of(sample, stale_after_ms=POLICY.stale_limit_ms, expected_version="1.0")
            if not can_skip(skipping, signature, sample.at_ms):
                skipping, found = observe_sample(skipping, sample, **more)  # type: ignore[arg-type]
                skip_found += found
            i += 1
    assert (full, full_found) == (skipping, skip_found)


@settings(max_examples=100, deadline=None)
@given(RUNS)
def test_findings_of_a_family_alternate_and_health_ends_them(runs: list[tuple[Sample, int, bool]]) -> None:
    samples = [kind for kind, length, _ in runs for _ in range(length)]
    watch, found = play([*samples, *[HEALTHY] * 200], expected_version="1.0")
    assert not watch.acute
    assert not watch.skewed
    open_now = {"acute": False, "skew": False}
    for _, finding in found:
        family = "skew" if finding.fault == "skew" else "acute"
        if finding.cleared:
            assert open_now[family]
        open_now[family] = not finding.cleared


def test_a_healthy_sample_like_the_last_returns_the_same_object() -> None:
    watch, _ = play([HEALTHY] * 3)
    again, findings = observe_sample(watch, replace(HEALTHY, at_ms=3 * POLL_MS, mtime_ms=3 * POLL_MS), policy=POLICY)
    assert again is watch
    assert findings == ()


def test_a_sample_survives_json() -> None:
    sample = replace(HEALTHY, at_ms=5, fields={"x": 1.5}, gate="g", reachable=False)
    assert sample_from_json(sample.as_json()) == sample

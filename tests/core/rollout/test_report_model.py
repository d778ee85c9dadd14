"""The report has exactly the shape that is promised, and says of each host what its state says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sane.core.events import Event
from sane.core.rollout.controller import RolloutState, apply, finished
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.report_model import HostOutput, report
from sane.core.rollout.revisions import retry_of
from sane.core.units import Amount
from sane.errors import ConflictError
from tests.core.rollout.rollout_world import FATES, QUICK, World, begin, drive

POLICY = RolloutPolicy(max_failures=Amount(5), **QUICK)  # type: ignore[arg-type]
HOST = {
    "name", "status", "version", "step", "exit_code", "health", "previous_version", "duration_ms", "output_tail", "output_file",
    "error", "hint",
}  # fmt: skip


def test_the_report_of_a_partial_deployment() -> None:
    hosts = ["web1", "web4", "web18"]
    state = drive(begin(hosts, POLICY), World({"web4": "stage_fails", "web18": "stage_fails"})).state
    told = report(state, {"web4": HostOutput("last line", "/outputs/web4")})
    assert json.loads(json.dumps(told)) == told
    keys = ["deployment", "key", "revision", "version", "status", "description", "counts", "hosts", "fingerprints"]
    assert list(told) == [*keys, "hooks"]
    assert (told["deployment"], told["key"], told["revision"], told["version"]) == ("app-1", "app", 1, "2")
    assert told["status"] == "partial"
    assert told["counts"] == {"total": 3, "healthy": 1, "failed": 2}
    assert all(set(host) == HOST for host in told["hosts"])
    good, bad, _ = told["hosts"]
    assert (good["name"], good["status"], good["previous_version"]) == ("web1", "healthy", "1")
    assert good["health"] == {"status": None, "version": None, "verdict": "pass", "reason": None}
    assert good["duration_ms"] > 0
    assert (bad["status"], bad["step"], bad["output_tail"], bad["output_file"]) == (
        "failed", "stage", "last line", "/outputs/web4",
    )  # fmt: skip
    assert bad["error"] == "failed in stage"
    assert told["fingerprints"] == [{"count": 2, "hosts": "web[4,18]", "message": "failed in stage"}]


def test_the_report_of_a_deployment_that_did_not_begin() -> None:
    told = report(apply(None, begin(["a"], POLICY)))
    assert told["counts"] == {"total": 1, "pending": 1}
    assert told["hosts"][0]["duration_ms"] is None
    assert told["fingerprints"] == []


def test_a_host_that_was_taken_back_says_why() -> None:
    policy = RolloutPolicy(max_parallel=Amount(3), on_failure="revert_all", **QUICK)  # type: ignore[arg-type]
    state = drive(begin(["web1", "web2", "web3"], policy), World({"web2": "stage_fails", "web3": "stage_fails"})).state
    told = report(state)
    assert told["description"] == (
        "the failure budget is spent: 2 of 3 hosts are bad, 0 may be; 3 of 3 hosts are back on their previous version"
    )
    assert {host["name"]: (host["status"], host["error"]) for host in told["hosts"]} == {
        "web1": ("reverted", None),
        "web2": ("reverted", "failed in stage"),
        "web3": ("reverted", "failed in stage"),
    }
    assert told["fingerprints"] == [{"count": 2, "hosts": "web[2-3]", "message": "failed in stage"}]


def test_a_host_that_could_not_be_taken_back_says_what_failed_then() -> None:
    policy = RolloutPolicy(on_failure="revert_all", **QUICK)  # type: ignore[arg-type]
    state = drive(begin(["web1"], policy), World({"web1": "stage_fails"}, {"web1": "fails"})).state
    (host,) = report(state)["hosts"]
    assert (host["status"], host["error"]) == ("revert_failed", "failed in revert")


def green(request: str, fates: dict[str, str] | None = None) -> RolloutState:
    """Return a blue-green deployment whose operator asked for this at the promotion, as it is at its end or then."""
    policy = RolloutPolicy(strategy="blue-green", max_parallel=Amount(2), **QUICK)  # type: ignore[arg-type]

    def meddle(state: RolloutState, now_ms: int) -> str:
        return request if state.status == "awaiting_promotion" and state.request is None else ""

    return drive(begin(["web1", "web2"], policy), World(fates or {}), meddle=meddle).state


def test_a_host_that_was_not_switched_has_the_version_that_takes_its_traffic() -> None:
    state = green("cancel")
    assert state.status == "cancelled"
    told = report(state)
    assert {(host["status"], host["version"]) for host in told["hosts"]} == {("healthy", "1")}
    assert told["hosts"][0]["health"]["reason"] == "2 stands beside it, and takes no traffic"
    promoted = report(green("promote"))
    assert {(host["version"], host["health"]["reason"]) for host in promoted["hosts"]} == {("2", None)}


@pytest.mark.parametrize(
    ("fate", "verdict", "said"),
    [
        ("sick", "fail", "What runs on the host says so itself: look at its log."),
        ("absent", "missing", "Nothing has written the health file: "),
        ("silent", "unreachable", ""),
    ],
)
def test_a_host_that_is_not_healthy_in_time_says_what_to_do_and_blames_no_step(
    fate: str, verdict: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FATES, "absent", {"probe": ["missing"]})
    state = drive(begin(["web1"], RolloutPolicy(**QUICK)), World({"web1": fate})).state  # type: ignore[arg-type]
    (host,) = report(state)["hosts"]
    assert host["health"]["verdict"] == verdict
    assert (host["step"], host["exit_code"]) == (None, None)
    assert host["hint"].startswith(said)
    assert "`sane health explain web1 --key app`" in host["hint"]


def test_a_healthy_host_with_nothing_to_go_back_to_is_not_told_that_it_was_unhealthy() -> None:
    policy = RolloutPolicy(max_parallel=Amount(3), on_failure="revert_all", **QUICK)  # type: ignore[arg-type]
    world = World({"web2": "sick", "web3": "stage_fails"}, dict.fromkeys(("web1", "web2", "web3"), "none"))
    state = drive(begin(["web1", "web2", "web3"], policy), world).state
    well, sick, failed = report(state)["hosts"]
    assert {host["status"] for host in (well, sick, failed)} == {"no_previous"}
    assert (well["error"], well["step"]) == ("it had no previous version", None)
    assert well["hint"] == "It was healthy, and keeps what it has: deploy again once the cause is mended."
    assert sick["hint"].startswith("What runs on the host says so itself")
    assert failed["hint"] == "Mend the cause on the host, then deploy again."


def test_a_step_that_failed_keeps_the_blame() -> None:
    state = drive(begin(["web1"], POLICY), World({"web1": "stage_fails"})).state
    (host,) = report(state)["hosts"]
    assert (host["step"], host["hint"]) == ("stage", "Mend the cause on the host, then: sane retry app")


def test_a_step_that_was_lost_keeps_the_blame_through_the_probes_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FATES, "crashed", {"stage": "lost", "probe": ["unreachable", "version_mismatch"]})
    state = drive(begin(["web1"], RolloutPolicy(**QUICK)), World({"web1": "crashed"})).state  # type: ignore[arg-type]
    (host,) = report(state)["hosts"]
    assert (host["status"], host["step"], host["exit_code"]) == ("failed", "stage", None)
    assert host["error"] == "contact was lost in stage; not healthy within 60ms: version_mismatch"
    assert "sane health explain" in host["hint"]
    proven = drive(begin(["web1"], RolloutPolicy(**QUICK)), World({"web1": "lost_back"})).state  # type: ignore[arg-type]
    assert (report(proven)["hosts"][0]["status"], report(proven)["hosts"][0]["error"]) == ("healthy", None)


def test_equal_words_of_other_steps_are_another_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.core.rollout.rollout_world.finished", with_error("Traceback"))
    state = drive(begin(["a", "b", "c"], POLICY), World({"a": "stage_fails", "b": "switch_fails", "c": "stage_fails"}))
    assert [(f["count"], f["hosts"]) for f in report(state.state)["fingerprints"]] == [(2, "a,c"), (1, "b")]


def with_error(text: str) -> Callable[..., Event]:
    def finish(action: Any, state: Any, now_ms: int, outcome: str, **details: Any) -> Event:
        more = {"error": text} if outcome == "failed" else {}
        return finished(action, state, now_ms, outcome, **details, **more)

    return finish


@pytest.mark.parametrize(
    ("policy", "revert", "status", "hint"),
    [
        ({}, "ok", "failed", "Mend the cause on the host, then: sane retry app"),
        ({"on_failure": "revert_all"}, "none", "no_previous", "Mend the cause on the host, then deploy again."),
        ({"on_failure": "revert_all"}, "ok", "reverted", "Mend the cause on the host, then deploy again."),
        ({"on_failure": "revert_all"}, "fails", "revert_failed", "Mend the cause on the host, then: sane retry app"),
    ],
)
def test_the_way_on_is_one_that_is_open(policy: dict[str, Any], revert: str, status: str, hint: str) -> None:
    first = begin(["web1"], RolloutPolicy(**QUICK, **policy))  # type: ignore[arg-type]
    state = drive(first, World({"web1": "stage_fails"}, {"web1": revert})).state
    (host,) = report(state)["hosts"]
    assert (host["status"], host["hint"]) == (status, hint)
    try:
        retry_of(state, "app-2", 2, 0)
    except ConflictError:
        assert "sane retry" not in hint
    else:
        assert "sane retry" in hint

"""Rollouts on real sshd hosts: order, batches, reverts, canaries, pauses, and what each command exits with."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, notice_dead_connections_soon, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def last_operation_times(site: Site, host: str) -> list[float]:
    """Return when each receipt of a host was written."""
    return sorted(path.stat().st_mtime for path in site.root(host).glob(".sane/operations/*/receipt"))


def test_versions_follow_each_other_in_order_and_the_same_one_again_writes_nothing(open_site: OpenSite) -> None:
    site = open_site(3)
    assert site.deploy("1.0.0").exit_code == 0
    began = max(last_operation_times(site, "server3"))
    second = site.deploy("2.0.0")
    assert (second.exit_code, second.report["revision"]) == (0, 2)
    assert second.hosts("previous_version") == dict.fromkeys(("server1", "server2", "server3"), "1.0.0")
    times = {name: [t for t in last_operation_times(site, name) if t > began] for name in site.lab.hosts}
    assert max(times["server1"]) < min(times["server2"])
    assert max(times["server2"]) < min(times["server3"])
    before = {name: site.snapshot(name) for name in site.lab.hosts}
    again = site.deploy("2.0.0")
    assert (again.exit_code, again.report["counts"]) == (0, {"total": 3, "unchanged": 3})
    assert {name: site.snapshot(name) for name in site.lab.hosts} == before


REVERTING = {
    "policy": "max_parallel: 2, max_failures: 0, on_failure: revert_all",
    "deadline": "2s",
    "poll": "200ms",
}


def deploy_two_with_a_bad_third(site: Site) -> dict[str, dict[str, object]]:
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server3", "2.0.0", "unhealthy")
    return {name: site.snapshot(name, leases=False) for name in ("server5", "server6")}


def test_a_bad_host_over_the_budget_takes_all_back_and_leaves_the_rest_alone(open_site: OpenSite) -> None:
    site = open_site(6, **REVERTING)
    before = deploy_two_with_a_bad_third(site)
    answer = site.deploy("2.0.0")
    assert answer.exit_code == 5, answer.stderr
    assert answer.duration_s < 20
    assert answer.report["status"] == "reverted"
    assert answer.hosts() == {
        **{f"server{n}": "reverted" for n in (1, 2, 3, 4)},
        **{f"server{n}": "not_attempted" for n in (5, 6)},
    }
    for number in (1, 2, 3, 4):
        host = next(h for h in answer.report["hosts"] if h["name"] == f"server{number}")
        assert (host["health"]["verdict"], host["health"]["version"]) == ("pass", "1.0.0")
        assert os.readlink(site.root(f"server{number}") / "current") == "releases/1.0.0"
    assert {name: site.snapshot(name, leases=False) for name in ("server5", "server6")} == before


def test_a_host_that_stops_in_the_revert_leaves_it_incomplete_and_a_retry_ends_it(open_site: OpenSite) -> None:
    site = open_site(6, **REVERTING)
    deploy_two_with_a_bad_third(site)
    notice_dead_connections_soon()
    site.set_connect_timeout("1s")
    process = site.start(*site.deploy_words("2.0.0", "--output", "json"))
    wait_for(lambda: "turn 2.0.0" in site.marks("server3"), 20, "the third host's switch")
    site.lab.fault("server1", "stop")
    out, err = process.communicate(timeout=50)
    assert process.returncode == 6, (out, err)
    site.lab.fault("server1", "heal")
    retried = call("retry", "app", "--reason", "server1 thawed", "--output", "json")
    assert retried.exit_code == 5, retried.stderr
    assert retried.report["revision"] == 3
    assert "server1 thawed" in call("deployment", "list", "--output", "json").stdout
    assert os.readlink(site.root("server1") / "current") == "releases/1.0.0"
    assert site.marks("server1").count("back 1.0.0") == 1


CANARY = {"policy": "strategy: canary, canary: 1", "poll": "200ms", "deadline": "2s"}


def heartbeat(site: Site, host: str, seconds: int) -> None:
    """Let a host write its health again and again, as an application does, for so many seconds."""
    loop = (
        "end=$(($(date +%s) + SECONDS_LEFT)); while [ $(date +%s) -lt $end ]; do"
        ' sed "s/\\"status\\":\\"[a-z]*\\"/\\"status\\":\\"$(cat word)\\"/" health.json >health.beat &&'
        " mv health.beat health.json; sleep 0.1; done"
    ).replace("SECONDS_LEFT", str(seconds))
    (site.root(host) / "word").write_text("healthy\n")
    process = subprocess.Popen(["bash", "-c", loop], cwd=site.root(host), start_new_session=True)
    site.started.append(process)  # type: ignore[arg-type]


@pytest.mark.parametrize("had", [True, False])
def test_a_host_that_is_gone_when_its_turn_comes_was_not_changed_and_is_not_taken_back(
    open_site: OpenSite, *, had: bool
) -> None:
    """Where it had no version before, there is nothing to go back to, either: nothing ever began on it."""
    site = open_site(3, **REVERTING)
    assert site.deploy("1.0.0", *(() if had else ("--limit", "server[1-2]"))).exit_code == 0
    assert site.deploy("2.0.0", "--canary", "1", "--no-wait").exit_code == 8
    before = site.snapshot("server3", leases=False)
    site.lab.fault("server3", "kill")
    answer = call("deployment", "promote", "app", "--output", "json")
    assert answer.exit_code == 5, answer
    assert answer.hosts() == {"server1": "reverted", "server2": "reverted", "server3": "unreachable"}
    assert answer.duration_s < 20
    assert site.snapshot("server3", leases=False) == before


def test_a_canary_waits_for_its_promotion_and_the_rest_follow(open_site: OpenSite) -> None:
    site = open_site(3, **CANARY)
    answer = site.deploy("1.0.0", "--no-wait")
    assert answer.exit_code == 8, answer.stderr
    assert answer.hosts() == {"server1": "healthy", "server2": "pending", "server3": "pending"}
    assert site.marks("server2") == []
    heartbeat(site, "server1", 20)
    promoted = call("deployment", "promote", "app", "--wait", "--output", "json")
    assert promoted.exit_code == 0, promoted.stderr
    assert all(site.marks(name) == ["put 1.0.0", "turn 1.0.0"] for name in site.lab.hosts)


def test_promoting_a_canary_that_went_bad_is_a_conflict_and_moves_nothing(open_site: OpenSite) -> None:
    site = open_site(3, **CANARY)
    assert site.deploy("1.0.0", "--no-wait").exit_code == 8
    heartbeat(site, "server1", 20)
    (site.root("server1") / "word").write_text("unhealthy\n")
    wait_for(lambda: "unhealthy" in (site.root("server1") / "health.json").read_text(), what="the bad word")
    before = {name: site.snapshot(name, leases=False) for name in ("server2", "server3")}
    promoted = call("deployment", "promote", "app", "--wait")
    assert promoted.exit_code == 7, promoted.stderr
    assert "canary" in promoted.stderr + promoted.stdout
    assert {name: site.snapshot(name, leases=False) for name in ("server2", "server3")} == before


def test_a_pause_past_the_progress_deadline_is_no_failure(open_site: OpenSite) -> None:
    site = open_site(2, turn="sleep 0.3", deadline="1s", progress="1500ms")
    process = site.start(*site.deploy_words("1.0.0", "--output", "json"))
    wait_for(lambda: site.marks("server1"), what="the first host")
    assert call("deployment", "pause", "app").exit_code == 0
    wait_for(lambda: call("deployment", "status", "app", "--query", "status").stdout.strip() == '"paused"')
    paused_at = time.monotonic()
    wait_for(lambda: time.monotonic() > paused_at + 2, what="the deadline")
    assert site.marks("server2") == []
    assert call("deployment", "resume", "app").exit_code == 0
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, (out, err)


def test_a_deployment_that_has_ended_refuses_everything(open_site: OpenSite) -> None:
    site = open_site(1)
    assert site.deploy("1.0.0").exit_code == 0
    for word in ("promote", "pause", "resume", "fail", "cancel"):
        refused = call("deployment", word, "app")
        assert (word, refused.exit_code) == (word, 7)
        assert "successful" in refused.stderr
    resumed = call("resume", "app", "--output", "json")
    assert (resumed.exit_code, resumed.stdout) == (7, "")
    assert "has ended (successful)" in resumed.stderr
    assert "put: ok" not in resumed.stderr, "nothing is shown as if it ran now"
    refused = call("retry", "app")
    assert refused.exit_code == 7
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0"]


def test_another_terminal_follows_a_deployment_to_its_end(open_site: OpenSite) -> None:
    site = open_site(2, turn="sleep 0.5")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1"), what="the first host")
    follower = site.start("deployment", "status", "app", "--follow", "--output", "json")
    out, err = follower.communicate(timeout=20)
    process.communicate(timeout=20)
    assert (process.returncode, follower.returncode) == (0, 0), err
    assert "✓ [server2] healthy" in err
    assert '"status": "successful"' in out


def test_a_retry_touches_only_the_hosts_that_need_it(open_site: OpenSite) -> None:
    site = open_site(3, policy="max_failures: 1")
    site.lab.fault("server2", "fail-step:turn")
    first = site.deploy("1.0.0")
    assert first.exit_code == 3, first.stderr
    assert first.hosts() == {"server1": "healthy", "server2": "failed", "server3": "healthy"}
    failed = first.report["hosts"][1]
    assert (failed["step"], failed["exit_code"]) == ("turn", 1)
    assert "Input/output error" in failed["output_tail"]
    assert failed["hint"]
    site.lab.fault("server2", "heal")
    before = {name: site.snapshot(name) for name in ("server1", "server3")}
    retried = call("retry", "app", "--output", "json")
    assert retried.exit_code == 0, retried.stderr
    assert retried.hosts() == {"server1": "unchanged", "server2": "healthy", "server3": "unchanged"}
    assert {name: site.snapshot(name) for name in ("server1", "server3")} == before


def test_the_reason_of_a_rollback_stands_in_the_list_and_in_the_report(open_site: OpenSite) -> None:
    site = open_site(1)
    for version in ("1.0.0", "2.0.0"):
        assert site.deploy(version).exit_code == 0
    back = call("deployment", "rollback", "app", "--reason", "restore the worker", "--output", "json")
    assert back.exit_code == 0, back.stderr
    why = "1 of 1 hosts are healthy; asked for: restore the worker"
    assert back.report["description"] == why
    assert json.loads(call("deployment", "list", "--output", "json").stdout)[0]["description"] == why
    assert why in call("deployment", "status", "app").stdout


def test_who_waits_for_a_person_names_what_the_person_can_do_and_shows_no_old_step_again(open_site: OpenSite) -> None:
    site = open_site(2, policy="strategy: canary, canary: 1")
    waiting = site.deploy("1.0.0", "--no-wait")
    way_on = "sane deployment promote app (or fail, cancel)"
    assert (waiting.exit_code, waiting.report["hint"]) == (8, way_on)
    assert f"→ {way_on}" in waiting.stderr
    shown = call("deployment", "status", "app")
    assert f"→ {way_on}" in shown.stdout
    assert call("deployment", "pause", "app").exit_code == 0
    assert "→ sane deployment resume app (or fail, cancel)" in call("deployment", "status", "app").stdout
    assert call("deployment", "resume", "app").exit_code == 8, "it awaits its promotion again"
    promoted = call("deployment", "promote", "app")
    assert promoted.exit_code == 0, promoted.stderr
    assert "[server2] stage: put: ok" in promoted.stderr
    assert "[server1] stage: put: ok" not in promoted.stderr
    assert call("deployment", "status", "app", "--query", "hint").stdout.strip() == "null"


def test_who_is_ended_from_outside_prints_the_report_and_the_way_on(open_site: OpenSite) -> None:
    site = open_site(1, put="touch {{ root }}/begun; sleep 30")
    process = site.start(*site.deploy_words("1.0.0", "--output", "json"))
    wait_for((site.root("server1") / "begun").exists, 20, "the step")
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 9, err
    assert json.loads(out)["hosts"][0]["status"] == "transferring"
    status = call("deployment", "status", "app")
    assert status.exit_code == 9
    assert "→ sane resume app" in status.stdout


def test_canaries_that_never_were_healthy_did_not_turn_bad_and_nothing_was_switched(open_site: OpenSite) -> None:
    site = open_site(1, deadline="1s", poll="200ms")
    assert site.deploy("1.0.0").exit_code == 0
    failed = site.deploy("2.0.0", "--strategy", "blue-green", "--auto-promote")
    assert failed.exit_code == 4, failed.stdout
    assert failed.report["description"] == "a canary did not become healthy: server1"
    assert failed.report["hosts"][0]["health"]["verdict"] == "version_mismatch"
    assert "switch" not in failed.hosts("hint")["server1"]

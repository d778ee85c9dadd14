"""Controllers that die, stop and meet: nothing runs twice, nothing is lost, and one at a time is in charge."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]
ONCE = ["put 1.0.0", "turn 1.0.0"]


def status() -> str:
    return call("deployment", "status", "app", "--query", "status").stdout.strip().strip('"')


def test_a_killed_controller_leaves_an_interrupted_deployment_that_resumes_and_runs_no_step_twice(
    open_site: OpenSite,
) -> None:
    site = open_site(2, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    process.kill()
    process.wait(timeout=5)
    assert status() == "interrupted"
    assert call("deployment", "list", "--output", "json").stdout.count("interrupted") == 1
    second = site.deploy("1.0.1")
    assert second.exit_code == 7
    assert "nobody drives it" in second.stderr
    began = time.monotonic()
    resumed = site.start("resume", "app", "--output", "json")
    for host in ("server1", "server2"):
        (site.root(host) / "go").touch()
    out, err = resumed.communicate(timeout=30)
    assert resumed.returncode == 0, (out, err)
    assert time.monotonic() - began < 15  # not the 30 s of the dead controller's lease
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, ONCE)
    assert status() == "successful"


def test_who_ends_a_deployment_gives_up_the_leases_that_a_killed_controller_left(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hosts that are never begun are never asked for a lease again, and would keep others out for two minutes."""
    site = open_site(3, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done; exit 1")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    process.kill()
    process.wait(timeout=5)
    (site.root("server1") / "go").touch()
    ended = call("resume", "app", "--output", "json")
    assert ended.hosts() == {"server1": "failed", "server2": "not_attempted", "server3": "not_attempted"}
    monkeypatch.setenv("SANE_STATE_DIR", str(tmp_path / "another"))
    for host in ("server2", "server3"):
        (site.root(host) / "go").touch()
    other = site.deploy("1.0.1", "--limit", "server[2-3]")
    assert other.exit_code == 4, other.stderr  # its step failed: nobody kept it out


@pytest.mark.parametrize(("word", "left"), [("cancel", "cancelled"), ("fail", "failed")])
def test_an_interrupted_deployment_can_be_ended(open_site: OpenSite, word: str, left: str) -> None:
    site = open_site(2, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    process.kill()
    process.wait(timeout=5)
    (site.root("server1") / "go").touch()
    ended = call("deployment", word, "app", "--output", "json")
    assert (ended.exit_code, ended.report["status"]) == (0, left), ended.stderr  # as it was asked to
    assert call("deployment", "status", "app").exit_code == 4
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, [])


def test_of_two_controllers_in_one_second_one_proceeds_and_the_other_names_it(open_site: OpenSite) -> None:
    site = open_site(2, turn="sleep 0.5")
    processes = [site.start(*site.deploy_words(version)) for version in ("1.0.0", "2.0.0")]
    answers = [process.communicate(timeout=30) for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 7], answers
    loser = answers[codes.index(7)][1]
    assert f"-{processes[codes.index(0)].pid}" in loser
    assert len(site.marks("server1")) == len(site.marks("server2")) == 2


def test_two_controllers_that_share_only_the_hosts_do_not_both_proceed(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(3, turn="sleep 0.5")
    processes = [
        site.start(*site.deploy_words(version), environ={"SANE_STATE_DIR": str(tmp_path / version)})
        for version in ("1.0.0", "2.0.0")
    ]
    answers = [process.communicate(timeout=30) for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 7], answers
    winner = processes[codes.index(0)]
    assert f"-{winner.pid}-" in answers[codes.index(7)][1]
    version = ("1.0.0", "2.0.0")[codes.index(0)]
    assert all(site.marks(name) == [f"put {version}", f"turn {version}"] for name in site.lab.hosts)


def test_a_stopped_controller_that_comes_back_after_another_took_over_changes_nothing(open_site: OpenSite) -> None:
    site = open_site(2, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done")
    short = {"SANE_LEASE_TTL": "3s"}  # time enough for one call on a busy machine
    old = site.start(*site.deploy_words("1.0.0"), environ=short)
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    os.kill(old.pid, signal.SIGSTOP)
    assert call("resume", "app").exit_code == 7  # it lives, and its lease has not run out
    wait_for(lambda: status() == "interrupted", 20, "the end of the lease")
    new = site.start("resume", "app", environ=short)
    (site.root("server1") / "go").touch()
    wait_for(lambda: site.marks("server2") == ONCE, 20, "the new controller's next host")
    os.kill(old.pid, signal.SIGCONT)
    _, said = old.communicate(timeout=20)
    assert old.returncode == 7
    assert f"-{new.pid}-" in said
    (site.root("server2") / "go").touch()
    _, err = new.communicate(timeout=30)
    assert new.returncode == 0, err
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, ONCE)


def test_ctrl_c_names_the_hosts_in_flight_and_lets_them_finish(open_site: OpenSite) -> None:
    site = open_site(2, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    os.kill(process.pid, signal.SIGINT)
    for line in process.stderr:  # it says so at once, not at the end
        if "cancelling" in line:
            assert "server1" in line
            break
    (site.root("server1") / "go").touch()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, (out, err)
    assert status() == "cancelled"
    assert site.marks("server2") == []


def test_a_second_ctrl_c_stops_at_once_and_leaves_what_can_be_resumed(open_site: OpenSite) -> None:
    site = open_site(2, turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done")
    process = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ONCE, 20, "the step")
    os.kill(process.pid, signal.SIGINT)
    wait_for(lambda: "operator_request" in call("events", "--output", "ndjson").stdout, what="the request")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, (out, err)
    assert "server1" in err
    (site.root("server1") / "go").touch()
    assert call("resume", "app").exit_code == 130  # the cancellation was asked for at the keyboard, and is carried out
    assert (site.marks("server1"), site.marks("server2")) == (ONCE, [])

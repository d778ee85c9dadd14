"""The truth on the hosts: `sane whatis`, and a lost log made anew by `sane adopt`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deploy_fixtures import Answer, Site, call, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def lose_the_log(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    lost = directory / "new-state"
    lost.mkdir(mode=0o700)
    monkeypatch.setenv("SANE_STATE_DIR", str(lost))


def adopt(site: Site, *options: str) -> Answer:
    return call("adopt", "-i", str(site.inventory), "--output", "json", *options)


def whatis(site: Site, host: str) -> dict[str, Any]:
    answer = call("whatis", host, "-i", str(site.inventory), "--output", "json")
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)[0]


def rows(key: str = "app") -> list[tuple[int, str, str, bool]]:
    answer = call("deployment", "list", "--key", key, "--output", "json")
    return [(r["revision"], r["version"], r["status"], r["stable"]) for r in json.loads(answer.stdout)]


def test_a_lost_log_is_rebuilt_and_goes_on(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2)
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        assert site.deploy(version).exit_code == 0
    before = rows()
    lose_the_log(monkeypatch, short_dir)
    assert rows() == []
    adopted = adopt(site)
    assert adopted.exit_code == 0, adopted.stdout
    assert rows() == before == [(n, f"{n}.0.0", "successful", True) for n in (3, 2, 1)]
    report = call("deployment", "status", "app", "--output", "json")
    assert report.hosts("previous_version") == {"server1": "2.0.0", "server2": "2.0.0"}
    assert adopt(site).report["existing"] == [e["deployment"] for e in adopted.report["adopted"]]
    assert site.deploy("3.0.0").hosts() == {"server1": "unchanged", "server2": "unchanged"}
    assert site.deploy("4.0.0").report["revision"] == 5
    back = call("deployment", "rollback", "app", "--to-revision", "1", "--output", "json")
    assert (back.exit_code, back.report["version"]) == (0, "1.0.0"), back.stderr
    assert os.readlink(site.root("server2") / "current") == "releases/1.0.0"


def test_what_went_back_is_adopted_but_no_rollback_chooses_it(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2, policy="on_failure: revert_all", deadline="1s", poll="100ms")
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server2", "2.0.0", "unhealthy")
    assert site.deploy("2.0.0").exit_code == 5
    lose_the_log(monkeypatch, short_dir)
    assert adopt(site).exit_code == 0
    assert rows() == [(2, "2.0.0", "cancelled", False), (1, "1.0.0", "successful", True)]
    assert site.deploy("1.0.0").hosts() == {"server1": "unchanged", "server2": "unchanged"}


@pytest.mark.parametrize(
    "damage", ['{"version":"1","digest":"d","revision":1e999,"deployment":"d","at":1}', "[" * 4_000]
)
def test_the_damaged_record_of_one_host_holds_up_no_other(open_site: OpenSite, damage: str) -> None:
    site = open_site(2)
    assert site.deploy("1.0.0").exit_code == 0
    (site.root("server2") / ".sane/keys/app/current").write_text(damage + "\n")
    assert whatis(site, "server2")["keys"][0]["current"] is None
    assert site.deploy("1.0.0").hosts() == {"server1": "unchanged", "server2": "healthy"}
    assert whatis(site, "server2")["keys"][0]["current"]["version"] == "1.0.0"


def test_what_was_never_proven_healthy_is_adopted_as_no_success(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2, deadline="1s", poll="100ms")
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server1", "2.0.0", "unhealthy")
    assert site.deploy("2.0.0", "--max-parallel", "2").exit_code == 4
    assert site.deploy("3.0.0").exit_code == 0
    before = rows()
    lose_the_log(monkeypatch, short_dir)
    assert adopt(site).exit_code == 0
    assert [row[3] for row in before] == [row[3] for row in rows()] == [True, False, True]
    assert rows()[1] == (2, "2.0.0", "cancelled", False)
    back = call("deployment", "rollback", "app", "--output", "json")
    assert (back.exit_code, back.report["version"]) == (0, "1.0.0"), back.stderr
    assert [r["proven"] for r in whatis(site, "server1")["keys"][0]["history"]] == [True, False, True, True]


def test_a_version_that_is_proven_later_counts_and_one_of_an_old_record_does_not(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(1, deadline="1s", poll="100ms")
    site.say("server1", "1.0.0", "unhealthy")
    assert site.deploy("1.0.0").exit_code == 4
    health = site.root("server1") / "health.json"
    health.write_text(health.read_text().replace("unhealthy", "healthy"))
    assert site.deploy("1.0.0").hosts() == {"server1": "unchanged"}
    lose_the_log(monkeypatch, short_dir)
    assert adopt(site).exit_code == 0
    assert rows() == [(1, "1.0.0", "successful", True)]
    for kept in ("current", "history"):
        file = site.root("server1") / ".sane" / "keys" / "app" / kept
        file.write_text(file.read_text().replace(', "proven": true', ""))
    (short_dir / "third").mkdir(mode=0o700)
    monkeypatch.setenv("SANE_STATE_DIR", str(short_dir / "third"))
    assert adopt(site).exit_code == 0
    assert rows() == [(1, "1.0.0", "cancelled", False)]


def test_a_workflow_without_health_proves_a_host_by_its_steps(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(1, say="true")
    text = site.workflow.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("health:")]
    site.workflow.write_text(text.replace(line, "health: none"))
    assert site.deploy("1.0.0").exit_code == 0
    lose_the_log(monkeypatch, short_dir)
    assert adopt(site).exit_code == 0
    assert rows() == [(1, "1.0.0", "successful", True)]


def test_conflicts_and_hosts_that_cannot_be_asked_are_named(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2)
    site.inventory.write_text(site.inventory.read_text().replace("address:", "connect_timeout: 1s, address:"))
    assert site.deploy("1.0.0").exit_code == 0
    lose_the_log(monkeypatch, short_dir)
    site.lab.fault("server2", "refuse")
    assert site.deploy("1.1.0", "--limit", "server1").report["revision"] == 1
    answer = adopt(site)
    assert answer.exit_code == 7
    assert "the next revision of 'app' is 2" in answer.report["conflicts"][0]["reason"]
    assert [entry["host"] for entry in answer.report["unreachable"]] == ["server2"]
    assert len(rows()) == 1


def test_what_a_host_that_cannot_be_asked_may_know_waits_for_it(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2)
    site.inventory.write_text(site.inventory.read_text().replace("address:", "connect_timeout: 1s, address:"))
    assert site.deploy("1.0.0").exit_code == 0
    assert site.deploy("2.0.0", "--limit", "server1").exit_code == 0
    lose_the_log(monkeypatch, short_dir)
    site.lab.fault("server2", "refuse")
    answer = adopt(site)
    assert (answer.exit_code, rows()) == (4, [])
    assert [entry["revision"] for entry in answer.report["waiting"]] == [1, 2]
    site.lab.fault("server2", "heal")
    assert adopt(site).exit_code == 0
    assert rows() == [(2, "2.0.0", "successful", True), (1, "1.0.0", "successful", True)]


def test_a_host_that_is_gone_is_left_out_of_an_adoption(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    site = open_site(2)
    assert site.deploy("1.0.0").exit_code == 0
    lose_the_log(monkeypatch, short_dir)
    assert call("adopt", "all,!server2", "-i", str(site.inventory)).exit_code == 0
    assert rows() == [(1, "1.0.0", "cancelled", False)]


def test_a_damaged_source_is_a_conflict(open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, short_dir: Path) -> None:
    site = open_site(1)
    assert site.deploy("1.0.0").exit_code == 0
    (kept,) = site.root("server1").glob(".sane/keys/app/sources/*")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(kept.read_bytes()[:-8])
    lose_the_log(monkeypatch, short_dir)
    answer = adopt(site)
    assert (answer.exit_code, rows()) == (7, [])
    assert "no host has what it was made of" in answer.report["conflicts"][0]["reason"]


def test_whatis_tells_versions_leases_and_steps_under_way(open_site: OpenSite) -> None:
    site = open_site(1)
    assert site.deploy("1.0.0").exit_code == 0
    site.write_workflow(put="touch {{ root }}/begun; sleep 30")
    process = site.start(*site.deploy_words("2.0.0"))
    wait_for((site.root("server1") / "begun").exists, 20, "the step")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = site.snapshot("server1")
    host = whatis(site, "server1")
    assert site.snapshot("server1") == before
    assert [(k["key"], k["current"]["version"]) for k in host["keys"]] == [("app", "1.0.0")]
    assert [lease["key"] for lease in host["leases"]] == ["app"]
    assert 0 < host["leases"][0]["remaining_s"] <= 120
    (step,) = host["operations"]
    assert step["state"] == "running"
    os.killpg(step["pid"], signal.SIGKILL)
    (ended,) = whatis(site, "server1")["operations"]
    assert ended["state"] == "ambiguous"
    assert "app: 1.0.0 (revision 1" in call("whatis", "server1", "-i", str(site.inventory)).stdout


def test_what_a_host_keeps_does_not_steer_the_terminal(open_site: OpenSite) -> None:
    site = open_site(1)
    assert site.deploy("1.0.0").exit_code == 0
    for kept in ("current", "history"):
        file = site.root("server1") / ".sane" / "keys" / "app" / kept
        assert '"1.0.0"' in file.read_text()
        file.write_text(file.read_text().replace('"1.0.0"', '"\\u001b]0;owned\\u0007"'))
    shown = call("whatis", "server1", "-i", str(site.inventory)).stdout
    assert "owned" in shown
    assert "\x1b" not in shown


def test_old_receipts_are_pruned_but_those_of_this_deployment_stay(open_site: OpenSite) -> None:
    site = open_site(1)
    operations = site.root("server1") / ".sane" / "operations"
    for number in range(120):
        directory = operations / f"old-{number}.x"
        directory.mkdir(parents=True)
        os.utime(directory, (number, number))
        if number != 5:
            (directory / "receipt").write_text("{}")
            os.utime(directory, (number, number))
    assert site.deploy("1.0.0").exit_code == 0
    names = {path.name for path in operations.iterdir()}
    assert len([name for name in names if name.startswith("app-1-")]) == 3
    assert {name for name in names if name.startswith("old-")} == {"old-5.x", *(f"old-{n}.x" for n in range(23, 120))}

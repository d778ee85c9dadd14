"""`sane plan`, `sane apply` and `sane deploy --rehearse` on real sshd hosts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deploy_fixtures import Answer, Site, call, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def plan(site: Site, version: str, *options: str) -> Answer:
    words = (str(site.workflow), "-i", str(site.inventory), "--version", version)
    return call("plan", *words, "--output", "json", *options)


def apply(name: str) -> Answer:
    return call("apply", "--plan", name, "--output", "json")


def test_a_plan_shows_what_the_deployment_then_does(open_site: OpenSite) -> None:
    site = open_site(3)
    assert site.deploy("1.0.0").exit_code == 0
    assert site.deploy("2.0.0", "--limit", "server2").exit_code == 0
    before = {name: site.snapshot(name) for name in site.lab.hosts}
    made = plan(site, "2.0.0", "--max-parallel", "2").report
    assert {name: site.snapshot(name) for name in site.lab.hosts} == before  # nothing was written
    assert (made["key"], made["revision"], made["ends"]) == ("app", 3, "successful")
    assert {h["name"]: (h["has"], h["change"]) for h in made["hosts"]} == {
        "server1": ("1.0.0", "change"),
        "server2": ("2.0.0", "unchanged"),
        "server3": ("1.0.0", "change"),
    }
    assert [batch["hosts"] for batch in made["batches"]] == [["server1"], ["server3"]]
    assert made["peak_exposure"] == {"hosts": 1, "share": 0.3333}
    (turn,) = [s for s in made["hosts"][0]["steps"] if s["step"] == "turn"]
    assert f"ln -sfn releases/2.0.0 {site.root('server1')}/current" in turn["command"].replace("'", "")
    assert plan(site, "2.0.0", "--max-parallel", "2").report["plan"] == made["plan"]
    applied = apply(made["plan"][:12])
    assert (applied.exit_code, applied.report["revision"]) == (0, 3), applied.stderr
    assert applied.hosts() == {"server1": "healthy", "server2": "unchanged", "server3": "healthy"}


def test_apply_refuses_on_drift_and_names_it(open_site: OpenSite) -> None:
    site = open_site(2)
    made = plan(site, "1.0.0").report
    assert site.deploy("0.9.0", "--limit", "server2").exit_code == 0
    site.workflow.write_text(site.workflow.read_text() + "# another line\n")
    before = {name: site.snapshot(name) for name in site.lab.hosts}
    refused = apply(made["plan"])
    assert refused.exit_code == 7
    assert "host server2: nothing was planned on, 0.9.0 (" in refused.stderr
    assert "the workflow changed" in refused.stderr
    assert "the next revision: 1 was planned on, 2 is there now" in refused.stderr
    assert "server1" not in refused.stderr
    assert {name: site.snapshot(name) for name in site.lab.hosts} == before


def test_unreachable_hosts_are_named_and_judged_by_the_budget(open_site: OpenSite) -> None:
    site = open_site(2)
    site.inventory.write_text(site.inventory.read_text().replace("address:", "connect_timeout: 1s, address:"))
    site.lab.fault("server2", "refuse")
    made = plan(site, "1.0.0").report
    assert list(made["unreachable"]) == ["server2"]
    assert (made["ends"], made["batches"]) == ("failed", [])
    text = call(
        "plan", str(site.workflow), "-i", str(site.inventory), "--version", "1.0.0", "--max-failures", "1"
    ).stdout
    assert "server2 can't be reached" in text
    assert "1. batch: server1" in text


def test_plans_are_kept_for_the_caller_alone_and_bounded(open_site: OpenSite, monkeypatch: Any) -> None:
    site = open_site(1)
    monkeypatch.setattr("sane.operations.rollout_plan.KEPT_PLANS", 2)
    names = [plan(site, f"{number}.0.0").report["plan"] for number in (1, 2, 3)]
    directory = Path(os.environ["SANE_STATE_DIR"]) / "plans"
    kept = {path.stem: path for path in directory.iterdir()}
    assert set(kept) == set(names[1:])
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept.values())
    assert apply(names[0]).exit_code == 2
    assert apply("../../etc/passwd").exit_code == 2


def test_a_rehearsal_runs_the_plan_elsewhere_and_leaves_nothing(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(2)
    before = {name: site.snapshot(name) for name in site.lab.hosts}
    answer = site.deploy("1.0.0", "--rehearse")
    assert answer.exit_code == 0, answer.stderr
    assert answer.hosts() == {"server1": "healthy", "server2": "healthy"}
    assert {name: site.snapshot(name) for name in site.lab.hosts} == before
    assert json.loads(call("deployment", "list", "--output", "json").stdout) == []
    site.write_workflow(put="exit 3")
    assert site.deploy("1.0.0", "--rehearse").exit_code == 4


def test_a_plan_warns_of_hosts_that_would_be_waited_for_in_vain(open_site: OpenSite) -> None:
    site = open_site(1, say="true")
    assert plan(site, "1.0.0").report["warnings"] == []
    lines = site.workflow.read_text().splitlines()
    site.workflow.write_text("\n".join(line for line in lines if not line.startswith("health:")))
    (warning,) = plan(site, "1.0.0").report["warnings"]
    assert "waited for 8s" in warning
    words = ["plan", str(site.workflow), "-i", str(site.inventory), "--version", "1.0.0"]
    assert f"warning: {warning}" in call(*words).stderr

"""Ordered groups with versions of their own, control hosts, gates over other deployments, and old outputs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import Site, call, events_of, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def write_groups(site: Site, groups: str) -> None:
    site.inventory.write_text(site.inventory.read_text() + f"groups: {groups}\n")


def switched(site: Site, host: str) -> tuple[float, float]:
    """Return when the host's first operation began and its last one ended."""
    receipts = [json.loads(p.read_text()) for p in site.root(host).glob(".sane/operations/*/receipt")]
    times = [path.stat().st_mtime for path in site.root(host).glob(".sane/operations/*/pid")]
    assert receipts
    return min(times), max(path.stat().st_mtime for path in site.root(host).glob(".sane/operations/*/receipt"))


def test_groups_have_their_versions_and_their_order(open_site: OpenSite) -> None:
    site = open_site(4)
    write_groups(
        site,
        "{all-web: {children: [b, a]}, b: {hosts: [server1, server2], order: 2},"
        " a: {hosts: [server3, server4], order: 1, version: 2.0.0-a}}",
    )
    answer = site.deploy("2.0.0", "--max-parallel", "3")
    assert answer.exit_code == 0, answer.stderr
    assert {h["name"]: h["version"] if "version" in h else h["health"]["version"] for h in answer.report["hosts"]} == {
        "server1": "2.0.0",
        "server2": "2.0.0",
        "server3": "2.0.0-a",
        "server4": "2.0.0-a",
    }
    # Three at once, and yet none of group b begins before all of group a are done.
    assert max(switched(site, host)[1] for host in ("server3", "server4")) < min(
        switched(site, host)[0] for host in ("server1", "server2")
    )
    made = call(
        "plan",
        str(site.workflow),
        "-i",
        str(site.inventory),
        "--version",
        "3.0.0",
        "--max-parallel",
        "3",
        "--output",
        "json",
    )
    batches = json.loads(made.stdout)["batches"]
    # Group a stays on the version that the inventory gives it.
    assert [(batch["group"], batch["hosts"]) for batch in batches] == [("b", ["server1", "server2"])]


GATED = {
    "policy": "strategy: canary, canary: 1, auto_promote: true",
}
GATE = """
gates:
  canary: canary[0].health.status == control[0].health.status && length(control) == `1`
"""


@pytest.mark.parametrize(("option", "key"), [(True, ""), (False, "controls: server3\n")])
def test_canaries_are_judged_beside_control_hosts(open_site: OpenSite, option: bool, key: str) -> None:
    site = open_site(3, **GATED)
    assert site.deploy("1.0.0").exit_code == 0
    site.workflow.write_text(site.workflow.read_text() + GATE + key)
    options = ("--controls", "server1,server3") if option else ()
    answer = site.deploy("2.0.0", *options, "--no-wait")
    assert answer.exit_code == 0, answer.stdout
    health = site.root("server3") / "health.json"
    health.write_text(health.read_text().replace("healthy", "passing"))
    site.write_workflow(**GATED)
    site.workflow.write_text(site.workflow.read_text() + GATE + key)
    failed = site.deploy("3.0.0", *options, "--no-wait")
    assert failed.exit_code == 4, failed.stdout
    assert failed.hosts()["server2"] == "not_attempted"
    assert (
        "`canary[0].health.status == control[0].health.status && length(control) == `1`` is false"
        in (failed.report["description"])
    )
    assert 'status is "healthy", "passing"' in failed.report["description"]


def test_without_control_hosts_such_a_gate_asks_a_person(open_site: OpenSite) -> None:
    site = open_site(2, **GATED)
    site.workflow.write_text(site.workflow.read_text() + GATE)
    answer = site.deploy("1.0.0", "--no-wait")
    assert (answer.exit_code, answer.report["status"]) == (8, "paused")
    assert "a gate is inconclusive: `canary[0].health.status == control[0]" in answer.report["description"]
    assert "`canary[0]" in events_of("app", "action_finished")[-1]["data"]["error"]


@pytest.mark.parametrize(
    ("gate", "code", "said"),
    [
        ("errors < `5`", 4, "not healthy within 1s: `errors < `5`` is false, not true (errors is 7)"),
        ("latency < `5`", 8, "server1: not healthy within 1s: `latency < `5``: latency is absent"),
    ],
)
def test_a_gate_over_a_host_that_does_not_pass_is_named_with_what_it_saw(
    open_site: OpenSite, gate: str, code: int, said: str
) -> None:
    say = r"""printf '{"status":"healthy","version":"%s","nonce":"%s","errors":7}' \
        {{ version }} "$SANE_NONCE" >{{ health_path }}"""
    site = open_site(1, say=say, deadline="1s", poll="100ms")
    site.workflow.write_text(site.workflow.read_text() + f"gates: {{host: '{gate}'}}\n")
    answer = site.deploy("1.0.0", "--no-wait")
    assert answer.exit_code == code, answer.stdout
    assert said in answer.stdout
    if code == 4:
        assert answer.hosts("hint")["server1"].startswith("A gate of the workflow does not pass")


def test_a_gate_over_another_deployment_refuses_before_anything_is_touched(open_site: OpenSite) -> None:
    site = open_site(1)
    plain = site.workflow.read_text()
    gate = "\ngates: {deployments: 'deployments.db.stable && deployments.db.version == `\"2\"`'}\n"
    site.workflow.write_text(plain + gate)
    absent = site.deploy("1.0.0")
    assert absent.exit_code == 7
    assert "is inconclusive" in absent.stderr
    assert not (site.root("server1") / ".sane").exists()
    site.workflow.write_text(plain)
    for version, code in (("1", 7), ("2", 0)):
        site.workflow.write_text(plain)
        assert site.deploy(version, "--key", "db").exit_code == 0
        site.workflow.write_text(plain + gate)
        assert site.deploy("1.0.0").exit_code == code


def test_old_outputs_are_removed_when_something_is_deployed(open_site: OpenSite) -> None:
    site = open_site(1, put="echo hello")
    assert site.deploy("1.0.0").exit_code == 0
    outputs = Path(os.environ["SANE_STATE_DIR"]) / "outputs"
    (first,) = outputs.iterdir()
    forgotten = outputs / "gone-1-abcdef" / "server1"
    forgotten.mkdir(parents=True)
    (forgotten / "put-1.log").write_text("old")
    past = time.time() - 31 * 86_400
    for path in (*first.rglob("*"), first, forgotten / "put-1.log", forgotten, forgotten.parent):
        os.utime(path, (past, past))
    assert site.deploy("2.0.0").exit_code == 0
    assert not forgotten.exists()
    assert not first.exists()
    assert len(list(outputs.iterdir())) == 1


def test_the_hint_of_a_host_that_is_not_healthy_explains_it_when_pasted(open_site: OpenSite) -> None:
    say = r"""printf '{"status":"healthy","version":"%s","nonce":"%s","errors":7}' \
        {{ version }} "$SANE_NONCE" >{{ health_path }}"""
    site = open_site(1, say=say, deadline="1s", poll="100ms")
    site.workflow.write_text(site.workflow.read_text() + "gates: {host: 'errors < `5`'}\n")
    failed = site.deploy("1.0.0")
    assert failed.exit_code == 4, failed.stdout
    words = failed.hosts("hint")["server1"].partition("`sane ")[2].partition("`")[0].split()
    explained = call(*words)
    assert explained.exit_code == 4, explained.stderr
    assert "✓ nonce                    that of this activation" in explained.stdout
    assert "✓ written_after_activation" in explained.stdout
    assert "`errors < `5`` is false, not true (errors is 7)" in explained.stdout
    (site.root("server1") / "health.json").unlink()
    assert "there is no health file" in call(*words).stdout

"""`sane deploy --supersede`: the active deployment of the key is cancelled, and the new one begins behind its end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e.deploy_fixtures import Site, call, events_of, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

OpenSite = Callable[..., Site]
HELD = "while [ ! -e {{ root }}/go ]; do sleep 0.05; done"
CANARY = {"policy": "strategy: canary, canary: 1, max_parallel: 100%", "poll": "200ms"}


def test_the_running_deployment_ends_before_the_new_one_begins(open_site: OpenSite) -> None:
    site = open_site(2, turn=HELD)
    old = site.start(*site.deploy_words("1.0.0"))
    wait_for(lambda: site.marks("server1") == ["put 1.0.0", "turn 1.0.0"], 20, "the step")
    new = site.start(*site.deploy_words("2.0.0", "--supersede", "--reason", "1.0.0 is broken", "--output", "json"))
    wait_for(lambda: events_of("app", "operator_request"), 20, "the request")
    assert len(events_of("app", "deployment_created")) == 1
    for name in site.lab.hosts:
        (site.root(name) / "go").touch()
    out, err = new.communicate(timeout=30)
    assert new.returncode == 0, err
    report = json.loads(out)
    assert (report["version"], report["revision"], report["status"]) == ("2.0.0", 2, "successful")
    assert {host["previous_version"] for host in report["hosts"]} == {"1.0.0", None}
    old_out, _ = old.communicate(timeout=10)
    assert (old.returncode, "1.0.0 is broken" in old_out) == (7, True)
    assert site.marks("server2") == ["put 2.0.0", "turn 2.0.0"]


def test_one_that_waits_for_a_promotion_and_is_driven_by_nobody_is_superseded_here(open_site: OpenSite) -> None:
    site = open_site(2, **CANARY)
    assert site.deploy("1.0.0", "--no-wait").exit_code == 8
    answer = site.deploy("2.0.0", "--supersede", "--auto-promote")
    assert answer.exit_code == 0, answer.stderr
    rows = json.loads(call("deployment", "list", "--output", "json").stdout)
    assert [row["status"] for row in rows] == ["successful", "cancelled"]


def test_what_is_refused_anyway_cancels_nothing(open_site: OpenSite) -> None:
    site = open_site(2, **CANARY)
    assert site.deploy("1.0.0", "--no-wait", "--idempotency-key", "one").exit_code == 8
    text = site.workflow.read_text()
    site.workflow.write_text(text + 'gates: {deployments: "deployments.db.stable"}\n')
    assert site.deploy("2.0.0", "--supersede").exit_code == 7
    site.workflow.write_text(text)
    same = site.deploy("1.0.0", "--supersede", "--no-wait", "--idempotency-key", "one")
    assert (same.exit_code, same.report["revision"]) == (8, 1), same.stderr
    assert site.deploy("1.0.0", "--supersede", "--limit", "nowhere").exit_code == 2
    assert call("deployment", "status", "app").exit_code == 8
    assert events_of("app", "operator_request") == []


def test_without_an_active_deployment_it_is_a_deployment(open_site: OpenSite) -> None:
    answer = open_site(1).deploy("1.0.0", "--supersede")
    assert (answer.exit_code, answer.report["revision"]) == (0, 1), answer.stderr

"""One key has one active deployment, whichever word asks for a second; only the newest is retried, and all go back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.deploy_fixtures import Site, call, events_of, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]
WAITS = ("--canary", "1", "--no-wait")


def test_an_idempotency_key_opens_no_second_deployment_beside_an_active_one(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms")
    assert site.deploy("1.0.0", *WAITS).exit_code == 8
    refused = site.deploy("2.0.0", *WAITS, "--idempotency-key", "two")
    assert (refused.exit_code, "awaiting_promotion" in refused.stderr) == (7, True), refused
    assert "sane deployment promote app-1-" in refused.stderr
    assert len(events_of("app", "deployment_created")) == 1


def test_asking_twice_with_one_idempotency_key_is_asking_once(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms")
    once = site.deploy("1.0.0", *WAITS, "--idempotency-key", "one")
    again = site.deploy("1.0.0", *WAITS, "--idempotency-key", "one")
    assert (once.exit_code, again.exit_code) == (8, 8)
    assert once.report["deployment"] == again.report["deployment"]
    other = site.deploy("2.0.0", *WAITS, "--idempotency-key", "one")
    assert (other.exit_code, "was used for another request" in other.stderr) == (7, True), other


def test_an_older_deployment_is_not_retried(open_site: OpenSite) -> None:
    site = open_site(2, policy="max_failures: 1", poll="200ms")
    site.lab.fault("server2", "fail-step:turn")
    old = site.deploy("1.0.0")
    assert old.exit_code == 3, old.stderr
    site.lab.fault("server2", "heal")
    assert site.deploy("2.0.0", *WAITS).exit_code == 8
    beside = call("retry", old.report["deployment"])
    assert (beside.exit_code, "is awaiting_promotion" in beside.stderr) == (7, True), beside
    assert call("deployment", "promote", "app", "--wait").exit_code == 0
    late = call("retry", old.report["deployment"])
    assert (late.exit_code, "is not the newest" in late.stderr) == (7, True), late
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0", "put 2.0.0", "turn 2.0.0"]


def test_a_rollback_takes_all_hosts_back_past_a_revision_that_was_for_one(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms", policy="max_parallel: 2")
    for version, limit in (("1.0.0", "all"), ("2.0.0", "server1"), ("3.0.0", "all")):
        assert site.deploy(version, "--limit", limit).exit_code == 0
    back = call("deployment", "rollback", "app", "--output", "json")
    assert (back.exit_code, back.report["version"], back.report["counts"]["total"]) == (0, "1.0.0", 2), back
    named = call("deployment", "rollback", "app", "--to-revision", "2", "--output", "json")
    assert (named.exit_code, named.report["counts"]["total"]) == (0, 1), named
    assert "keep what they have: server2" in named.stderr

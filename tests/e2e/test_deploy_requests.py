"""What the words of an operator answer: whether they got what they asked for, whoever drives the deployment."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e.deploy_fixtures import Answer, Site, call, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]
WAITS = ("--canary", "1", "--no-wait")


def ask(word: str, *options: str) -> Answer:
    return call("deployment", word, "app", "--output", "json", *options)


def status() -> str:
    return json.loads(call("deployment", "status", "app", "--query", "status").stdout)


@pytest.mark.parametrize("driven", [True, False], ids=["driven", "driven by nobody"])
def test_a_pause_and_a_cancellation_are_asked_for_alike_whoever_drives(open_site: OpenSite, driven: bool) -> None:
    site = open_site(2, poll="200ms", turn="while [ ! -e {{ root }}/go ]; do sleep 0.05; done" if driven else "true")
    if driven:
        process = site.start(*site.deploy_words("1.0.0"))
        wait_for(lambda: site.marks("server1"), 20, "the first host")
    else:
        assert site.deploy("1.0.0", *WAITS).exit_code == 8
    paused = ask("pause")
    assert (paused.exit_code, set(paused.report) >= {"deployment", "hosts", "counts"}) == (0, True), paused
    (site.root("server1") / "go").touch()
    wait_for(lambda: status() == "paused", 20, "the pause")
    cancelled = ask("cancel", "--query", "key")
    assert (cancelled.exit_code, cancelled.stdout) == (0, '"app"\n'), cancelled
    wait_for(lambda: status() == "cancelled", 20, "the end")
    if driven:
        process.communicate(timeout=20)
        assert process.returncode == 4


def test_one_that_fails_as_it_was_asked_to_exits_0_and_with_wait_as_the_deployment(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms", policy="on_failure: revert_all")
    assert site.deploy("1.0.0").exit_code == 0
    assert site.deploy("2.0.0", *WAITS).exit_code == 8
    failed = ask("fail")
    assert (failed.exit_code, failed.report["status"]) == (0, "reverted"), failed
    assert site.deploy("2.0.0", *WAITS).exit_code == 8
    assert ask("fail", "--wait").exit_code == 5


def test_a_failed_deployment_whose_revert_is_incomplete_says_so(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms", policy="on_failure: revert_all")
    assert site.deploy("1.0.0", *WAITS).exit_code == 8
    assert ask("fail").exit_code == 6  # there was nothing before it


def test_a_promotion_that_nobody_else_carries_out_exits_as_a_deployment(open_site: OpenSite) -> None:
    site = open_site(2, poll="200ms")
    site.lab.fault("server2", "fail-step:turn")
    assert site.deploy("1.0.0", *WAITS).exit_code == 8
    assert ask("promote").exit_code == 4

"""Dead-man guards on real sshd hosts: who kills the controller gets the old version back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, open_site, wait_for

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

OpenSite = Callable[..., Site]


def guards(site: Site, host: str) -> list[dict[str, Any]]:
    return json.loads(call("whatis", host, "-i", str(site.inventory), "--output", "json").stdout)[0]["guards"]


def test_a_host_takes_back_what_a_killed_controller_left(open_site: OpenSite) -> None:
    """Bound: the guard's 2 s, its look every 0.5 s, and what the revert takes."""
    site = open_site(1)
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server1", "2.0.0", "starting")
    process = site.start(*site.deploy_words("2.0.0", "--dead-man", "2s"))
    wait_for(lambda: (site.root("server1") / "current").readlink().name == "2.0.0", 20, "the switch")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [guard["state"] for guard in guards(site, "server1")] == ["armed"]
    wait_for(lambda: (site.root("server1") / "current").readlink().name == "1.0.0", 10, "the host's own revert")
    wait_for(lambda: guards(site, "server1")[0]["exit_code"] == 0, 5, "the guard's end")
    assert site.marks("server1")[-1] == "back 1.0.0"
    text = call("whatis", "server1", "-i", str(site.inventory)).stdout
    assert "app: 1.0.0 (revision 2, went back" in text
    assert "dead-man guard of app: took the host back" in text
    assert call("deployment", "cancel", "app", "--wait").exit_code == 4
    again = site.deploy("1.0.0")
    assert again.hosts("previous_version") == {"server1": "1.0.0"}, again.stdout


def test_a_proven_host_is_confirmed_and_stays(open_site: OpenSite) -> None:
    site = open_site(2)
    assert site.deploy("1.0.0", "--dead-man", "2s").exit_code == 0
    assert guards(site, "server1") == []  # nothing to go back to
    answer = site.deploy("2.0.0", "--dead-man", "2s")
    assert answer.exit_code == 0, answer.stdout
    assert [guard["state"] for guard in guards(site, "server1") + guards(site, "server2")] == ["confirmed"] * 2
    assert "back 1.0.0" not in site.marks("server1")


def test_a_guard_that_was_faster_fails_the_host(open_site: OpenSite) -> None:
    site = open_site(1, turn="sleep ${SLEEP_S:-0}", deadline="10s")
    assert site.deploy("1.0.0").exit_code == 0
    site.write_workflow(turn="sleep 3", deadline="3s", poll="200ms")
    answer = site.deploy("2.0.0", "--dead-man", "1s")
    assert answer.exit_code == 4, answer.stdout
    assert answer.hosts() == {"server1": "failed"}
    assert guards(site, "server1")[0]["state"] == "fired"


def test_a_revert_part_that_a_host_can_not_run_is_refused_before_anything(open_site: OpenSite) -> None:
    site = open_site(1)
    site.workflow.write_text(site.workflow.read_text() + "  - create-file: {path: x, content: y}\n")
    refused = site.deploy("1.0.0", "--dead-man", "20s")
    assert refused.exit_code == 2
    assert "can't run on the host" in refused.stderr
    assert not (site.root("server1") / ".sane").exists()


def test_a_host_that_its_guard_took_back_is_failed_at_once_and_says_so(open_site: OpenSite) -> None:
    site = open_site(1, deadline="25s", poll="200ms")
    assert site.deploy("1.0.0").exit_code == 0
    site.say("server1", "2.0.0", "starting")
    answer = site.deploy("2.0.0", "--dead-man", "1s")
    assert answer.exit_code == 4, answer.stdout
    assert answer.duration_s < 15, "the guard's second, not the healthy deadline"
    assert answer.hosts("error") == {"server1": "its dead-man guard took it back to 1.0.0"}
    assert answer.hosts("hint")["server1"].startswith("Deploy again with a dead_man that is longer")
    assert site.marks("server1")[-1] == "back 1.0.0"

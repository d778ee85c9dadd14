"""`sane health` as typed: the same answer in every form, and a person who waits is shown how far it is."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

BOUND_S = 30


def health(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "health", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    """Return an inventory of two hosts, which are this machine: one is healthy, and one says nothing."""
    good = tmp_path / "good.json"
    good.write_text('{"status": "healthy", "version": "1.0"}')
    path = tmp_path / "hosts.yaml"
    path.write_text(
        f"target: 'local:'\nhosts:\n  good: {{health_path: {good}}}\n  bad: {{health_path: {tmp_path}/none}}\n"
    )
    return str(path)


def make_old(path: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


@pytest.mark.parametrize("command", [("check",), ("explain", "all")])
def test_the_same_answer_in_every_form(hosts: str, command: tuple[str, ...]) -> None:
    done = health(*command, "-i", hosts, "--output", "json")
    found = json.loads(done.stdout)["hosts"]
    assert ([host["verdict"] for host in found], done.returncode) == (["pass", "missing"], 3)
    lines = health(*command, "-i", hosts, "--output", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found
    chosen = health(*command, "-i", hosts, "--output", "json", "--query", "hosts[?verdict!='pass'].host")
    assert (json.loads(chosen.stdout), chosen.returncode) == (["bad"], 3)
    wrong = health(*command, "-i", hosts, "--query", "[[[")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_what_a_host_wrote_does_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "health.json").write_text('{"status": "\\u001b]0;owned\\u0007", "version": "\\u001b[2J"}')
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(f"target: 'local:'\nhosts:\n  web1: {{health_path: {tmp_path}/health.json}}\n")
    for command in (("check",), ("explain", "all", "--version", "1")):
        shown = health(*command, "-i", str(hosts)).stdout
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "web1" in shown


def test_a_table_ends_with_how_many_and_where_to_look(hosts: str) -> None:
    done = health("check", "-i", hosts)
    assert done.stdout.splitlines() == ["✓ [good] healthy 1.0", "✗ [bad] missing: there is no health file"]
    assert done.stderr == "1 of 2 hosts are healthy, 1 not: bad; `sane health explain` says why\n"


def test_an_age_is_named_by_its_option_and_kept_as_given(hosts: str, tmp_path: Path) -> None:
    assert "--max-age has an unknown unit 'x'" in health("check", "-i", hosts, "--max-age", "5x").stderr
    make_old(tmp_path / "good.json")
    assert health("check", "-i", hosts, "good").returncode == 0
    assert "at most 5s counts" in health("check", "-i", hosts, "good", "--max-age", "5").stdout


def test_the_age_that_a_workflow_allows_counts_here_too(hosts: str, tmp_path: Path) -> None:
    workflow = tmp_path / "w.yaml"
    workflow.write_text("name: w\nhealth: {max_age: 15s}\nstage: [{run-command: 'true'}]\n")
    make_old(tmp_path / "good.json")
    done = health("check", "-i", hosts, "good", "--workflow", str(workflow))
    assert (done.returncode, "at most 15s counts" in done.stdout) == (4, True)


@pytest.mark.parametrize(("environment", "moves"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_whoever_waits_at_a_terminal_sees_how_many_have_answered(
    tmp_path: Path, environment: dict[str, str], moves: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        inventory = tmp_path / "hosts.yaml"
        port = silent.getsockname()[1]
        inventory.write_text(f"hosts: {{a: {{address: 127.0.0.1, port: {port}, connect_timeout: 2s}}}}\n")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "sane.surfaces.cli.main", "health", "check", "-i", str(inventory)]
        env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment}
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, timeout=BOUND_S, check=False, env=env)
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        os.close(ours)
    assert done.returncode == 4
    assert bool(re.search(rb"\r0/1 hosts, \d s", shown)) is moves
    assert (b"\x1b" in shown) is moves


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux says EIO at the end of a terminal that nobody else holds
        return b""

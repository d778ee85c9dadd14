"""Every ready workflow does on real hosts what its first lines say: in YAML by `sane deploy`, and as a bash script."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sane.operations.files import load_workflow
from tests.e2e.lab import TestLab, lab  # noqa: F401

StartLab = Callable[..., TestLab]

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
SANE = str(ROOT / "bin" / "sane")
LIMIT_S = 40

GROUPED = {
    "multi-region": "groups:\n  us-east: {hosts: server1}\n  eu-west: {hosts: 'server[2-3]'}\n",
    "disaster-recovery": "groups:\n  primary: {hosts: server1}\n  backup: {hosts: 'server[2-3]'}\n",
    "ab-testing": "groups:\n  a: {hosts: server1}\n  b: {hosts: 'server[2-3]', version: 2.0-b}\n",
}
PROMOTED = ("canary", "blue-green")


def deploy(name: str, inventory: Path, version: str, *options: str) -> tuple[int, dict[str, Any]]:
    argv = [SANE, "deploy", str(WORKFLOWS / f"{name}.yaml"), "-i", str(inventory), "--version", version]
    done = subprocess.run(
        [*argv, "--output", "json", *options], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def script(name: str, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SANE_INVENTORY": str(inventory)}
    argv = ["bash", str(WORKFLOWS / f"{name}.sh"), *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.parametrize(
    "name", ["multi-server-deploy", "canary", "blue-green", "multi-region", "disaster-recovery", "ab-testing"]
)
def test_a_ready_workflow_deploys_to_all_hosts(lab: StartLab, name: str) -> None:  # noqa: F811
    hosts = lab(3)
    inventory = Path(hosts.inventory)
    inventory.write_text(inventory.read_text() + GROUPED.get(name, ""))
    promote = ("--auto-promote",) if name in PROMOTED else ()
    code, report = deploy(name, inventory, "1.0", "--min-healthy", "0", *promote)
    assert (code, {h["status"] for h in report["hosts"]}) == (0, {"healthy"}), report
    versions = {h["name"]: h["health"]["version"] for h in report["hosts"]}
    other = "2.0-b" if name == "ab-testing" else "1.0"
    assert versions == {"server1": "1.0", "server2": other, "server3": other}


def test_blue_green_switches_no_host_before_all_are_proven_beside(lab: StartLab) -> None:  # noqa: F811
    hosts = lab(3)
    assert deploy("blue-green", hosts.inventory, "1.0", "--auto-promote", "--min-healthy", "0")[0] == 0
    hosts.fault("server3", "fail-step:start the new version beside the old one")
    code, report = deploy("blue-green", hosts.inventory, "2.0", "--auto-promote", "--min-healthy", "0")
    assert code in (4, 5), report
    for host in ("server1", "server2", "server3"):
        assert (hosts.root(host) / "current/VERSION").read_text() == "1.0\n"


def test_a_canary_that_is_bad_takes_no_other_host_with_it(lab: StartLab) -> None:  # noqa: F811
    hosts = lab(3)
    assert deploy("canary", hosts.inventory, "1.0", "--auto-promote", "--min-healthy", "0")[0] == 0
    hosts.fault("server1", "unhealthy")
    code, report = deploy("canary", hosts.inventory, "2.0", "--auto-promote", "--healthy-deadline", "2s")
    states = {h["name"]: h["status"] for h in report["hosts"]}
    assert states["server2"] == states["server3"] == "not_attempted"
    assert code in (4, 5, 6)


ONE, TWO, THREE = (f"ssh:server{number}" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "version"),
    [
        ("multi-server-deploy", ("1.0", ONE, TWO, THREE), "1.0"),
        ("canary", ("1.1", ONE, TWO), "1.1"),
        ("blue-green", ("1.2", ONE, TWO), "1.2"),
        ("multi-region", ("1.3", f"us={ONE}", f"eu={TWO}"), "1.3"),
        ("disaster-recovery", ("1.4", ONE, TWO), "1.4"),
        ("ab-testing", (f"A=1.5:{ONE}", f"B=1.6:{TWO}"), "1.6"),
    ],
)
def test_the_scripts_deploy_with_the_primitives_alone(
    lab: StartLab,  # noqa: F811
    name: str,
    arguments: tuple[str, ...],
    version: str,
) -> None:
    hosts = lab(3)
    done = script(name, hosts.inventory, *arguments)
    assert done.returncode == 0, (name, done.stdout, done.stderr)
    assert "✓ [ssh:server1] healthy" in done.stdout
    assert (hosts.root("server2") / "sane-demo/current/VERSION").read_text() == f"{version}\n"


def test_a_script_goes_on_past_a_bad_host_and_says_so(lab: StartLab) -> None:  # noqa: F811
    hosts = lab(3)
    hosts.fault("server2", "refuse")
    done = script("multi-server-deploy", hosts.inventory, "1.0", "ssh:server1", "ssh:server2", "ssh:server3")
    assert done.returncode == 3, done.stderr
    assert "✗ [ssh:server2] failed" in done.stdout
    assert "2 of 3 hosts are healthy" in done.stdout


def test_a_version_that_would_be_code_is_refused(lab: StartLab) -> None:  # noqa: F811
    hosts = lab(1)
    done = script("multi-server-deploy", hosts.inventory, "1;touch pwned", "ssh:server1")
    assert done.returncode == 4
    assert "can't be used" in done.stderr
    assert not list(hosts.root("server1").rglob("pwned"))


def test_a_region_is_never_changed_all_at_once() -> None:
    workflow = load_workflow(WORKFLOWS / "multi-region.yaml")
    assert [workflow.policy.parallel(3 * hosts) for hosts in (2, 10, 100)] == [1, 5, 48]

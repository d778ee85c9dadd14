"""`sane lab` as typed: data on stdout, words on stderr, mistakes explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.operations import lab as labs

pytestmark = pytest.mark.e2e


def sane(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "sane.surfaces.cli.main", "lab", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(os.environ["SANE_STATE_DIR"]) / "lab"
    yield path
    labs.end(path)


def test_from_up_to_down(directory: Path) -> None:
    up = sane("up", "2")
    assert (up.stdout, up.returncode) == (f"{directory}/inventory.yaml\n", 0)
    assert up.stderr.startswith("2 hosts up (")
    told = sane("fault", "server2", "slow:20", "--output", "json")
    assert json.loads(told.stdout)["fault"] == "slow:20"
    table = sane("list").stdout.splitlines()
    assert table[0].split() == ["HOST", "PORT", "PID", "STATE", "FAULT", "ROOT"]
    assert table[2].split()[3:5] == ["up", "slow:20"]
    assert json.loads(sane("list", "--query", "[?fault].name", "--output", "json").stdout) == ["server2"]
    assert [json.loads(line)["name"] for line in sane("list", "--output", "ndjson").stdout.splitlines()] == [
        "server1",
        "server2",
    ]
    assert json.loads(sane("down", "--output", "json").stdout) == {"ended": ["server1", "server2"]}
    assert sane("down").returncode == 0


def test_mistakes_exit_with_2_and_name_the_nearest(directory: Path) -> None:
    nothing = sane("list")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "sane lab up" in nothing.stderr
    wrong = sane("fault", "server1", "full-disc")
    assert wrong.returncode == 2
    assert "'full-disk'" in wrong.stderr
    assert "'lab down'" in sane("donw").stderr or "'down'" in sane("donw").stderr
    assert sane("up", "0").returncode == 2


@pytest.mark.parametrize("command", ["up", "fault", "list", "down"])
def test_help_has_an_example(command: str) -> None:
    told = sane(command, "--help")
    assert told.returncode == 0
    assert f"sane lab {command}" in told.stdout
    if command == "fault":
        assert all(form in told.stdout for form in labs.FAULTS)

"""`sane doctor` as typed: what is missing, in every form that an answer may have."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.terminals import read_terminal

ROOT = Path(__file__).parents[3]


def doctor(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "doctor", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **environment}
    )


def test_the_same_findings_in_every_form() -> None:
    found = json.loads(doctor("--output", "json").stdout)
    lines = doctor("--output", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found
    assert [
        line.split(maxsplit=1)[1].startswith(row["name"])
        for line, row in zip(doctor().stdout.splitlines(), found, strict=True)
    ] == [True] * len(found)
    assert json.loads(doctor("--output", "json", "--query", "[?name=='tmux'].ok").stdout) == [True]
    assert doctor("--query", "[?name=='tmux'].name").stdout == "tmux\n"


def test_every_extra_that_users_may_install_is_looked_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {row["name"] for row in json.loads(doctor("--output", "json").stdout)}
    assert {f"extra: {extra}" for extra in extras if extra != "dev"} <= names


def test_what_is_needed_and_missing_is_named_and_exits_with_4(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    done = doctor(PATH=str(tmp_path))
    assert done.returncode == 4
    assert "✗ tmux" in done.stdout
    assert "install the package tmux" in done.stdout


@pytest.mark.parametrize(("term", "styled"), [("xterm", True), ("dumb", False)])
def test_marks_are_coloured_where_the_terminal_takes_it(term: str, styled: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": term}
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "doctor"]
    subprocess.run(command, stdout=theirs, timeout=20, check=False, env=environment)
    os.close(theirs)
    shown = read_terminal(ours)
    os.close(ours)
    assert (b"\x1b[" in shown) is styled

"""The examples in docs/examples run as they stand, within 50 s, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.lab import TestLab, lab
from tests.e2e.mcp_fixtures import ROOT, tmux_here
from tests.e2e.pane_fixtures import Tmux

__all__ = ["lab", "tmux_here"]
pytestmark = pytest.mark.e2e
EXAMPLES = ROOT / "docs" / "examples"
LIMIT_S = 50


def run_example(*argv: str, **environ: str) -> list[str]:
    """Return the lines an example prints; it must succeed."""
    env = {**os.environ, **environ, "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("helper", ["0", "1"])
def test_six_primitives_on_a_pane_that_is_in_another_host(tmp_path: Path, helper: str):
    lines = run_example(str(EXAMPLES / "six-primitives.sh"), TMPDIR=str(tmp_path), TMUX_PANE="%9", SANE_HELPER=helper)
    host, platform, label, created, ran, checked = map(json.loads, lines)
    assert (host["ssh_detected"], host["hostname"], host["os"]) == (True, "127.0.0.1", "Linux")
    assert platform["os"] == "Linux"
    assert label["label"] == "the lab host"
    assert (created["status"], created["size_bytes"]) == ("created", len("port = 8080\n"))
    assert (ran["output"], ran["exit_code"]) == ("1\n", 0)
    assert checked["sha256"] == created["sha256"]
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.mark.parametrize("kind", ["pane", "local:"])
def test_the_mcp_client(tmux_here: Tmux, kind: str):
    target = tmux_here.new() if kind == "pane" else kind
    lines = run_example(sys.executable, str(EXAMPLES / "mcp_client.py"), target)
    assert "run_command" in lines[0]
    assert lines[1] == r"run_command: 'hello\n' exit code 1"
    assert "'total_chars': 108894" in lines[2]
    assert lines[3] == "read page by page: 20000 lines, the last is 20000"
    assert lines[4] == "after a cancelled call: free again"
    assert "Did you mean 'run_command'?" in lines[5]


def test_the_api_example_of_the_docs(lab: Callable[..., TestLab]):
    text = (ROOT / "docs" / "scripting.md").read_text()
    script = text.partition("```python\n")[2].partition("```")[0]
    assert "async with sane.connect(" in script
    inventory = str(lab(1).inventory)
    script = script.replace("hosts.yaml", inventory).replace("ssh:web1", "ssh:server1")
    assert run_example(sys.executable, "-c", script)[0].startswith("Linux")


def test_the_example_without_asyncio():
    text = (ROOT / "docs" / "scripting.md").read_text()
    script = next(part.partition("```")[0] for part in text.split("```python\n") if "asyncio.Runner" in part)
    lines = run_example(sys.executable, "-W", "error", "-X", "dev", "-c", script)
    assert lines[0].startswith("Linux")
    assert len(lines) == 3

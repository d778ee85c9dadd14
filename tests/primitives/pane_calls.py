"""Call the primitives on panes as a shell calls them."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.e2e.pane_fixtures import Tmux

BIN = Path(__file__).parents[2] / "bin"


def call(server: Tmux, name: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run([BIN / name, *words], env=server.environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout.startswith("{") else {"stderr": done.stderr, "stdout": done.stdout}


def wait_for_program(server: Tmux, name: str, program: str) -> None:
    wait_for_format(server, name, "#{pane_current_command}", program)


def wait_for_format(server: Tmux, name: str, form: str, value: str) -> None:
    """Wait until tmux answers a format with a value."""
    until = time.monotonic() + 10
    while (now := server.call("display", "-p", "-t", name, form).strip()) != value:
        assert time.monotonic() < until, f"{form} is {now!r}, not {value!r}"
        time.sleep(0.01)

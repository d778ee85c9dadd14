"""What a background job prints over a prompt: commands still run, and a line that was begun there stays."""

from __future__ import annotations

import os
import pty
import time
from pathlib import Path

import pytest

from tests.e2e.pane_fixtures import SHELLS, Tmux, tmux
from tests.e2e.test_pane_ssh import ssh_command
from tests.primitives.pane_calls import call, wait_for_format

__all__ = ["ssh_command", "tmux"]
pytestmark = pytest.mark.e2e

PRINTS = {"a line": 'echo la""ter', "half a line": 'printf la""ter'}
PLACES = ["here", "behind ssh"]


def start(server: Tmux, shell: str, place: str, ssh: str, go: Path, prints: str) -> str:
    """Return a pane in which a job will print once there is a file."""
    name = server.new(SHELLS[shell] if place == "here" else f"{ssh} -t {SHELLS[shell]}")
    assert call(server, "sane-wait-ready", name, "20")["ready"] is True
    job = f"sh -c 'until test -e {go}; do sleep 0.05; done; {PRINTS[prints]}' &"
    assert call(server, "sane-run-command", name, job)["exit_code"] == 0
    assert call(server, "sane-wait-ready", name, "20")["ready"] is True
    return name


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("prints", PRINTS)
@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_prompt_that_a_job_printed_over_is_brought_back(
    tmux: Tmux, ssh_command: str, short_dir: Path, shell: str, prints: str, place: str
) -> None:
    name = start(tmux, shell, place, ssh_command, short_dir / "go", prints)
    (short_dir / "go").touch()
    tmux.wait_for(name, "later")
    started = time.monotonic()
    answer = call(tmux, "sane-run-command", name, "echo x")
    assert (answer["output"], answer["exit_code"]) == ("x\n", 0)
    assert time.monotonic() - started < 6  # one that is not brought back is waited for, for 10 s


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("prints", PRINTS)
@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_line_that_a_job_printed_over_stays(
    tmux: Tmux, ssh_command: str, short_dir: Path, shell: str, prints: str, place: str
) -> None:
    name = start(tmux, shell, place, ssh_command, short_dir / "go", prints)
    tmux.type(name, "echo whole''ness")
    tmux.wait_for(name, "echo whole''ness")
    (short_dir / "go").touch()
    tmux.wait_for(name, "later")
    # Time for more than one look: what seems covered is brought back after 0.3 s.
    answer = call(tmux, "sane-run-command", name, "echo mixed", "0.7", code=1)
    assert "nothing was typed" in answer["stderr"]
    assert call(tmux, "sane-wait-ready", name, "0.2", code=1)["ready"] is False
    assert "wholeness" not in tmux.screen(name)
    tmux.call("send-keys", "-t", name, "Enter")
    tmux.wait_for(name, "\nwholeness\n")
    assert "mixed" not in tmux.screen(name)


def test_a_program_that_a_person_has_started_gets_no_keys(tmux: Tmux, ssh_command: str, short_dir: Path) -> None:
    name = start(tmux, "dash", "behind ssh", ssh_command, short_dir / "go", "a line")
    (short_dir / "go").touch()
    tmux.wait_for(name, "later")
    assert call(tmux, "sane-run-command", name, "echo x")["output"] == "x\n"
    client, terminal = pty.fork()
    if client == 0:
        os.execvpe("tmux", ["tmux", "attach-session", "-t", name], {**tmux.environ, "TERM": "xterm"})
    try:
        wait_for_format(tmux, name, "#{session_attached}", "1")
        os.write(terminal, b"cat\n")
        tmux.wait_for(name, "# cat")
        wait_for_format(tmux, name, "#{cursor_x}", "0")
        before = tmux.screen(name)
        assert "nothing was typed" in call(tmux, "sane-run-command", name, "echo mixed", "1", code=1)["stderr"]
        assert tmux.screen(name) == before
    finally:
        tmux.call("detach-client", "-s", name)
        os.close(terminal)
        os.waitpid(client, 0)

"""A command that the pane's shell can't parse is not sent; one that it can is."""

from __future__ import annotations

import pytest

from tests.e2e.pane_fixtures import SHELLS, Tmux, tmux
from tests.primitives.pane_calls import call, wait_for_program

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


def test_what_only_some_bashes_take_is_left_to_the_shell(tmux: Tmux) -> None:
    name = tmux.new()
    command = "cd /; echo !(bin|proc|sys) | grep -c usr"
    answer = call(tmux, "sane-run-command", name, command)  # extglob is off: bash itself says so
    assert (answer["exit_code"] or 0) > 0
    assert "syntax error" in answer["output"]
    call(tmux, "sane-run-command", name, "shopt -s extglob")
    answer = call(tmux, "sane-run-command", name, command)
    assert (answer["output"], answer["exit_code"]) == ("1\n", 0)


@pytest.mark.parametrize("shell", list(SHELLS))
def test_every_shell_is_asked_whether_it_can_parse_a_command(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    wait_for_program(tmux, name, "busybox" if shell == "ash" else shell)
    answer = call(tmux, "sane-run-command", name, "echo $(")
    assert "nothing was sent" in answer["error"]

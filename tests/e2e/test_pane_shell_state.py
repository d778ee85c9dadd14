"""What a command in a pane sees of its shell, and what it leaves there: `$?`, options, functions."""

from __future__ import annotations

import pytest

from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, shell_pane, tmux

__all__ = ["bash", "shell_pane", "tmux"]
pytestmark = pytest.mark.e2e


def code(pane: Pane) -> str:
    return "$status" if pane.shell == "fish" else "$?"  # pyright: ignore


def test_a_command_sees_the_code_of_the_one_before(shell_pane: Pane) -> None:
    assert shell_pane.run("sh -c 'exit 3'").exit_code == 3
    assert shell_pane.run(f"echo {code(shell_pane)}").output == b"3\n"
    assert shell_pane.run(f"echo {code(shell_pane)}; false").output == b"0\n"
    assert shell_pane.run(f"echo {code(shell_pane)} # {'x' * 4000}\nfalse").output == b"1\n"
    assert shell_pane.run(f"echo {code(shell_pane)}\ntrue").output == b"1\n"
    assert shell_pane.run(f"echo {code(shell_pane)}").output == b"0\n"


@pytest.mark.parametrize("shell", list(SHELLS))
def test_and_of_what_a_person_typed(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.shell = shell  # pyright: ignore
    pane.run("true")
    tmux.type(name, "echo re''ady; false\n")
    tmux.wait_for(name, "ready")
    assert pane.run(f"echo {code(pane)}").output == b"1\n"
    pane.close()


@pytest.mark.parametrize(("shell", "kind"), [("bash", "ERR"), ("zsh", "ZERR")])
def test_a_trap_for_failures_does_not_see_that_code(tmux: Tmux, shell: str, kind: str) -> None:
    name = tmux.new(SHELLS[shell])
    tmux.type(name, f"trap 'n=$((n+1))' {kind}; n=0; echo re''ady; (exit 4)\n")
    tmux.wait_for(name, "ready")
    pane = tmux.open(name)
    assert pane.run("echo $? $n").output == b"4 1\n"
    pane.close()


@pytest.mark.parametrize("shell", ["bash", "dash", "ash"])
def test_a_trace_does_not_tell_of_that_code(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    tmux.type(name, "set -x; echo re''ady; sh -c 'exit 4'\n")
    tmux.wait_for(name, "\nready")
    pane = tmux.open(name)
    shown = pane.run("echo $?").text
    assert shown.endswith("4\n")
    assert "exit" not in shown
    pane.close()

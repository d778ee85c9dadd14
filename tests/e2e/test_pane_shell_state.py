"""What a command in a pane sees of its shell, and what it leaves there: `$?`, options, functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, shell_pane, tmux
from tests.e2e.test_pane_ssh import ssh_command

__all__ = ["shell_pane", "ssh_command", "tmux"]
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


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "fish"])
def test_a_trace_does_not_tell_of_that_code(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    tmux.type(name, "set -x; echo re''ady; sh -c 'exit 4'\n")
    tmux.wait_for(name, "ready")
    pane = tmux.open(name)
    shown = pane.run("echo $?").text
    assert shown.endswith("4\n")
    assert "exit" not in shown
    pane.close()


FUNCTIONS = [
    ("bash", "eval() { echo E; }"),
    ("bash", "printf() { echo P; }"),
    ("bash", "printf() { builtin printf '[%(%T)T] ' -1; builtin printf \"$@\"; }; unset() { echo U; }"),
    ("zsh", "eval() { echo E; }; printf() { echo P; }"),
    ("dash", "printf() { echo P; }"),
    ("ash", "printf() { echo P; }"),
    ("fish", "function printf; echo P; end"),
]


@pytest.mark.parametrize(("shell", "function"), FUNCTIONS)
def test_functions_named_as_what_we_use(tmux: Tmux, short_dir: Path, shell: str, function: str) -> None:
    name = tmux.new(SHELLS[shell])
    tmux.type(name, f"{function}; echo re''ady\n")
    tmux.wait_for(name, "ready")
    pane = tmux.open(name)
    for script in ("echo ok; sh -c 'exit 3'", f"true {'x' * 4000}\necho ok; sh -c 'exit 3'"):
        result = pane.run(script)
        assert (result.output, result.exit_code) == (b"ok\n", 3)
    run_blocking(pane.transport.put(str(short_dir / "f"), b"\x00text"))
    assert run_blocking(pane.transport.get(str(short_dir / "f"))) == b"\x00text"
    assert pane.run("exit 4").exit_code == 4
    pane.close()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_wrapper_of_printf_behind_ssh(tmux: Tmux, ssh_command: str, shell: str) -> None:
    name = tmux.new(f"{ssh_command} -t {SHELLS[shell]}")
    pane = tmux.open(name)
    pane.run("printf() { echo '[07:01:35]'; builtin printf \"$@\"; }")
    for script in ("echo ok", f"true {'x' * 4000}\necho ok"):
        assert pane.run(script).output == b"ok\n"
    result = pane.run("echo ok; exit 4")
    assert (result.output, result.exit_code) == (b"ok\n", 4)
    pane.close()


def test_a_trace_of_zsh_comes_back_and_goes(tmux: Tmux) -> None:
    name = tmux.new("zsh -f")
    pane = tmux.open(name)
    long = f": {'x' * 4000}\n"
    assert pane.run("set -x").output == b""
    assert pane.run("echo a").text.splitlines()[1:] == ["a"]
    assert pane.run(f"{long}echo a").text.splitlines()[-1] == "a"
    assert "sane" not in pane.run("(exit 3); f() { echo b; }; f").text
    assert pane.run("echo a", unseen=True).output == b"a\n"
    assert pane.run("echo a").text.splitlines()[1:] == ["a"]
    assert pane.run("setopt no_xtrace").exit_code == 0
    assert pane.run("echo a").output == b"a\n"
    pane.close()

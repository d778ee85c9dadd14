"""A person's traps and the command that sane runs: whose runs when, and what code is told where the shell itself ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from sane.core.command import CommandResult
from tests.e2e.pane_fixtures import Pane, Tmux, bash, tmux
from tests.e2e.test_pane_ssh import ssh_command
from tests.processes import is_running

__all__ = ["bash", "ssh_command", "tmux"]
pytestmark = pytest.mark.e2e
BOUND_S = 20
# A bash with an EXIT trap that gets a signal between a command's start and its wait for it ends only when the command
# does (2 of 100 by hand on a busy machine, 17 of 300 in a pane), so these sleep much shorter than the bound.
SLEEP_S = 5


def run_until_killed(pane: Pane, script: str, started: Path, number: int) -> CommandResult:
    """Return how a command is answered whose shell gets a signal once the command has made the file `started`."""
    shell = int(pane.run("echo $$").output)
    results: list[CommandResult] = []
    thread = threading.Thread(target=lambda: results.append(pane.run(script)))
    thread.start()
    until = time.monotonic() + BOUND_S
    while not started.exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(shell, number)
    thread.join(BOUND_S)
    while is_running(shell):
        assert time.monotonic() < until
        time.sleep(0.005)
    (result,) = results
    return result


LONG = {
    "a program": f"true; touch {{file}}; sleep {SLEEP_S}; echo no",
    "a subshell first": f"(touch {{file}}; sleep {SLEEP_S})",
    "the shell's own loop": "touch {file}; while :; do :; done",
    "behind a failure": "false; touch {file}; (exit 5); read -r x",
    "in a function that fails": "f() {{ touch {file}; false; while :; do false; done; }}; f",
}


@pytest.mark.parametrize("where", ["own", "nested", "behind ssh"])
@pytest.mark.parametrize("long", LONG)
def test_a_shell_that_a_signal_ends_tells_no_code(
    tmux: Tmux, ssh_command: str, short_dir: Path, where: str, long: str
) -> None:
    name = tmux.new(f"{ssh_command} -t bash --norc" if where == "behind ssh" else "bash --norc")
    pane = tmux.open(name)
    if where == "nested":
        tmux.type(name, "bash --norc\n")
        assert pane.run("echo $SHLVL").exit_code == 0
    result = run_until_killed(pane, LONG[long].format(file=short_dir / "started"), short_dir / "started", signal.SIGHUP)
    assert (result.exit_code, result.timed_out) == (None, False)
    assert result.pane_gone == (where != "nested")
    pane.close()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGALRM])
def test_other_signals_neither(bash: Pane, short_dir: Path, number: int) -> None:
    file = short_dir / "started"
    result = run_until_killed(bash, f"touch {file}; sleep {SLEEP_S}", file, number)
    assert (result.exit_code, result.pane_gone) == (None, True)


ENDS = {
    "exit 3": 3,
    "exit 0": 0,
    "x=exit; $x 4": 4,
    "f() { builtin exit 5; }; f": 5,
    "set -e; (exit 6); echo never": 6,
    "f() { false; }; set -e; f": 1,
    "trap 'exit 7' ERR; false": 7,
    "trap 'exit 0' ERR; false": 0,
    "trap 'exit 8' USR1; kill -USR1 $$; sleep 5": 8,
    "eval 'eval \"exit 9\"'": 9,
    "echo 'exit 10' >{file}; . {file}": 10,
    "for i in 1; do while :; do exit 11; done; done": 11,
    f": {'x' * 3000}; exit 12": 12,
    "set -x; exit 13": 13,
    "sleep 9 & exit 14": 14,
}


@pytest.mark.parametrize("script", ENDS)
def test_a_shell_that_ends_by_itself_tells_its_code(bash: Pane, short_dir: Path, script: str) -> None:
    result = bash.run(script.replace("{file}", str(short_dir / "file")))
    assert (result.exit_code, result.pane_gone) == (ENDS[script], True)


def test_a_shell_behind_ssh_tells_its_code(tmux: Tmux, ssh_command: str) -> None:
    pane = tmux.open(tmux.new(f"{ssh_command} -t bash --norc"))
    assert pane.run("exit 3").exit_code == 3
    pane.close()


@pytest.mark.parametrize("setting", ["set -o posix", "trap() { echo mine; }", ":"])
def test_a_persons_exit_trap_runs_in_bash_whatever_is_set(tmux: Tmux, tmp_path: Path, setting: str) -> None:
    name = tmux.new()
    tmux.type(name, f"builtin trap 'echo \"bye $? it'\\''s\" > {tmp_path}/f' EXIT; {setting}\n")
    pane = tmux.open(name)
    assert pane.run("true").exit_code == 0
    result = pane.run("exit 5")
    assert (result.exit_code, result.pane_gone, result.output) == (5, True, b"")
    until = time.monotonic() + BOUND_S
    while not (tmp_path / "f").exists() or not (tmp_path / "f").read_text():
        assert time.monotonic() < until
        time.sleep(0.005)
    assert (tmp_path / "f").read_text() == "bye 5 it's\n"
    pane.close()


def typed(server: Tmux, name: str, line: str, answer: str) -> None:
    """Type a line as a person does, and wait for what it shows."""
    server.type(name, line + "\n")
    server.wait_for(name, answer)


def test_a_persons_err_trap_applies_to_the_command_and_to_nothing_of_ours(tmux: Tmux, tmp_path: Path) -> None:
    name = tmux.new()
    log = tmp_path / "log"
    typed(tmux, name, f"trap 'echo \"$? $BASH_COMMAND\" >> {log}' ERR; echo re''ady", "ready")
    pane = tmux.open(name)
    assert pane.run("false; true").exit_code == 0
    assert pane.run("! true; false || true; test 1 = 2").exit_code == 1
    assert pane.run("sh -c 'exit 3'").exit_code == 3
    assert pane.run("exit 4", unseen=True).exit_code == 4
    assert pane.run("exit 5", cwd="/").exit_code == 5
    assert pane.run("if", timeout_s=5).exit_code == 2  # no syntax of bash
    assert pane.run("trap -p ERR").output.endswith(b"ERR\n")
    expected = ["1 false", "1 test 1 = 2", "3 sh -c 'exit 3'"]
    assert log.read_text().splitlines()[:3] == expected
    assert [line.split()[0] for line in log.read_text().splitlines()[3:]] == ["5"]
    typed(tmux, name, "false; echo do''ne", "done")
    assert log.read_text().splitlines()[4:] == ["1 false"]
    pane.close()


def test_a_persons_err_trap_outlives_a_timeout_and_a_killed_step(tmux: Tmux) -> None:
    name = tmux.new()
    typed(tmux, name, "trap 'echo OLD' ERR; trap 'n=$((n+1))' DEBUG; echo re''ady", "ready")
    pane = tmux.open(name)
    for unseen in (False, True):
        assert pane.run("sleep 30", timeout_s=0.3, unseen=unseen).pane_ready
        shown = pane.run("trap -p ERR").output
        assert shown == b"trap -- 'echo OLD' ERR\n"
    typed(tmux, name, "trap -p DEBUG", "trap -- 'n=$((n+1))' DEBUG")
    pane.close()


@pytest.mark.parametrize("kind", ["ERR", "DEBUG"])
def test_a_command_changes_the_persons_traps(tmux: Tmux, kind: str) -> None:
    name = tmux.new()
    typed(tmux, name, f"HISTCONTROL=; trap 'n=$((n+1)) # it'\\''s OLD' {kind}; echo re''ady", "ready")
    pane = tmux.open(name)
    assert pane.run("true").exit_code == 0
    typed(tmux, name, f"trap -p {kind}", f"OLD' {kind}\n")
    assert pane.run(f"trap 'm=1 # NEW' {kind}").exit_code == 0
    assert pane.run("true").exit_code == 0
    typed(tmux, name, f"clear; trap -p {kind}", f"NEW' {kind}\n")
    assert pane.run(f"trap - {kind}; (exit 3)").exit_code == 3
    assert pane.run("true").exit_code == 0
    typed(tmux, name, f'clear; echo "<$(trap -p {kind})>"', "<>")
    assert "__sane" not in pane.run("history").text
    pane.close()

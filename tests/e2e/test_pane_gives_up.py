"""Commands whose end no mark tells: the shell gave them up, or prints elsewhere. Each is answered in two seconds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from sane.errors import PaneError
from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, tmux
from tests.e2e.test_pane_ssh import ssh_command
from tests.primitives.pane_calls import call

__all__ = ["bash", "ssh_command", "tmux"]
pytestmark = pytest.mark.e2e
BOUND_S = 8  # two looks at the pane are 0.5 s, 2 s behind ssh; the command's own limit is 20 s


@pytest.mark.parametrize(
    ("shell", "script", "output"),
    [
        ("dash", "echo a; : ${FOO:?is not set}; echo b", b"a\ndash: 1: eval: FOO: is not set\n"),
        ("dash", ". /nonexistent", b"dash: 1: .: cannot open /nonexistent: No such file\n"),
        ("ash", "echo a; : ${FOO:?is not set}; echo b", b"a\nash: eval: FOO: is not set\n"),
        ("zsh", "echo a; : ${FOO:?is not set}; echo b", b"a\nzsh: FOO: is not set\n"),
        ("zsh", "return 3", b""),
        ("bash", "kill -INT $$; echo b", b"\n"),
        ("bash", "exec bash --norc", b""),
    ],
)
def test_a_command_that_the_shell_gives_up_is_answered_at_once(
    tmux: Tmux, shell: str, script: str, output: bytes
) -> None:
    pane = tmux.open(tmux.new(SHELLS[shell]))
    began = time.monotonic()
    result = pane.run(script)
    assert time.monotonic() - began < BOUND_S
    assert (result.output, result.exit_code, result.timed_out, result.pane_ready) == (output, None, False, True)
    assert "nothing told how the command ended" in result.note
    assert pane.run("echo next").output == b"next\n"
    pane.close()


def test_behind_ssh_too(tmux: Tmux, ssh_command: str) -> None:
    pane = tmux.open(tmux.new(f"{ssh_command} -t dash"))
    began = time.monotonic()
    result = pane.run("echo a; : ${FOO:?is not set}; echo b")
    assert time.monotonic() - began < BOUND_S
    assert (result.output, result.exit_code) == (b"a\ndash: 1: eval: FOO: is not set\n", None)
    assert pane.run("echo next").output == b"next\n"
    pane.close()


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "ash"])
@pytest.mark.parametrize("elsewhere", ["exec >/dev/null", "echo hi; exec >&-"])
def test_a_shell_that_prints_elsewhere_is_said_so_and_nothing_more_is_typed(
    tmux: Tmux, tmp_path: Path, shell: str, elsewhere: str
) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    began = time.monotonic()
    result = pane.run(elsewhere)
    assert (result.exit_code, result.pane_ready, result.timed_out) == (None, False, False)
    assert "does not go to the terminal" in result.note
    with pytest.raises(PaneError, match=r"does not go to the terminal.*nothing was typed"):
        pane.run(f"touch {tmp_path}/ran")
    assert time.monotonic() - began < BOUND_S
    assert not (tmp_path / "ran").exists()
    tmux.call("send-keys", "-t", name, "exec >/dev/tty; echo re''ady", "Enter")
    tmux.wait_for(name, "ready")
    assert pane.run("echo back").output == b"back\n"
    assert b"-echo " not in pane.run("stty -a").output
    pane.close()


def test_output_through_a_pipe_of_the_persons_own_still_comes(bash: Pane, tmp_path: Path) -> None:
    bash.run(f"exec > >(tee {tmp_path}/log)", timeout_s=3)
    assert b"hello" in bash.run("echo hello", timeout_s=5).output


def test_a_command_without_a_start_mark_is_not_run(bash: Pane, tmp_path: Path) -> None:
    bash.run("enable -n printf")
    with pytest.raises(PaneError, match="it was not run"):
        bash.run(f"touch {tmp_path}/ran")
    assert not (tmp_path / "ran").exists()


def test_a_persons_err_trap_sees_nothing_of_ours_and_comes_back(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("n=0; trap 'n=$((n+1)); echo \"failed: $BASH_COMMAND\"' ERR")
    assert (pane.run("false").output, pane.run("(exit 3)").exit_code) == (b"failed: false\n", 3)
    assert pane.run("echo $n").output == b"2\n"
    tmux.call("send-keys", "-t", name, "false", "Enter")
    tmux.wait_for(name, "failed: false\nbash")
    assert pane.run("echo $n").output == b"3\n"
    pane.close()


ENDS_WITH_CTRL_C = {
    "exec": ("bash", "", "echo hi; exec sleep 30"),
    "a trap": ("dash", "trap 'exit 5' INT", "echo hi; sleep 30"),
    "zsh's trap": ("zsh", "TRAPINT() { exit 5 }", "echo hi; sleep 30"),
    "python": (
        "python",
        "import os, signal, time",
        "signal.signal(2, lambda *_: os._exit(5)) and print('hi') or time.sleep(30)",
    ),
}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("way", ENDS_WITH_CTRL_C)
def test_a_timeout_that_ends_the_pane_is_a_result_and_says_so(tmux: Tmux, way: str, alone: bool) -> None:
    shell, before, script = ENDS_WITH_CTRL_C[way]
    name = tmux.new({**SHELLS, "python": f"{sys.executable} -q"}[shell])
    if not alone:
        tmux.call("split-window", "-d", "-t", name, "bash --norc")
    if before:
        pane = tmux.open(f"{name}:0.0")
        pane.run(before, raw_ok=True)
        pane.close()
    began = time.monotonic()
    answer = call(tmux, "sane-run-command", f"{name}:0.0", script, "1")
    assert time.monotonic() - began < BOUND_S
    assert {k: answer.get(k) for k in ("output", "exit_code", "timed_out", "pane_gone", "pane_ready")} == {
        "output": "hi\n",
        "exit_code": 124,
        "timed_out": True,
        "pane_gone": True,
        "pane_ready": False,
    }
    assert answer["error"] == "it timed out, and Ctrl-C ended what ran in the pane: the pane has gone"
    assert tmux.call("list-buffers") == ""

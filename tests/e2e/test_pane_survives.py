"""Panes that make it hard: narrow, odd, busy, shared with a person or another caller, or going away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sane.core.command import CommandResult
from sane.core.pane.structured_prompt import prompt_script
from sane.errors import NotFoundError, PaneError, SaneError
from sane.transports.blocking import run_blocking
from sane.transports.local_machine_blocking import BlockingMachine
from sane.transports.pane import open_pane
from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, make_server, tmux
from tests.processes import is_running

__all__ = ["bash", "tmux"]
pytestmark = pytest.mark.e2e


def wait_for_child(server: Tmux, target: str, program: str) -> None:
    """Wait until a program is in the foreground of a pane."""
    until = time.monotonic() + 10
    while server.call("display", "-p", "-t", target, "#{pane_current_command}").strip() != program:
        assert time.monotonic() < until, f"{program} did not start"
        time.sleep(0.01)


def wait_until_quiet(server: Tmux, target: str) -> None:
    """Wait until a pane has shown the same for 0.3 s."""
    until = time.monotonic() + 10
    shown, since = "", time.monotonic()
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < until, "it went on printing"
        if (now := server.screen(target)) != shown:
            shown, since = now, time.monotonic()
        time.sleep(0.02)


@pytest.mark.parametrize("shell", list(SHELLS))
def test_narrow_pane(tmux: Tmux, shell: str) -> None:
    for width in (20, 10, 67, 68):
        name = tmux.new(SHELLS[shell], width=width, height=24)
        pane = tmux.open(name)
        pane.run("cd /")
        for _ in range(2):
            result = pane.run("printf '%s\\n' a 0123456789012345678901234567890123456789")
            assert result.output == b"a\n0123456789012345678901234567890123456789\n"
        assert "stty" not in tmux.screen(name)
        pane.close()


def test_narrow_pane_shows_only_the_command(tmux: Tmux) -> None:
    name = tmux.new("env PS1='> $ ' bash --norc", width=20, height=10)
    pane = tmux.open(name)
    pane.run("echo one")
    pane.run("echo two")
    tmux.wait_for(name, "two\n> $")
    assert tmux.screen(name) == "> $ echo one\none\n> $ echo two\ntwo\n> $"
    pane.close()


def test_no_history_and_base_index_and_own_configuration() -> None:
    config = """
set -g history-limit 0
set -g base-index 1
setw -g pane-base-index 1
set -g default-shell /usr/bin/zsh
set -g status-position top
set -g status 2
set -g mouse on
set -g renumber-windows on
setw -g automatic-rename on
"""
    for server in make_server(config):
        name = server.new("zsh -f")
        pane = server.open(f"{name}:1.1")
        assert pane.run("seq 1 5000").output == b"".join(b"%d\n" % n for n in range(1, 5001))
        with pytest.raises(NotFoundError, match=f"Pane '{name}:0.0' does not exist"):
            server.open(f"{name}:0.0")
        pane.close()


SETTINGS = {
    "set -e": "set -e",
    "set -u": "set -u",
    "PROMPT_COMMAND": "PROMPT_COMMAND='printf \"pc\\n\"; false'",
    "several lines of prompt": "PS1='\\n┌─ \\u@\\h \\w\\n└─\\$ '",
    "coloured prompt": "PS1='\\[\\e[32m\\]\\u\\[\\e[0m\\] ❯ '",
    "prompt with a clock": "PS1='\\t \\# \\$ '",
    "no space behind the prompt": "PS1='$'",
    "no prompt at all": "PS1=",
    "posix": "set -o posix",
    "noclobber and vi": "set -o noclobber -o vi",
    "stderr elsewhere": "exec 2>/dev/null",
    "read-only variables": "readonly IFS HISTTIMEFORMAT='%F '",
    "no read": "enable -n read",
    "aliases of what we use": "alias read='echo a' eval='echo b' trap='echo c' unset='echo d' set='echo e' head='echo f'",
    "functions of what we use": "history() { echo a; builtin history; }; trap() { echo b; }; unset() { echo c; }",
    "a DEBUG trap that prints": "trap 'echo \"next: $BASH_COMMAND\"' DEBUG",
    "an alias and a function": "alias echo='echo x'; eval() { builtin eval \"$@\"; }",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_person(tmux: Tmux, setting: str) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run(SETTINGS[setting])
    for _ in range(2):
        result = pane.run("printf 'a\\n'; sh -c 'exit 4'")
        assert (result.output, result.exit_code, result.pane_gone) == (b"a\n", 4, False)
    pane.close()


ZSH_SETTINGS = [
    "setopt rc_quotes",
    "emulate ksh",
    "setopt err_exit",
    "setopt no_multibyte",
    "disable read",
    "setopt no_zle",
]


@pytest.mark.parametrize("setting", ZSH_SETTINGS)
def test_settings_of_the_person_in_zsh(tmux: Tmux, setting: str) -> None:
    pane = tmux.open(tmux.new("zsh -f"))
    pane.run(setting)
    for _ in range(2):
        result = pane.run("printf '%s\\n' 'caf\udce9 ☃'; sh -c 'exit 4'")
        assert (result.output, result.exit_code, result.pane_gone) == (b"caf\xe9 \xe2\x98\x83\n", 4, False)
    pane.close()


def test_a_debug_trap_that_prints_with_escapes_sends_no_mark_of_ours(bash: Pane) -> None:
    result = bash.run("trap 'echo -ne \"\\e]0;$BASH_COMMAND\\a\"' DEBUG; (exit 3)")
    assert result.exit_code == 3


def test_a_debug_trap_comes_back(bash: Pane) -> None:
    bash.run("count=0; trap 'count=$((count + 1))' DEBUG")
    assert bash.run("trap -p DEBUG").output == b"trap -- '' DEBUG\n"  # it would tell of our lines too
    bash.run("true")
    assert int(bash.run("echo $count").output) > 0


@pytest.mark.parametrize("shell", ["bash", "dash", "ash", "zsh"])
def test_a_trace_tells_of_the_command_alone(tmux: Tmux, shell: str) -> None:
    pane = tmux.open(tmux.new(SHELLS[shell]))
    for script in ("set -x; echo a", "echo a", "cd .; echo a"):
        result = pane.run(script)
        lines = result.output.decode().splitlines()
        assert (lines[-1], result.exit_code) == ("a", 0)
        assert lines[-2].startswith("+")
        assert lines[-2].endswith("echo a")
        assert "sane" not in result.text
        assert len(lines) <= 3
    assert pane.run("set +x").exit_code == 0
    assert pane.run("echo a").output == b"a\n"
    result = pane.run("set -x; exit 3")
    assert (result.exit_code, result.pane_gone) == (3, True)
    assert "sane" not in result.text
    pane.close()


TITLE = 'preexec() { print -Pn "\\e]0;$1\\a" }'
HOOKS = {
    "PS0": ("bash --norc", "PS0='[at \\t]\\n\\n'"),
    "a long PS0": ("bash --norc", "PS0='" + "=" * 200 + "\\n'"),
    "preexec": ("zsh -f", "preexec() { print one; print two }"),
    "a title by preexec": ("zsh -f", TITLE),
    "a title by preexec that expands": ("zsh -f", "setopt prompt_subst; " + TITLE),
    "a title by DEBUG": ("bash --norc", "trap 'echo -ne \"\\e]0;$BASH_COMMAND\\a\"' DEBUG"),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_prints_behind_our_line_goes_with_it(tmux: Tmux, hook: str) -> None:
    program, setting = HOOKS[hook]
    name = tmux.new(f"env PS1='> $ ' {program}")
    pane = tmux.open(name)
    assert pane.run(setting).exit_code == 0
    tmux.call("send-keys", "-t", name, "C-l")
    for _ in range(12):
        assert pane.run("echo x").output == b"x\n"
    until = time.monotonic() + 5
    while not tmux.screen(name).endswith("x\n> $") and time.monotonic() < until:
        time.sleep(0.01)
    assert tmux.screen(name).replace("> $ echo x\nx\n", "").strip() in ("> $", "x\n> $")
    pane.close()


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "fish"])
@pytest.mark.parametrize("code", [1, 127])
def test_a_command_that_fails_leaves_the_shells_options_and_its_code(tmux: Tmux, shell: str, code: int) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    before = pane.run("echo $-").output
    assert pane.run(f"sh -c 'exit {code}'").exit_code == code
    tmux.type(name, 'echo "<$?> <$->"\n')
    tmux.wait_for(name, f"<{code}> <{before.decode().strip()}>")
    tmux.type(name, "false\n")  # with `set -e` left behind, this ends the shell
    assert pane.run("echo there").output == b"there\n"
    pane.close()


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "fish"])
def test_options_that_a_command_turns_off_stay_off(tmux: Tmux, shell: str) -> None:
    pane = tmux.open(name := tmux.new(SHELLS[shell]))
    assert [pane.run(script).output for script in ("set -ev", "echo a", "(exit 0)")] == [b"", b"a\n", b""]
    assert pane.run("set +ev").exit_code == 0
    tmux.type(name, "false\n")
    tmux.type(name, 'echo "<$->"\n')
    tmux.wait_for(name, "m")
    until = time.monotonic() + 5
    while not (found := re.findall(r"<(\w+)>", tmux.screen(name))):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not {"e", "v"} & set(found[-1])
    pane.close()


@pytest.mark.parametrize(
    ("script", "stays"),
    [
        ("echo 'docs say: set +e is fine'", True),
        ("(set +e; false); true", True),
        ("set +o pipefail +e", False),
        ("shopt -uo errexit", False),
    ],
)
def test_errexit_comes_back_where_the_command_left_it(tmux: Tmux, script: str, stays: bool) -> None:
    pane = tmux.open(name := tmux.new())
    assert pane.run("set -e").exit_code == 0
    assert pane.run(script).exit_code == 0
    tmux.type(name, 'echo "<$->"\n')
    tmux.wait_for(name, "BHs>")
    assert ("e" in re.findall(r"<(\w+)>", tmux.screen(name))[-1]) == stays
    pane.close()


def test_set_e_in_the_command_ends_the_shell_as_it_would_for_a_person(bash: Pane) -> None:
    result = bash.run("set -e; echo a; false; echo never")
    assert (result.output, result.exit_code, result.pane_gone) == (b"a\n", 1, True)


def test_exit_in_a_subshell_leaves_the_pane(bash: Pane) -> None:
    assert bash.run("(exit 3)").exit_code == 3
    assert bash.run("echo there").output == b"there\n"


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "fish"])
def test_the_users_own_exit_trap_still_runs(tmux: Tmux, shell: str, short_dir: Path) -> None:
    file = short_dir / "trap"
    before = set(Path("/tmp").glob(".sane-*"))  # those of tests that run beside this one come and go
    pane = tmux.open(tmux.new(SHELLS[shell]))
    pane.run(f"trap 'echo it''s mine' INT; trap 'echo \"mine $?\" > {file}' EXIT; set -- kept")
    assert pane.run("true; : exit").exit_code == 0
    assert pane.run("echo $1; exit 5").output == b"kept\n"
    until = time.monotonic() + 3
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert file.read_text() == "mine 5\n"
    ours = set(Path("/tmp").glob(".sane-*")) - before
    while ours := {path for path in ours if path.exists()}:
        assert time.monotonic() < until + 10, f"left behind: {ours}"
        time.sleep(0.05)
    pane.close()


def test_exec_leaves_the_code_unknown(bash: Pane) -> None:
    result = bash.run("echo a; exec true")
    assert (result.exit_code, result.pane_gone) == (None, True)


def test_pane_killed_meanwhile(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    pane = tmux.open(f"{name}:0.0")
    threading.Timer(0.3, lambda: tmux.call("kill-pane", "-t", f"{name}:0.0")).start()
    started = time.monotonic()
    result = pane.run("echo a; sleep 30")
    assert (result.output, result.exit_code, result.pane_gone) == (b"a\n", None, True)
    assert time.monotonic() - started < 3
    pane.close()


def test_server_killed_meanwhile() -> None:
    for server in make_server():
        pane = server.open(server.new())
        threading.Timer(0.3, server.kill).start()
        result = pane.run("echo a; sleep 30")
        assert (result.exit_code, result.pane_gone) == (None, True)
        pane.close()


def test_dead_pane_is_refused(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("set-option", "-p", "-t", name, "remain-on-exit", "on")
    pane = tmux.open(name)
    result = pane.run("exit 3")
    assert (result.exit_code, result.pane_gone) == (3, True)
    with pytest.raises(PaneError, match="is dead"):
        pane.run("true")
    pane.close()


BUSY = {
    "less": ("less /etc/passwd", "less is running"),
    "vim": ("vim -u NONE /etc/passwd", "vim"),
    "sleep": ("sleep 60", "sleep is running"),
    "python": (f"{sys.executable} -q", "raw mode: python"),
    "node": ("node -i", "raw mode: node"),
    "cat": ("cat", "cat is running"),
}


@pytest.mark.parametrize("program", BUSY)
def test_a_program_in_the_foreground_is_refused(tmux: Tmux, program: str) -> None:
    command, sentence = BUSY[program]
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, command + "\n")
    until = time.monotonic() + 5
    while tmux.call("display", "-p", "-t", name, "#{pane_current_command}").strip() == "bash":
        assert time.monotonic() < until
    before = tmux.screen(name)
    with pytest.raises(PaneError, match=sentence):
        pane.run("touch /tmp/never", timeout_s=0.5)
    assert "stty" not in tmux.screen(name)
    del before
    pane.close()


HALF_LINES = {"half a line": "rm -rf /nowher", "an open quote": "echo 'abc\n", "a here-document": "cat <<E\nx\n"}


@pytest.mark.parametrize("shell", list(SHELLS))
@pytest.mark.parametrize("half", HALF_LINES)
def test_somebody_typing_is_never_mixed_with(tmux: Tmux, shell: str, half: str) -> None:
    if shell == "fish" and "here" in half:
        half = "an open quote"
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("cd /")
    tmux.type(name, HALF_LINES[half])
    tmux.wait_for(name, HALF_LINES[half].strip().split("\n")[-1])
    with pytest.raises(PaneError, match="nothing was typed"):
        pane.run("echo mixed", timeout_s=0.5)
    assert "mixed" not in tmux.screen(name)
    assert "stty" not in tmux.screen(name)
    pane.close()


@pytest.mark.parametrize("shell", list(SHELLS))
def test_ctrl_c_of_a_person_ends_the_call_at_once(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("true")
    results: list[CommandResult] = []
    thread = threading.Thread(target=lambda: results.append(pane.run("echo a; sleep 30; echo never")))
    thread.start()
    wait_for_child(tmux, name, "sleep")
    pressed = time.monotonic()
    tmux.call("send-keys", "-t", name, "C-c")
    thread.join(15)
    assert time.monotonic() - pressed < 5  # 0.1 s on a quiet machine; the command's own time-out is 20 s
    assert [(r.output, r.exit_code, r.timed_out, r.pane_ready) for r in results] == [(b"a\n", 130, False, True)]
    assert pane.run("echo next").output == b"next\n"
    pane.close()


def test_a_command_that_takes_ctrl_c_itself_goes_on(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)

    def press() -> None:
        tmux.wait_for(name, "\nready")
        tmux.call("send-keys", "-t", name, "C-c")

    thread = threading.Thread(target=press)
    thread.start()
    script = "sh -c 'trap \"echo caught\" INT; echo ready; sleep 3; sleep 0.6; echo after; exit 5'"
    result = pane.run(script)
    thread.join()
    assert (result.output, result.exit_code) == (b"ready\n^Ccaught\nafter\n", 5)
    pane.close()


def test_shell_integration_tells_an_end_that_nothing_shows(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run(prompt_script("bash"))
    pane.run("stty -echoctl")
    threading.Thread(
        target=lambda: (wait_for_child(tmux, name, "sleep"), tmux.call("send-keys", "-t", name, "C-c"))
    ).start()
    started = time.monotonic()
    result = pane.run("echo a; sleep 30; echo never")
    assert (result.output, result.exit_code, result.timed_out) == (b"a\n", 130, False)
    assert time.monotonic() - started < 8  # its own time-out is 20 s
    assert pane.run("echo next").output == b"next\n"
    pane.close()


def test_notices_of_background_jobs_are_no_output(bash: Pane) -> None:
    result = bash.run("sleep 5 & echo one; sleep 5 & sleep 5 & echo '[1] 77'; kill %1 %2 %3")
    assert result.output == b"one\n[1] 77\n"
    assert bash.run("echo x >/dev/null & wait $!; echo '[3] 4'").output.endswith(b"[3] 4\n")


def test_the_beginning_of_an_earlier_line_is_somebody_typing(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, "tr")
    until = time.monotonic() + 5
    while not tmux.screen(name).endswith("# tr"):
        assert time.monotonic() < until
    with pytest.raises(PaneError, match="somebody seems to be typing"):
        pane.run("echo mixed", timeout_s=0.4)
    assert "mixed" not in tmux.screen(name)
    pane.close()


def test_waits_while_somebody_types_and_runs_when_the_line_is_empty(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, "echo person")
    tmux.wait_for(name, "echo person")
    started = time.monotonic()
    threading.Timer(0.4, lambda: tmux.call("send-keys", "-t", name, "Enter")).start()
    assert pane.run("echo caller").output == b"caller\n"
    assert time.monotonic() - started > 0.35
    assert "echo person\nperson\n" in tmux.screen(name)
    pane.close()


def test_keys_pressed_during_the_run_do_not_corrupt_it(tmux: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.handshake.READY_WAIT_S", 1.0)
    name = tmux.new()
    pane = tmux.open(name)
    stop = threading.Event()

    def press() -> None:
        while not stop.is_set():
            tmux.type(name, "k")
            time.sleep(0.02)

    thread = threading.Thread(target=press)
    good = refused = 0
    long_script = "echo " + "x" * 6000
    try:
        for attempt in range(5):
            tmux.call("send-keys", "-t", name, "C-u")
            script, output = (long_script, b"x" * 6000) if attempt % 2 else ("printf done", b"done")
            if attempt == 0:
                thread.start()
            try:
                result = pane.run(script, timeout_s=0.3)
            except PaneError:
                refused += 1
                continue
            assert result.exit_code in (0, 124)
            if result.exit_code == 0:
                assert result.output.replace(b"k", b"").strip() == output
                good += 1
    finally:
        stop.set()
        thread.join()
    assert good + refused > 0
    tmux.call("send-keys", "-t", name, "C-c")
    wait_until_quiet(tmux, name)  # what the shell has not read yet is still somebody typing
    assert pane.run("echo well").output == b"well\n"
    assert pane.run("stty -a | grep -o ' echo '").output == b" echo \n"
    pane.close()


def test_echo_is_on_again_after_a_recovery_that_failed(tmux: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.pane_recovery.RECOVERY_WAIT_S", (0.1, 0.1, 0.1))
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("stty -echo")  # stands for a call that could not turn it on again
    assert not pane.run("sh -c \"trap '' INT QUIT; sleep 1\"", timeout_s=0.2).pane_ready
    assert pane.run("stty -a | grep -o ' echo '").output == b" echo \n"
    assert pane.run("stty -echo").exit_code == 0
    assert pane.run("stty -a | grep -o ' -echo '").output == b" -echo \n"  # the person's own wish
    pane.close()


def test_what_a_shell_takes_to_draw_its_prompt_is_not_the_commands_time(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    slow = "end=$((${EPOCHREALTIME/./} + 800000)); while ((${EPOCHREALTIME/./} < end)); do :; done"
    assert pane.run(f"PROMPT_COMMAND='{slow}'").exit_code == 0
    for _ in range(2):
        assert pane.run("echo well", timeout_s=0.2).output == b"well\n"
    pane.close()


def test_two_callers_in_two_processes_take_turns(tmux: Tmux) -> None:
    name = tmux.new()
    code = """
import sys
from sane.core.command import Command
from sane.transports.blocking import run_blocking
from sane.transports.local_machine_blocking import BlockingMachine
from sane.transports.pane import open_pane
async def main():
    pane = await open_pane(BlockingMachine(), sys.argv[1])
    for n in range(5):
        word = f"{sys.argv[2]}{n}"
        result = await pane.run(Command(f"echo {word}; sleep 0.01; echo {word}"))
        assert (result.output, result.exit_code) == (f"{word}\\n{word}\\n".encode(), 0), result
    await pane.close()
run_blocking(main())
"""
    callers = [
        subprocess.Popen([sys.executable, "-c", code, name, letter], env=tmux.environ, cwd=os.getcwd())
        for letter in "abc"
    ]
    assert [caller.wait(30) for caller in callers] == [0, 0, 0]


@pytest.mark.parametrize("shell", ["bash", "dash", "ash"])
def test_a_caller_killed_in_a_run_leaves_nothing_that_lasts(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("trap 'echo bye' EXIT; set -e")
    launcher = Path(__file__).parents[2] / "bin" / "sane-run-command"
    for _ in range(2):
        caller = subprocess.Popen([launcher, name, "sleep 300; exit 1"], env=tmux.environ)
        wait_for_child(tmux, name, "sleep")
        caller.kill()
        caller.wait()
        tmux.call("send-keys", "-t", name, "C-c")
        assert pane.run("echo next").output == b"next\n"
    tmux.type(name, "echo opt''ions: $-\n")
    assert "e" in tmux.wait_for(name, "options: ").rpartition("options: ")[2].split()[0]
    tmux.type(name, "trap\n")
    shown = tmux.wait_for(name, "trap -- ").rpartition("# trap\n")[2] if shell == "bash" else ""
    assert "7791" not in shown
    result = pane.run("exit 3")
    assert (result.exit_code, result.pane_gone) == (3, True)
    pane.close()


def test_a_caller_killed_while_output_is_owed_to_it_keeps_no_server_alive() -> None:
    for server in make_server():
        name = server.new()
        launcher = Path(__file__).parents[2] / "bin" / "sane-run-command"
        caller = subprocess.Popen([launcher, name, "yes 0123456789"], env=server.environ)
        wait_for_child(server, name, "yes")
        time.sleep(0.3)  # more is printed than the caller can read
        clients = server.call("list-clients", "-F", "#{client_pid}").split()
        caller.kill()
        caller.wait()
        server.call("kill-server")
        until = time.monotonic() + 5
        try:
            while is_running(server.pid):
                assert time.monotonic() < until, "the server waits for a client of a dead caller"
                time.sleep(0.01)
        finally:
            for client in map(int, clients):
                if is_running(client):
                    os.kill(client, signal.SIGTERM)


def test_caller_that_waits_too_long_is_told_so(tmux: Tmux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.pane.LOCK_WAIT_S", 0.2)
    name = tmux.new()
    first, second = tmux.open(name), tmux.open(name)
    thread = threading.Thread(target=lambda: first.run("sleep 1.5"))
    thread.start()
    tmux.wait_for(name, "sleep 1.5")
    with pytest.raises(PaneError, match="in use by another caller"):
        second.run("true", timeout_s=0.2)
    thread.join()
    first.close()
    second.close()


def test_copy_mode_and_synchronised_panes_do_not_matter(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    tmux.call("set-option", "-w", "-t", name, "synchronize-panes", "on")
    pane = tmux.open(f"{name}:0.0")
    pane.run("true")
    tmux.call("copy-mode", "-t", f"{name}:0.0")
    assert pane.run("echo here").output == b"here\n"
    assert "here" not in tmux.screen(f"{name}:0.1")
    assert tmux.call("display", "-p", "-t", f"{name}:0.0", "#{pane_in_mode}").strip() == "1"
    pane.close()


def test_persons_own_pipe_and_buffers_are_untouched(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("pipe-pane", "-t", name, "cat >/dev/null")
    tmux.call("set-buffer", "mine")
    pane = tmux.open(name)
    pane.run("echo x")
    assert tmux.call("display", "-p", "-t", name, "#{pane_pipe}").strip() == "1"
    assert tmux.call("list-buffers", "-F", "#{buffer_sample}").split() == ["mine"]
    assert tmux.call("display", "-p", "-t", name, "#{window_width}x#{window_height}").strip() == "80x24"
    pane.close()


@pytest.mark.parametrize("control", ["", "ignorespace", "ignoredups", "ignoreboth"])
def test_bash_history_stays_clean(tmux: Tmux, control: str) -> None:
    name = tmux.new(f"env HISTCONTROL={control} HISTTIMEFORMAT='%F %T ' HISTFILE= bash --norc")
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, "echo mine\n")
    tmux.wait_for(name, "\nmine\n")
    pane.run("true")
    assert run_blocking(pane.transport.probe(2.0))
    assert pane.run("sleep 5", timeout_s=0.2).pane_ready
    history = pane.run("history").text
    assert "__sane" not in history
    assert "head -n1" not in history
    assert "echo mine" in history
    pane.close()


def test_stubborn_command_leaves_the_truth(bash: Pane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.pane_recovery.RECOVERY_WAIT_S", (0.2, 0.2, 0.2))
    result = bash.run("sh -c 'trap \"\" INT QUIT; sleep 2'", timeout_s=0.2)
    assert (result.exit_code, result.timed_out) == (124, True)
    assert result.pane_ready is False
    assert bash.run("echo next").output == b"next\n"


def test_unusual_prompt_is_learnt(tmux: Tmux) -> None:
    name = tmux.new("env PS1='what now, master: ' bash --norc")
    pane = tmux.open(name)
    assert pane.run("echo 1").output == b"1\n"
    assert pane.run("clear; seq 1 100").exit_code == 0
    assert pane.run("echo 2").output == b"2\n"
    pane.close()


def test_wedged_server_does_not_hang_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.control_link.TMUX_TIMEOUT_S", 0.5)
    monkeypatch.setattr("sane.transports.tmux.TMUX_TIMEOUT_S", 0.5)
    for server in make_server():
        name = server.new()
        pane = server.open(name)
        pane.run("true")
        pid = int(server.call("display", "-p", "#{pid}"))
        os.kill(pid, 19)
        started = time.monotonic()
        try:
            with pytest.raises((SaneError, TimeoutError)):
                pane.run("true")
            with pytest.raises(SaneError, match="does not answer"):
                run_blocking(open_pane(BlockingMachine(server.environ), name))
        finally:
            os.kill(pid, 18)
        assert time.monotonic() - started < 3
        pane.close()


def test_command_in_a_new_pane_waits_for_the_shell(tmux: Tmux) -> None:
    pane = tmux.open(tmux.new("sh -c 'sleep 0.3; exec bash --norc'"))
    assert pane.run("echo up").output == b"up\n"
    pane.close()

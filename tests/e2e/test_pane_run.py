"""What a command in a pane must survive, in each shell."""

from __future__ import annotations

import sys
import time

import pytest

from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, shell_pane, tmux

__all__ = ["bash", "shell_pane", "tmux"]
pytestmark = pytest.mark.e2e

PYTHON = sys.executable
# (command, output, exit code), the same in every shell
EXACT = {
    "nothing": ("true", b"", 0),
    "a code": ("sh -c 'exit 3'", b"", 3),
    "ten thousand lines": ("seq 1 10000", b"".join(b"%d\n" % n for n in range(1, 10001)), 0),
    "one line of 5,000 columns": (f"{PYTHON} -c \"print('x' * 5000)\"", b"x" * 5000 + b"\n", 0),
    "wide characters": ("printf 'naïve 漢字 🙂 e\u0301\\n'", "naïve 漢字 🙂 e\u0301\n".encode(), 0),
    "trailing blanks and blank lines": ("printf 'a  \\n\\n\\nb\\t\\n\\n'", b"a  \n\n\nb\t\n\n", 0),
    "no newline at the end": ("printf 'no newline'", b"no newline", 0),
    "stderr": ("sh -c 'echo err >&2; echo out'", b"err\nout\n", 0),
    "quotes": ("echo 'it'\"'\"'s \"x\" `y` $z'", b'it\'s "x" `y` $z\n', 0),
    "backslashes": ("printf '%s\\n' 'a\\b\\\\c\\n'", None, 0),
    "a comment at the end": ("echo one # two", b"one\n", 0),
    "several lines": ("echo one\necho two\n\necho three", b"one\ntwo\nthree\n", 0),
    "a tab": ("printf '%s' 'a\tb'", b"a\tb", 0),
    "its own marks in text": ("echo ']7791;x;E;0'", b"]7791;x;E;0\n", 0),
    "carriage returns": ("printf 'a\\rb\\r\\nc\\r\\r\\n'", b"a\rb\r\nc\r\r\n", 0),
    "colours": ("printf '\\033[31mred\\033[0m\\n'", b"\x1b[31mred\x1b[0m\n", 0),
    "clear": ("printf 'a\\033[H\\033[2J\\033[3Jb\\n'", b"a\x1b[H\x1b[2J\x1b[3Jb\n", 0),
    "alternate screen": ("printf '\\033[?1049hinside\\033[?1049lafter\\n'", b"\x1b[?1049hinside\x1b[?1049lafter\n", 0),
    "binary": (f'{PYTHON} -c "import os; os.write(1, bytes(range(256)) * 4)"', None, 0),
}


@pytest.mark.parametrize("case", EXACT)
def test_output_and_code_are_exact(shell_pane: Pane, case: str) -> None:
    script, output, code = EXACT[case]
    if case == "backslashes":
        output = b"a\\b\\c\\n\n" if shell_pane.shell == "fish" else b"a\\b\\\\c\\n\n"  # pyright: ignore
    elif case == "binary":
        output = bytes(range(256)) * 4
    result = shell_pane.run(script)
    assert (result.output, result.exit_code, result.timed_out) == (output, code, False)


def test_a_command_may_hold_any_byte(shell_pane: Pane) -> None:
    every = bytes(range(128, 256))
    result = shell_pane.run(f"printf %s '{every.decode('utf-8', 'surrogateescape')}'")
    assert (result.output, result.exit_code) == (every, 0)


def test_folder_and_variables_stay(shell_pane: Pane) -> None:
    name = "set -g kept 5" if shell_pane.shell == "fish" else "kept=5"  # pyright: ignore
    shell_pane.run(f"cd /usr/share; {name}")
    assert shell_pane.run("pwd; echo $kept").output == b"/usr/share\n5\n"


def test_a_hundred_kilobytes_of_command(shell_pane: Pane) -> None:
    text = "".join(f"echo 'line {n} with a \\ and ünïcode' >/dev/null\n" for n in range(2200)) + "echo done"
    assert len(text) > 100_000
    result = shell_pane.run(text)
    assert (result.output, result.exit_code) == (b"done\n", 0)


def test_heredoc(shell_pane: Pane) -> None:
    fish = shell_pane.shell == "fish"  # pyright: ignore
    script = "printf '%s\\n' 'a $x' | cat" if fish else "cat <<'END'\na $x\nEND\n"
    assert shell_pane.run(script).output == b"a $x\n"


def test_background_job_is_left_and_not_waited_for(shell_pane: Pane) -> None:
    started = time.monotonic()
    result = shell_pane.run("sleep 3 & echo started")
    assert (result.output, result.exit_code) == (b"started\n", 0)
    assert time.monotonic() - started < 2


def test_reads_stdin_that_is_given(shell_pane: Pane) -> None:
    result = shell_pane.run("cat", stdin=b"given\n\x00\xff\\n'")
    assert result.output == b"given\n\x00\xff\\n'"


def test_environment_and_folder_are_data_and_do_not_stay(shell_pane: Pane) -> None:
    value = "a'b\"c $(touch /tmp/never) \\ ü"
    result = shell_pane.run("echo $X; pwd", env={"X": value}, cwd="/usr/lib")
    assert result.text == f"{value}\n/usr/lib\n" or result.text.split() == f"{value}\n/usr/lib\n".split()
    assert shell_pane.run("pwd").output != b"/usr/lib\n"


def test_timeout_interrupts_and_leaves_the_pane_usable(shell_pane: Pane) -> None:
    started = time.monotonic()
    result = shell_pane.run("echo partial; sleep 30; echo never", timeout_s=0.5)
    assert time.monotonic() - started < 3
    assert (result.exit_code, result.timed_out, result.pane_ready) == (124, True, True)
    assert result.output.startswith(b"partial\n")
    assert b"never" not in result.output
    assert shell_pane.run("echo next").output == b"next\n"


@pytest.mark.parametrize("shell", list(SHELLS))
def test_bare_exit_answers_its_code(tmux: Tmux, shell: str) -> None:
    pane = tmux.open(tmux.new(SHELLS[shell]))
    result = pane.run("echo before; exit 3")
    assert (result.output, result.exit_code, result.pane_gone) == (b"before\n", 3, True)
    pane.close()


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_watcher_sees_the_command_and_its_output_and_no_clutter(tmux: Tmux, shell: str) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("echo first")
    shown = next(line for line in tmux.screen(name).split("\n") if line.endswith("echo first"))
    prompt = shown.removesuffix("echo first")
    pane.run("printf 'a\\nb\\n'\necho c")
    screen = tmux.screen(name).split("\n")
    start = screen.index(f"{prompt}echo first")
    assert screen[start : start + 7] == [
        f"{prompt}echo first",
        "first",
        f"{prompt}printf 'a\\nb\\n'",
        "echo c",
        "a",
        "b",
        "c",
    ]
    assert "7791" not in tmux.call("capture-pane", "-p", "-S", "-", "-t", name)
    pane.close()


def test_two_megabytes_and_two_million_lines(bash: Pane) -> None:
    started = time.monotonic()
    result = bash.run("seq 1 2000000", timeout_s=60)
    assert result.output == b"".join(b"%d\n" % n for n in range(1, 2000001))
    assert time.monotonic() - started < 10


def test_output_past_the_limit_is_dropped_and_said(bash: Pane) -> None:
    result = bash.run("seq 1 10000", output_limit_bytes=100)
    assert (len(result.output), result.truncated, result.exit_code) == (100, True, 0)


def test_output_comes_in_pieces_as_it_is_printed(bash: Pane) -> None:
    pieces: list[tuple[float, bytes]] = []
    result = bash.run("echo one; sleep 0.3; echo two", on_output=lambda data: pieces.append((time.monotonic(), data)))
    assert b"".join(data for _, data in pieces) == result.output == b"one\ntwo\n"
    assert pieces[-1][0] - pieces[0][0] > 0.2


def test_the_variable_that_held_the_payload_is_gone_before_the_command_runs(bash: Pane) -> None:
    assert bash.run('echo "${__sane_l-gone}"').output == b"gone\n"

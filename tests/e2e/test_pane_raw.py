"""Interpreters and network devices in a pane: real ones, and scripted devices, here and behind a real ssh."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.errors import PaneError, UsageError
from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import Pane, Tmux, tmux
from tests.e2e.test_pane_ssh import ssh_command
from tests.store.conftest import postgres_url

__all__ = ["postgres_url", "ssh_command", "tmux"]
pytestmark = pytest.mark.e2e
BIN = Path(__file__).parents[2] / "bin"
ROUTER = f"{sys.executable} {Path(__file__).parent / 'fake_router.py'}"
LONG = "".join(f"line {n} of the long text\n" for n in range(1, 61)).encode()


def run(pane: Pane, script: str, timeout_s: float = 10.0) -> bytes:
    """Run at a prompt that is no shell's, and return the output of a run that had nothing to remark."""
    result = pane.run(script, raw_ok=True, timeout_s=timeout_s)
    assert (result.mode, result.exit_code, result.note, result.pane_ready) == ("raw", None, "", True)
    return result.output


def note(pane: Pane, script: str) -> str:
    result = pane.run(script, raw_ok=True, timeout_s=10)
    assert result.exit_code is None
    return result.note


@pytest.fixture
def behind(request: pytest.FixtureRequest, ssh_command: str) -> str:
    """Return what a program's command line begins with, so that it runs here or behind an ssh."""
    return f"{ssh_command} -t " if request.param == "ssh" else ""


everywhere = pytest.mark.parametrize("behind", ["here", "ssh"], indirect=True)


@pytest.fixture
def opened(tmux: Tmux) -> Iterator[Any]:
    panes: list[Pane] = []

    def open_program(command: str, shows: str, **size: int) -> Pane:
        name = tmux.new(command, **size)
        tmux.wait_for(name, shows, 15)
        panes.append(tmux.open(name))
        panes[-1].session = name  # pyright: ignore
        return panes[-1]

    yield open_program
    for pane in panes:
        pane.close()


@everywhere
def test_python(opened: Any, behind: str) -> None:
    pane = opened(f"{behind}{sys.executable} -q", ">>>")
    assert run(pane, "6*7") == b"42\n"
    assert run(pane, "x = 5") == b""
    assert run(pane, "for i in range(3):\n    print('y' * 90, i)") == b"".join(
        b"%s %d\n" % (b"y" * 90, i) for i in range(3)
    )
    assert run(pane, "print('a', end='')") == b"a"
    assert run(pane, "print('" + "long " * 40 + "', x)") == b"long " * 40 + b" 5\n"
    assert run(pane, "1/0").endswith(b"ZeroDivisionError: division by zero\n")
    assert run(pane, "import time; print(1); time.sleep(0.7); print('ü')") == "1\nü\n".encode()
    late = pane.run("time.sleep(60)", raw_ok=True, timeout_s=0.5)
    assert (late.exit_code, late.timed_out, late.pane_ready, late.mode) == (124, True, True, "raw")
    assert run(pane, "x") == b"5\n"
    assert len(run(pane, "for n in range(3000): print(n)\n").splitlines()) == 3000


def test_what_is_no_command_for_an_interpreter_is_refused(opened: Any, tmux: Tmux, short_dir: Path) -> None:
    pane = opened(f"{sys.executable} -q", ">>>")
    with pytest.raises(PaneError, match="raw mode: python"):
        pane.run("touch /tmp/never")
    with pytest.raises(PaneError, match="raw mode: python"):
        run_blocking(pane.transport.put(str(short_dir / "f"), b"x"))
    with pytest.raises(UsageError, match="control characters"):
        pane.run("print('\x1b')", raw_ok=True)
    tmux.type(pane.session, "print('half")  # pyright: ignore
    tmux.wait_for(pane.session, "half")  # pyright: ignore
    with pytest.raises(PaneError, match="its line shows '>>> print\\('half'; nothing was typed"):
        pane.run("1", raw_ok=True)
    assert tmux.screen(pane.session).endswith("half")  # pyright: ignore


def test_leaving_python_brings_the_shell_back(tmux: Tmux) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, f"{sys.executable} -q\n")
    tmux.wait_for(name, ">>>")
    assert run(pane, "exit()") == b""
    result = pane.run("echo $0; (exit 4)", raw_ok=True)
    assert (result.output, result.exit_code, result.mode) == (b"bash\n", 4, "")
    pane.close()


def test_a_pane_that_ends_with_its_interpreter(opened: Any) -> None:
    result = opened(f"{sys.executable} -q", ">>>").run("exit()", raw_ok=True)
    assert (result.exit_code, result.pane_gone, result.note) == (None, True, "the pane went away")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node(opened: Any) -> None:
    pane = opened("node", ">")
    assert run(pane, "6*7") == b"42\n"
    assert run(pane, "function f(a) {\n  return a + 1;\n}\nf(2)") == b"undefined\n3\n"
    assert run(pane, "'" + "z" * 150 + "'") == b"'" + b"z" * 150 + b"'\n"
    assert (
        note(pane, "function g() {") == "it waits for the rest of the statement ('...'): that was cancelled with Ctrl-C"
    )
    assert run(pane, "1") == b"1\n"


@everywhere
def test_psql(opened: Any, behind: str, postgres_url: str) -> None:
    pane = opened(f"{behind}psql -X -U sane -h {postgres_url.partition('host=')[2]} postgres", "=#")
    assert run(pane, "select 6*7 as answer;") == b" answer\n--------\n     42\n(1 row)\n\n"
    assert run(pane, "select\n 1;").split()[2:3] == [b"1"]
    assert b'relation "nope" does not exist' in run(pane, "select * from nope;")
    assert run(pane, "begin;") == b"BEGIN\n"
    assert run(pane, "rollback;") == b"ROLLBACK\n"
    assert "rest of the statement ('postgres-#')" in note(pane, "select 1")
    late = pane.run("select pg_sleep(30);", raw_ok=True, timeout_s=0.6)
    assert (late.exit_code, late.timed_out, late.pane_ready) == (124, True, True)
    assert run(pane, "\\pset pager off") == b"Pager usage is off.\n"
    assert run(pane, "select n from generate_series(1, 100) n;").count(b"\n") == 104


def test_a_pager_is_ended_and_named(opened: Any, postgres_url: str) -> None:
    pane = opened(f"env PAGER=less LESS= psql -X -U sane -h {postgres_url.partition('host=')[2]} postgres", "=#")
    result = pane.run("select n from generate_series(1, 100) n;", raw_ok=True)
    assert "turn the pager off" in result.note
    assert b" 5\n" in result.output
    assert run(pane, "select 1 as one;").startswith(b" one\n")


@everywhere
def test_cisco(opened: Any, tmux: Tmux, behind: str) -> None:
    pane = opened(f"{behind}{ROUTER} cisco", "Router>")
    assert (
        run(pane, "show version")
        == b"Cisco IOS Software, C2900 Software, Version 15.0(1)M1\n\nRouter uptime is 1 day\n"
    )
    assert run(pane, "show long") == LONG
    assert run(pane, "no such thing").endswith(b"% Invalid input detected at '^' marker.\n\n")
    asked = pane.run("enable", raw_ok=True)
    assert (asked.note, asked.pane_ready) == ("it asks something ('Password:'): answer it with sane-send-keys", False)
    tmux.type(pane.session, "secret\r")  # pyright: ignore
    tmux.wait_for(pane.session, "Router#")  # pyright: ignore
    configured = run(pane, "configure terminal\ninterface Gi0/1\nhostname Edge\nno shutdown\nend")
    assert configured == b"Enter configuration commands, one per line.  End with CNTL/Z.\n"
    assert run(pane, "ping 10.0.0.1") == b"Type escape sequence to abort.\n!!!!!\nSuccess rate is 100 percent (5/5)\n"
    assert run(pane, "show long") == LONG  # its `Edge#` alone on the screen, with nothing that speaks of a device
    assert run(pane, "terminal length 0") == b""
    assert run(pane, "show long") == LONG
    assert "[confirm]" in note(pane, "reload")


@everywhere
def test_juniper(opened: Any, behind: str) -> None:
    pane = opened(f"{behind}{ROUTER} juniper", "edge1>")
    assert run(pane, "show long") == LONG
    assert run(pane, "configure") == b"Entering configuration mode\n\n[edit]\n"
    assert run(pane, "set system host-name x\ncommit") == b"\n[edit]\ncommit complete\n\n[edit]\n"
    assert b"unknown command." in run(pane, "bogus")
    assert run(pane, "exit") == b"Exiting configuration mode\n\n"
    assert run(pane, "show version") == b"Hostname: edge1\nModel: mx240\n\n"


def test_a_device_whose_prompt_could_be_a_shells_is_found_by_its_answer(tmux: Tmux, ssh_command: str) -> None:
    name = tmux.new(f"{ssh_command} -t {ROUTER} cisco")
    tmux.wait_for(name, "Router>", 15)
    tmux.type(name, "enable\rsecret\rterminal length 0\rshow long\r")
    tmux.wait_for(name, "60 of the long text")
    tmux.call("clear-history", "-t", name)
    pane = tmux.open(name)
    started = time.monotonic()
    assert run(pane, "show version").startswith(b"Cisco IOS Software")
    assert time.monotonic() - started < 5
    assert run(pane, "show long") == LONG
    pane.close()


def test_the_primitives_tell_the_mode(tmux: Tmux) -> None:
    name = tmux.new(f"{ROUTER} cisco")
    tmux.wait_for(name, "Router>")

    def call(*words: str) -> dict[str, Any]:
        done = subprocess.run([BIN / words[0], *words[1:]], env=tmux.environ, capture_output=True, check=True)
        return json.loads(done.stdout)

    mode = call("sane-detect-mode", name)
    assert (mode["mode"], mode["shell"], mode["capabilities"]) == ("raw", "cisco", ["run_command", "send_keys"])
    answer = call("sane-run-command", name, "show version")
    assert (answer["mode"], "exit_code" in answer, answer["attempts"]) == ("raw", False, 1)
    assert answer["output"].startswith("Cisco IOS Software")
    answer = call("sane-run-command", name, "reload")
    assert (answer["pane_ready"], "sane-send-keys" in answer["error"]) == (False, True)

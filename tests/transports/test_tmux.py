"""A tmux server as the transport asks it, on a real one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sane.errors import NotFoundError, TransportError, UsageError
from sane.transports.blocking import run_blocking
from sane.transports.control_mode import ControlClient, paste_commands, tmux_word
from sane.transports.local_machine_blocking import BlockingMachine
from sane.transports.tmux import LIST_FORMAT, TEXTS, TmuxServer, parse_panes, tmux_socket
from tests.e2e.pane_fixtures import Tmux, tmux

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e

TILDES = ["~ $", "~", "~root/x", "a~"]  # tmux takes ~ for a home at the beginning of a quoted word too
AWKWARD = ["x;", ";", "a\\;", "\\;", ";;", "a;b", "#{pane_id}", "}", "{", "x\\", "$HOME", "-x", "", *TILDES]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_reaches_tmux_as_it_is(tmux: Tmux, value: str) -> None:
    name = tmux.new("sleep 100")
    server = TmuxServer(BlockingMachine(tmux.environ))
    run_blocking(server.ask("set-option", "-p", "-t", name, "@value", value))
    assert run_blocking(server.ask("show-options", "-pqv", "-t", name, "@value")).removesuffix("\n") == value


def test_a_session_with_a_colon_behind_it_is_its_active_pane(tmux: Tmux) -> None:
    name = tmux.new("sleep 100")
    tmux.call("split-window", "-t", name, "sleep 100")
    tmux.call("new-window", "-d", "-t", name, "sleep 100")
    server = TmuxServer(BlockingMachine(tmux.environ))
    for spec in (name, f"{name}:", f"={name}:"):
        found = run_blocking(server.find_pane(spec))
        assert (found.window_index, found.pane_index) == ("0", "1"), spec
    with pytest.raises(NotFoundError, match="^Session 'nope' does not exist$"):
        run_blocking(server.find_pane("nope:"))
    with pytest.raises(UsageError, match=r"^Invalid pane specification '\.'\. Use format WINDOW or WINDOW.PANE$"):
        run_blocking(server.find_pane(f"{name}:."))


def test_a_value_that_ends_in_a_semicolon_begins_no_command(tmux: Tmux) -> None:
    name, victim = tmux.new("sleep 100"), tmux.new("sleep 100")
    server = TmuxServer(BlockingMachine(tmux.environ))
    touched = Path(tmux.folder) / "touched"
    for words in (("kill-session", "-t", victim), ("run-shell", f"touch {touched}")):
        for value in ("x;", ";", "x\\;"):
            run_blocking(server.run("set-option", "-p", "-t", name, "@value", value, *words))
    assert victim in tmux.call("list-sessions", "-F", "#{session_name}").split()
    assert not touched.exists()


@pytest.mark.parametrize("value", AWKWARD)
def test_a_word_of_a_control_line_is_taken_as_it_is(tmux: Tmux, value: str) -> None:
    name = tmux.new("sleep 100")
    server = TmuxServer(BlockingMachine(tmux.environ))
    pane = run_blocking(server.find_pane(name))
    client = run_blocking(ControlClient.attach(server, pane.session_id, pane.pane_id))
    try:
        set_it = f"set-option -p -t {pane.pane_id} @value {tmux_word(value)}"
        replies = run_blocking(client.ask(set_it, f"show-options -pqv -t {pane.pane_id} @value"))
    finally:
        run_blocking(client.close())
    assert [reply.ok for reply in replies] == [True, True]
    assert "".join(replies[1].lines) == value


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ("no server running on /tmp/x", 1, ""),
        ("no current target", 1, ""),
        ("error connecting to /tmp/x (No such file or directory)", 1, ""),
        ("error connecting to /tmp/x (Permission denied)", 1, "Permission denied"),
        ("server exited unexpectedly", 1, "exited unexpectedly"),
        ("", 143, "exit status 143"),
        ("sh: 1: tmux: not found", 127, "tmux is not installed on local"),
    ],
)
def test_only_where_no_server_runs_there_are_no_panes(tmp_path: Path, said: str, code: int, message: str) -> None:
    """Any other failure was taken for that: a server that had crashed had "no session s1"."""
    program = tmp_path / "tmux"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    program.chmod(0o755)
    server = TmuxServer(BlockingMachine({"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    if message:
        with pytest.raises(TransportError, match=message):
            run_blocking(server.list_panes())
    else:
        assert run_blocking(server.list_panes()) == []


def test_a_server_that_ends_while_it_is_asked_has_no_panes(tmp_path: Path) -> None:
    program = tmp_path / "tmux"
    said = "server exited unexpectedly", f"no server running on {tmp_path}"
    program.write_text(
        f"#!/bin/sh\nif mkdir {tmp_path}/asked 2>&-; then echo {said[0]}; else echo {said[1]}; fi >&2\nexit 1\n"
    )
    program.chmod(0o755)
    server = TmuxServer(BlockingMachine({"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    assert run_blocking(server.list_panes()) == []


def test_text_that_begins_with_a_tilde_is_typed_as_it_is(tmux: Tmux) -> None:
    name = tmux.new("cat")
    server = TmuxServer(BlockingMachine(tmux.environ))
    pane = run_blocking(server.find_pane(name))
    client = run_blocking(ControlClient.attach(server, pane.session_id, pane.pane_id))
    try:
        run_blocking(client.ask(*paste_commands("b", pane.pane_id, "~/x;\n")))
    finally:
        run_blocking(client.close())
    assert tmux.wait_for(name, "/x;\n").startswith("~/x;\n~/x;")


@pytest.mark.parametrize(
    "name", ["a\nb", "a\tb", "a\u2028b", "a\udcffb", "a\n$0\t@0\t%0\t0\t0\t11\t0\t1\tx\tx\t1\tx\t0\t\t1\tb"]
)
def test_a_folder_and_a_label_may_have_any_name(tmux: Tmux, name: str) -> None:
    folder = tmux.folder / name
    folder.mkdir()
    session = tmux.new("sleep 100")
    server = TmuxServer(BlockingMachine(tmux.environ))
    run_blocking(server.ask("respawn-pane", "-k", "-t", session, "-c", str(folder), "sleep 100"))
    run_blocking(server.ask("set-option", "-p", "-t", session, "@sane-label", name))
    if tmux.call("-V") > "tmux 3.4":  # it writes bytes that are no UTF-8 as escapes, and says nowhere that it did
        name, folder = (text.replace("\udcff", "\\377") for text in (name, str(folder)))
    until = time.monotonic() + 10
    while True:  # what was started needs a moment to be in its folder
        (pane,) = (pane for pane in run_blocking(server.list_panes()) if pane.session == session)
        if (pane.program, pane.label, pane.path) == ("sleep", name, str(folder)):
            break
        assert time.monotonic() < until, pane
    assert len(run_blocking(server.list_panes())) == len(tmux.call("list-panes", "-a", "-F", "#{pane_id}").splitlines())


def test_a_pane_is_listed_while_its_program_changes(tmux: Tmux) -> None:
    """What tmux tells of a program is asked of the system again each time it stands in a format, so it stands there once."""
    assert [LIST_FORMAT.count(text) for text in TEXTS] == [1, 1, 1]
    name = tmux.new("bash --norc -c 'set -m; while :; do sleep 0.001; done'")
    server = TmuxServer(BlockingMachine(tmux.environ))
    seen: set[str] = set()
    until = time.monotonic() + 20
    while len(seen) < 2 or time.monotonic() < until - 18:
        assert time.monotonic() < until, seen
        (pane,) = (pane for pane in run_blocking(server.list_panes()) if pane.session == name)
        seen.add(pane.program)
    tmux.call("kill-session", "-t", name)


def test_reads_nothing_from_what_tmux_says_else() -> None:
    assert parse_panes("no pane\n") == []
    assert parse_panes("") == []


@pytest.mark.parametrize(
    ("environ", "options", "socket"),
    [
        ({}, (), "/tmp/tmux-7/default"),
        ({"TMUX_TMPDIR": "/t"}, (), "/t/tmux-7/default"),
        ({"TMUX_TMPDIR": ""}, ("-L", "x"), "/tmp/tmux-7/x"),
        ({"TMUX": "/s/default,12,0"}, (), "/s/default"),
        ({"TMUX": "/s/default,12,0"}, ("-L", "x"), "/tmp/tmux-7/x"),
        ({"TMUX": "/s/default,12,0"}, ("-S", "/p"), "/p"),
    ],
)
def test_the_socket_is_the_one_that_tmux_means(environ: dict[str, str], options: tuple[str, ...], socket: str) -> None:
    assert tmux_socket(environ, 7, options) == socket

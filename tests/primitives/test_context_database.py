"""sane-context-database, on a tmux server of the test's own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.core.target import Target
from sane.errors import ConfigError, NotFoundError, UnavailableError, UsageError
from sane.primitives import _state_file
from sane.primitives._contexts import STALE_AFTER_S, Subject, contexts_path, find_subject, sweep, write_entry
from sane.primitives._state_file import change_json, read_json
from sane.surfaces.cli.primitive import main
from sane.surfaces.context import BlockingContext
from sane.transports.blocking import run_blocking
from sane.verbs.registry import bind, load_verb
from sane.verbs.schema import input_schema

Call = Callable[..., dict[str, Any]]


def tmux(*words: str) -> str:
    return subprocess.run(["tmux", *words], check=True, capture_output=True, text=True, timeout=10).stdout.strip()


@pytest.fixture
def session(short_dir: Path) -> Iterator[str]:
    """Yield the name of a session with one pane, on a server of its own."""
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "work", "-c", str(short_dir), "exec sleep 100")
    yield "work"
    subprocess.run(["tmux", "kill-server"], check=False, capture_output=True, timeout=10)


def test_creates_reads_updates_and_deletes(call: Call, session: str) -> None:
    assert call("context-database", "read", session) == {"status": "not_found", "pane": session}
    made = call("context-database", "create", "work:0.0", platform="Linux", mode="bash", label="db")
    assert (made["status"], made["pane"], made["context"]["label"]) == ("created", "work:0.0", "db")
    found = call("context-database", "read", "work")  # the same pane by another name
    assert (found["status"], found["context"]["platform"]) == ("found", "Linux")
    changed = call("context-database", "update", "work:0", mode="raw", current_dir="/x")
    assert (changed["status"], changed["context"]["mode"], changed["context"]["label"]) == ("updated", "raw", "db")
    assert call("context-database", "list")["contexts"] == [call("context-database", "read", "work:0")["context"]]
    assert call("context-database", "delete", "work")["status"] == "deleted"
    assert call("context-database", "delete", "work")["status"] == "not_found"
    assert call("context-database", "update", "work", mode="raw")["status"] == "not_found"
    assert call("context-database", "list")["contexts"] == []


def test_a_pane_whose_program_has_ended_has_a_label_and_no_context(call: Call, session: str) -> None:
    call("context-database", "create", session, label="db")
    tmux("set-option", "-p", "-t", session, "remain-on-exit", "on")
    tmux("respawn-pane", "-k", "-t", session, "exit 3")
    until = time.monotonic() + 5
    while tmux("display-message", "-p", "-t", session, "#{pane_dead}") != "1":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert call("get-label", session)["label"] == "db"
    assert call("label-pane", session, "gone")["status"] == "labeled"
    assert call("get-label", session)["label"] == "gone"
    with pytest.raises(NotFoundError, match="its program has ended"):
        call("context-database", "create", session)
    assert call("context-database", "list")["contexts"] == []


def labels(call: Call, session: str) -> set[str | None]:
    """Return what each of the ways to ask says of a pane's label."""
    (pane,) = call("list-panes", session)["panes"]
    entry = call("context-database", "read", session).get("context", {})
    return {pane["label"], entry.get("label"), call("get-label", session).get("label")}


@pytest.mark.parametrize(
    "words",
    [
        ("label-pane", "work", "new"),
        ("context-database", "create", "work", {"label": "new"}),
        ("context-database", "update", "work", {"label": "new"}),
        ("detect-ssh", "work", {"label": "new"}),
    ],
    ids=lambda words: "-".join(words[:2]),
)
@pytest.mark.parametrize("before", [("label-pane", "work", "old"), ("context-database", "create", "work")])
def test_a_pane_has_one_label_whoever_gave_it(call: Call, session: str, before: Any, words: Any) -> None:
    call(*before)
    *words, options = words if isinstance(words[-1], dict) else (*words, {})
    call(*words, **options)
    assert labels(call, session) == {"new"}


def test_what_is_not_said_of_a_label_leaves_it(call: Call, session: str) -> None:
    call("label-pane", session, "db")
    call("context-database", "update", session, mode="bash")
    assert call("detect-ssh", session, update_context=True)["label"] == "db"
    assert labels(call, session) == {"db"}


@pytest.mark.parametrize("words", [("delete",), ("create",), ("update", {"label": ""})], ids=lambda words: words[0])
def test_a_label_that_is_taken_away_is_nowhere(call: Call, session: str, words: Any) -> None:
    call("label-pane", session, "db")
    operation, options = (*words, {})[:2]
    call("context-database", operation, session, **options)
    assert labels(call, session) == {None}
    assert tmux("show-options", "-pqv", "-t", session, "@sane-label") == ""


def test_a_label_set_in_tmux_itself_is_the_panes(call: Call, session: str) -> None:
    call("context-database", "create", session, label="old")
    tmux("set-option", "-p", "-t", session, "@sane-label", "new")
    assert labels(call, session) == {"new"}
    tmux("set-option", "-pu", "-t", session, "@sane-label")
    assert labels(call, session) == {None}


@pytest.mark.parametrize("label", ["a\nb", " ", "a\tb"])
def test_what_is_no_line_of_text_is_no_label(call: Call, session: str, label: str) -> None:
    for words, options in (
        (("label-pane", session, label), {}),
        (("context-database", "create", session), {"label": label}),
        (("detect-ssh", session), {"label": label}),
    ):
        with pytest.raises(UsageError, match="can't be a label"):
            call(*words, **options)
    assert labels(call, session) == {None}


def test_create_begins_anew(call: Call, session: str) -> None:
    call("context-database", "create", session, label="old")
    assert "label" not in call("context-database", "create", session, mode="bash")["context"]


def test_a_mode_is_one_of_those_there_are() -> None:
    verb = load_verb("context-database")
    schema = input_schema(verb)["properties"]["mode"]
    assert schema["enum"] == ["bash", "raw"]
    for mode in schema["enum"]:
        assert bind(verb, {"operation": "create", "target": "work", "mode": mode})["mode"] == mode
    with pytest.raises(UsageError, match="^mode must be one of bash, raw, got 'weird'$"):
        bind(verb, {"operation": "create", "target": "work", "mode": "weird"})


def test_takes_hosts_too(call: Call) -> None:
    call("context-database", "create", "local:", platform="Linux")
    call("context-database", "create", "ssh:web1", platform="Darwin")
    assert call("context-database", "read", "ssh:web1")["context"]["platform"] == "Darwin"
    assert len(call("context-database", "list")["contexts"]) == 2


def test_refuses_what_does_not_exist(call: Call, session: str) -> None:
    with pytest.raises(NotFoundError, match="Session 'none' does not exist"):
        call("context-database", "create", "none")
    with pytest.raises(NotFoundError, match="Pane 'work:7' does not exist"):
        call("context-database", "read", "work:7")
    with pytest.raises(UsageError, match="read needs a target"):
        call("context-database", "read")


def test_drops_dead_panes_and_keeps_the_living(call: Call, session: str) -> None:
    tmux("split-window", "-d", "-t", "work", "exec sleep 100")
    call("context-database", "create", "work:0.0", label="stays")
    call("context-database", "create", "work:0.1", label="dies")
    tmux("kill-pane", "-t", "work:0.1")
    assert [entry["label"] for entry in call("context-database", "list")["contexts"]] == ["stays"]
    tmux("kill-server")
    until = time.monotonic() + 5
    while call("context-database", "list")["contexts"] and time.monotonic() < until:
        time.sleep(0.01)  # the server's process needs a moment to end
    assert call("context-database", "list")["contexts"] == []


def test_leaves_the_panes_of_another_server_alone(call: Call, session: str, tmp_path: Path) -> None:
    call("context-database", "create", session, label="mine")
    first = os.environ["TMUX_TMPDIR"]
    (Path(first) / "two").mkdir(mode=0o700)
    os.environ["TMUX_TMPDIR"] = f"{first}/two"
    try:
        tmux("-f", "/dev/null", "new-session", "-d", "-s", "other", "exec sleep 100")
        call("context-database", "create", "other", label="theirs")
        labels = {entry["label"] for entry in call("context-database", "list")["contexts"]}
        assert labels == {"mine", "theirs"}
    finally:
        subprocess.run(["tmux", "kill-server"], check=False, capture_output=True, timeout=10)
        os.environ["TMUX_TMPDIR"] = first


def test_refreshes_stale_entries(call: Call, session: str, short_dir: Path) -> None:
    call("context-database", "create", session, current_dir="/old")
    assert call("context-database", "read", session)["context"]["current_dir"] == "/old"
    path = contexts_path(Path(os.environ["SANE_STATE_DIR"]), os.environ)
    database = json.loads(path.read_text())
    for entry in database["contexts"].values():
        entry["updated_at_s"] -= STALE_AFTER_S
    path.write_text(json.dumps(database))
    assert call("context-database", "read", session)["context"]["current_dir"] == str(short_dir)


DAMAGED = {
    "no list of entries": '{"contexts":[]}',
    "no object": "[1]",
    "no JSON": '{"contexts": {"local:": {"label": "db"',
    "no text": "\udcff\udcfe{}",
    "an entry that is none": '{"contexts":{"local:":7}}',
    "a pane without its server": '{"contexts":{"local/1/%0":{"pane_id":"%0","updated_at_s":1}}}',
    "an age that is none": '{"contexts":{"local/1/%0":{"pane_id":"%0","server_pid":1,"updated_at_s":"x"}}}',
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("operation", ["list", "create", "read", "update", "delete"])
def test_a_damaged_database_is_told_and_kept_as_it_is(call: Call, session: str, operation: str, damage: str) -> None:
    path = contexts_path(Path(os.environ["SANE_STATE_DIR"]), os.environ)
    content = DAMAGED[damage].encode("utf-8", "surrogateescape")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        call("context-database", operation, *([] if operation == "list" else [session]))
    assert "Nothing was changed" in caught.value.hint
    assert path.read_bytes() == content
    with pytest.raises(ConfigError):
        call("label-pane", session, "new")
    assert (path.read_bytes(), call("get-label", session)) == (content, {"status": "no_label", "pane": session})


def test_a_label_that_is_no_text_is_printed_as_text(session: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = contexts_path(Path(os.environ["SANE_STATE_DIR"]), {})
    path.write_text('{"contexts":{"ssh:web":{"host":"web","label":"\\ud800","updated_at_s":1e999}}}')
    assert main("context-database", ["list"]) == 0
    (entry,) = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)["contexts"]
    assert (entry["label"], entry["updated_at_s"]) == ("\ufffd", None)


def test_an_empty_database_is_one(call: Call, session: str) -> None:
    contexts_path(Path(os.environ["SANE_STATE_DIR"]), os.environ).write_bytes(b"")
    assert call("context-database", "list")["contexts"] == []
    assert call("context-database", "create", session)["status"] == "created"


def test_lives_where_the_environment_says(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX_SANE_CONTEXT_HOME", str(tmp_path / "home"))
    call("context-database", "create", "local:")
    assert (tmp_path / "home" / "contexts.json").stat().st_mode & 0o777 == 0o600


def _write_many(path: Path, writer: int) -> None:
    for n in range(25):
        run_blocking(write_entry(path, Subject(Target(f"host{writer}-{n}", None), None), {"label": "x"}, 0.0))


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    processes = [multiprocessing.get_context("fork").Process(target=_write_many, args=(path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=20)
    assert set(read_json(path)["contexts"]) == {f"ssh:host{writer}-{n}" for writer in range(4) for n in range(25)}
    assert sorted(os.listdir(tmp_path)) == [".contexts.json.lock", "contexts.json"]


def test_callers_at_the_same_time_leave_a_pane_what_one_of_them_said(call: Call, session: str) -> None:
    panes = [f"{session}:{number}" for number in range(4)]
    for pane in panes[1:]:
        tmux("new-window", "-d", "-t", pane, "exec sleep 100")
    for pane in panes:
        call("context-database", "create", pane)
    program = Path(__file__).parents[2] / "bin" / "sane-context-database"
    for _ in range(2):
        callers = [
            subprocess.Popen(
                [program, "update", pane, "--current-dir", f"/c{n}", "--label", f"l{n}"], stdout=subprocess.DEVNULL
            )
            for n in range(5)
            for pane in panes
        ]
        assert [caller.wait(timeout=30) for caller in callers] == [0] * len(callers)
        for pane in panes:
            entry = call("context-database", "read", pane)["context"]
            assert entry["label"][1:] == entry["current_dir"][2:]
            assert entry["label"] == tmux("display", "-p", "-t", pane, "#{@sane-label}")


def test_a_look_at_panes_that_is_older_than_an_entry_leaves_its_label(call: Call, session: str) -> None:
    subject = run_blocking(find_subject(BlockingContext(), session))
    before_s = time.time()
    call("context-database", "create", session, label="new")
    path = contexts_path(Path(os.environ["SANE_STATE_DIR"]), {})
    (entry,) = run_blocking(sweep(path, subject.panes, before_s)).values()
    assert entry["label"] == "new"
    (entry,) = run_blocking(sweep(path, subject.panes, time.time())).values()
    assert "label" not in entry


def test_a_broken_file_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"half')
    assert run_blocking(change_json(path, lambda database: database.setdefault("a", 1))) == 1
    assert read_json(path) == {"a": 1}
    assert (tmp_path / "x.json.broken").read_text() == '{"half'


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run_blocking(change_json(path, lambda database: database.setdefault("a", 1)))
    with pytest.raises(ZeroDivisionError):
        run_blocking(change_json(path, lambda database: database.update(a=1 / 0)))
    assert read_json(path) == {"a": 1}


def test_a_lock_that_nobody_gives_back_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_state_file, "LOCK_DEADLINE_S", 0.1)
    path = tmp_path / "x.json"
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="locked by another process"):
        run_blocking(change_json(path, lambda _: run_blocking(change_json(path, lambda _: None))))
    assert time.monotonic() - started < 2


async def test_the_loop_goes_on_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with (tmp_path / ".x.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asking, cancelled = (asyncio.create_task(change_json(path, lambda database: len(database))) for _ in range(2))
        async with asyncio.timeout(5):
            await asyncio.sleep(0)  # both have begun
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert not asking.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert await asking == 0

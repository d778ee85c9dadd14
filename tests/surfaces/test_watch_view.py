"""What a watch shows: lines that steer no terminal, JSON for programs, a table on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import threading

import pytest

from sane.core.events import Event
from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.surfaces.watch_live import LiveView
from sane.surfaces.watch_view import JsonView, LineView, line_of, open_watch_view

EVIL = "\x1b[2Jgone\r[bold]x[/bold]"


def event(kind: str, at_ms: int = 100, **data: object) -> Event:
    return Event(kind, at_ms, host="web1", data={"episode": "e1", **data})


LINES = [
    (event("host_sampled", verdict="pass", version="1.0"), "✓ [web1] healthy 1.0"),
    (event("host_sampled", verdict="", reachable=False), "✗ [web1] does not answer"),
    (event("host_sampled", verdict="pass", probe_ok=False), "✗ [web1] healthy: pass (the probe disagrees)"),
    (
        event("episode_opened", fault="crash", scope="host", hosts=["web1", "web2"], rule="r"),
        "! e1 crash on web[1-2]: r",
    ),
    (
        event("episode_updated", joined=["web3"], recovered=[], scope="zone"),
        "~ e1 joined web3, counts as one outage of the zone",
    ),
    (event("episode_updated", joined=["web3"], recovered=[], scope="hosts"), "~ e1 joined web3"),
    (event("plan_decided", plan="p", decision="approval", reasons=["a"]), "? e1 p waits: a. sane plan approve p"),
    (event("plan_decided", plan="p", decision="run", reasons=[]), ""),
    (event("alert_sent", outcome="sent"), ""),
    (event("alert_sent", outcome="no"), "✗ e1 the alert did not go out: no"),
    (event("alert_sent", outcome="sent", failed=["tmux: gone"]), "~ e1 the alert went out, but not by tmux: gone"),
]


@pytest.mark.parametrize(("one", "line"), LINES)
def test_lines(one: Event, line: str) -> None:
    assert line_of(one) == line


def test_what_is_piped_is_plain_and_history_is_left_out() -> None:
    stream = io.StringIO()
    view = open_watch_view("table", stream, 50)
    assert isinstance(view, LineView)
    view.happened(event("host_sampled", 49, verdict="pass"))
    view.happened(event("host_sampled", 50, verdict="fail", status=EVIL))
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_ndjson_is_the_events() -> None:
    stream = io.StringIO()
    view = open_watch_view("ndjson", stream, 0)
    assert isinstance(view, JsonView)
    view.happened(event("alert_sent", outcome="sent"))
    view.say("nothing")
    assert json.loads(stream.getvalue())["kind"] == "alert_sent"


def test_a_terminal_shows_a_table_with_what_is_wrong_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    read = bytearray()

    def read_to_the_end() -> None:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(leader, 1 << 16):
                read.extend(piece)

    reader = threading.Thread(target=read_to_the_end)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        view = open_watch_view("table", stream, 0)
        assert isinstance(view, LiveView)
        for n in range(100):
            view.sampled(Sample(f"web{n}", 1), HostWatch(f"web{n}"))
        view.sampled(Sample("zebra", 1, status=EVIL, verdict="fail"), HostWatch("zebra", acute="crash"))
        view.say(f"a line {EVIL}")
        view.close()
    reader.join(10)
    os.close(leader)
    shown = read.decode()
    assert "\x1b[2J" not in shown
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    first = next(i for i, row in enumerate(rows) if "zebra" in row)
    assert any("web" in row for row in rows[first + 1 :])
    assert not any(re.search(r"web\d", row) for row in rows[:first])
    assert any("100/101 healthy" in row for row in rows)
    assert any("and" in row and "more" in row for row in rows)


def drawn(monkeypatch: pytest.MonkeyPatch, hosts: int, lines: int, events: list[Event]) -> list[str]:
    """Return the rows of one picture of 80 columns and 24 rows."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    stream = io.StringIO()
    view = LiveView(stream, 0, "app")
    for n in range(hosts):
        view.sampled(Sample(f"web{n}", 1, verdict="fail"), HostWatch(f"web{n}", acute="crash"))
    for one in events:
        view.happened(one)
    for n in range(lines):
        view.say(f"line {n} {'long ' * 30}")
    with view._console.capture() as captured:
        view._console.print(view._draw())
    view.close()
    return captured.get().rstrip("\n").split("\n")


OPENED = event("episode_opened", fault="crash", scope="host", hosts=["web1"], rule="r")
PLANNED = [
    OPENED,
    event("escalation_started", attempt=1, operation="e1-a1"),
    event("plan_proposed", plan="plan-1", steps=[], reason="r", confidence=1.0),
    event("escalation_finished", attempt=1, operation="e1-a1", outcome="planned"),
    event("plan_decided", plan="plan-1", decision="approval", reasons=["too many"]),
]


@pytest.mark.parametrize(("hosts", "lines"), [(4, 8), (100, 8), (100, 0), (1, 8)])
def test_a_picture_is_no_higher_than_the_terminal_and_shows_what_came_last(
    monkeypatch: pytest.MonkeyPatch, hosts: int, lines: int
) -> None:
    rows = drawn(monkeypatch, hosts, lines, PLANNED)
    assert len(rows) <= 23
    assert rows[0].startswith("app  0/")
    assert "web0" in " ".join(rows)
    assert not lines or f"line {lines - 1}" in " ".join(rows)


def test_what_is_open_and_waits_stays_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = " ".join(" ".join(drawn(monkeypatch, 4, 8, PLANNED)).split())
    assert "a plan waits: sane plan approve plan-1" in shown
    closed = event("episode_closed", reason="recovered")
    assert "sane plan approve" not in " ".join(drawn(monkeypatch, 4, 8, [*PLANNED, closed])[:4])


def test_a_host_that_is_good_again_and_not_yet_calm_is_shown_as_recovering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    view = LiveView(io.StringIO(), 0)
    view.sampled(Sample("web1", 1), HostWatch("web1", acute="crash"))
    with view._console.capture() as captured:
        view._console.print(view._draw())
    view.close()
    assert re.search(r"~ web1 +healthy +crash, recovering", captured.get())


TOLD = [
    *PLANNED[:4],
    event("plan_decided", plan="plan-1", decision="run", reasons=[]),
    event("plan_started", plan="plan-1", operation="e1-run"),
]


@pytest.mark.parametrize(
    ("summary", "shown"), [("alert", ": a person was told"), ("retry", ": retry done, has time to help")]
)
def test_what_a_plan_did_is_said_in_words(monkeypatch: pytest.MonkeyPatch, summary: str, shown: str) -> None:
    ended = event("plan_finished", plan="plan-1", outcome="done", summary=summary)
    assert shown in " ".join(drawn(monkeypatch, 1, 0, [*TOLD, ended])[:3])


def test_on_a_narrow_terminal_names_are_cut_where_they_are_alike_and_words_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    view = LiveView(io.StringIO(), 0)
    for n in (1, 2):
        name, version = f"web-frontend-eu-central-production-{n}", "2.3.0-rc1+build.20261121.abcdef"
        view.sampled(Sample(name, 1, verdict="fail", status="failed", version=version), HostWatch(name, acute="crash"))
    with view._console.capture() as captured:
        view._console.print(view._draw())
    view.close()
    rows = [row for row in captured.get().splitlines() if "✗" in row]
    assert all(
        re.search(rf"…\S*production-{n} +failed +2\.3\.0\S*… +crash +0 s ago", row) for n, row in enumerate(rows, 1)
    )
    assert max(map(len, captured.get().splitlines())) <= 80

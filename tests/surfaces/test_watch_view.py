"""What a watch shows: lines that steer no terminal, JSON for programs, a table on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re

import pytest

from sane.core.events import Event
from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.surfaces.watch_view import JsonView, LineView, LiveView, line_of, open_watch_view

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
    (event("episode_updated", joined=["web3"], recovered=[], scope="zone"), "~ e1 joined web3, is now zone"),
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
    os.set_blocking(leader, False)
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        view = open_watch_view("table", stream, 0)
        assert isinstance(view, LiveView)
        for n in range(100):
            view.sampled(Sample(f"web{n}", 1), HostWatch(f"web{n}"))
        view.sampled(Sample("zebra", 1, status=EVIL, verdict="fail"), HostWatch("zebra", acute="crash"))
        view.say(f"a line {EVIL}")
        view.close()
        shown = os.read(leader, 1 << 20).decode()
    os.close(leader)
    assert "\x1b[2J" not in shown
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    first = next(i for i, row in enumerate(rows) if "zebra" in row)
    assert any("web" in row for row in rows[first + 1 :])
    assert not any(re.search(r"web\d", row) for row in rows[:first])
    assert any("100/101 healthy" in row for row in rows)
    assert any("and" in row and "more" in row for row in rows)

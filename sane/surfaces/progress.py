"""The live view of a deployment: a subscriber of its events, for a terminal or for a pipe.

Everything shown is the fold of the events; the view keeps no state of its own beside which step a host is in.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol, TextIO

from sane.core.events import Event
from sane.core.printable import printable
from sane.core.rollout.controller import RolloutState, apply
from sane.core.rollout.hints import next_step
from sane.surfaces.report import MARKS, WORDS, escape

_BUSY = ("transferring", "activating", "checking", "reverting")
_PARTS = {"transferring": "stage", "activating": "switch", "checking": "health", "reverting": "revert"}
REFRESH_PER_S = 8  # 4% of a core at 40 rows (docs/benchmarks.md)


class View(Protocol):
    """Show a deployment as it goes."""

    def update(self, event: Event, state: RolloutState) -> None:
        """Take in one event and the state after it."""
        ...

    def catch_up(self, state: RolloutState, *, is_now: bool) -> None:
        """Take in a state from before, of which nothing is told; `is_now`: it is the one that was found."""
        ...

    def say(self, text: str) -> None:
        """Show a message to the person who waits, now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


def open_view(stream: TextIO, *, drives: bool = True) -> View:
    """Return the live view for a terminal, and one line an event for anything else.

    `drives`: who looks on drives the deployment, so that Ctrl-C cancels it.
    """
    live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
    return LiveView(stream, drives=drives) if live else LineView(stream)


async def show_progress(events: AsyncIterator[Event], view: View, *, behind: int = 0) -> None:
    """Show events until the deployment ends or the task is cancelled.

    Those up to number `behind` were there before: they are not shown as if they happened now.
    """
    state: RolloutState | None = None
    async for event in events:
        if event.durable:
            state = apply(state, event)
        if state is None:
            continue
        if 0 < event.seq <= behind and event.kind != "deployment_created":
            view.catch_up(state, is_now=event.seq == behind)
        else:
            view.update(event, state)
        if state.terminal:
            return


class LineView:
    """Write one line for each thing worth knowing: what a log file or a CI job wants."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def update(self, event: Event, state: RolloutState) -> None:
        """Write the line of an event, where it has one."""
        line = line_of(event, state)
        if line:
            self._stream.write(line + "\n")
            self._stream.flush()

    def catch_up(self, state: RolloutState, *, is_now: bool) -> None:
        """Write what the deployment waits for, where nobody has asked for anything: no event may come for long."""
        if is_now and state.request is None and state.stopping is None and next_step(state.status, state.key):
            self.say(_told(state.key, state.status, state.reason))

    def say(self, text: str) -> None:
        """Write a message as a line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: each line is complete."""


def line_of(event: Event, state: RolloutState) -> str:
    """Return what an event says in one line of plain text, "" where it is not worth one."""
    data = event.data
    if event.kind == "deployment_created":
        return f"{state.key} {state.version}, revision {state.revision}, {state.total} hosts ({state.id})"
    if event.kind == "deployment_transition" and data["to"] not in ("running", "pending"):
        return _told(state.key, data["to"], data["reason"])
    if event.kind == "step_finished":
        code = data.get("exit_code")
        word = data["outcome"] if data["outcome"] == "ok" or code is None else f"{data['outcome']}, exit code {code}"
        who = f"[{event.host}] {data.get('part', '')}" if event.host else f"hook {data.get('part', '')}"
        return f"{who}: {data['step']}: {word} ({data.get('duration_ms', 0) / 1000:.1f} s)"
    if event.kind == "host_transition" and data["to"] in MARKS:
        why = f": {data['reason']}" if data.get("reason") and data["to"] not in ("healthy", "unchanged") else ""
        return f"{MARKS[data['to']][0]} [{event.host}] {WORDS.get(data['to'], data['to'])}{why}"
    if event.kind == "operator_request":
        return f"{data['request']} was asked for{': ' + data['reason'] if data.get('reason') else ''}"
    return str(data["text"]) if event.kind == "message" else ""


def _told(key: str, status: str, reason: str) -> str:
    hint = next_step(status, key)
    return f"{key} {status}: {reason}" + (f"\n→ {hint}" if hint else "")


class LiveView:
    """Redraw a table of the hosts at work, with the counts of all, as events come in."""

    def __init__(self, stream: TextIO, *, drives: bool = True) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._steps: dict[str, tuple[str, str, float]] = {}  # a host's part, what is done in it, and since when
        self._began = time.monotonic()
        self._drives = drives
        self._state: RolloutState | None = None
        self._live = Live(
            console=self._console, refresh_per_second=REFRESH_PER_S, get_renderable=self.draw, transient=True
        )
        self._live.start()

    def update(self, event: Event, state: RolloutState) -> None:
        """Take in one event; the next redraw shows it."""
        self._state = state
        if event.host in state.index:
            self._follow(event, state.hosts[state.index[event.host]].status)
        if event.kind in ("message", "operator_request"):
            self.say(line_of(event, state))

    def catch_up(self, state: RolloutState, *, is_now: bool) -> None:
        """Take in a state; the next redraw shows it."""
        self._state = state

    def _follow(self, event: Event, status: str) -> None:
        part, now = _PARTS.get(status, ""), time.monotonic()
        before, doing, since = self._steps.get(event.host, ("", "", now))
        if before != part:
            doing, since = "", now
        if event.kind == "step_started":
            doing, since = str(event.data["step"]), now
        elif event.kind == "health_observed":
            doing = str(event.data.get("reason") or event.data.get("verdict") or "")
        self._steps[event.host] = (part, doing, since)

    def say(self, text: str) -> None:
        """Print a message above the table."""
        self._console.print(escape(text))

    def close(self) -> None:
        """Stop redrawing and take the view away: the report follows."""
        self._live.stop()

    def draw(self) -> Any:
        """Return what the terminal shows now."""
        from rich.console import Group
        from rich.text import Text

        state = self._state
        if state is None:
            return Text("…")
        asking = [self._preflight(state)] if state.status == "pending" else []
        return Group(_headline(state), *self._way_on(state), *asking, *self._rows(state))

    def _way_on(self, state: RolloutState) -> list[Any]:
        from rich.text import Text

        hint = next_step(state.status, state.key)
        if not hint:
            return []
        rows = [f"→ {hint} in another terminal", *(["  Ctrl-C cancels the deployment"] if self._drives else [])]
        return [self._fit(Text(row, style="yellow")) for row in rows]

    def _preflight(self, state: RolloutState) -> Any:
        from rich.spinner import Spinner

        left = (state.among("pending") & ~state.preflighted).bit_count()
        elapsed = time.monotonic() - self._began
        return Spinner("dots", f"asking the hosts: {state.total - left} of {state.total} done, {elapsed:.0f} s")

    def _rows(self, state: RolloutState) -> list[Any]:
        from rich.text import Text

        # Live can't scroll: what went wrong has half of the room, where the hosts at work need the other.
        room = max(3, self._console.height - 6)
        busy = [host for host in state.hosts if host.status in _BUSY]
        bad = [host for host in state.hosts if MARKS.get(host.status, ("",))[0] in ("✗", "?")]
        worst = bad[: max(room // 2, room - len(busy))]
        rows = [self._row(host) for host in (worst + busy)[:room]]
        if len(busy) + len(bad) > room:
            rows.append(Text(f"  … and {len(busy) + len(bad) - room} more", style="dim"))
        return rows

    def _row(self, host: Any) -> Any:
        from rich.spinner import Spinner
        from rich.text import Text

        name = host.spec.name
        if host.status not in _BUSY:
            mark, colour = MARKS[host.status]
            detail = f"{host.failed_step}: {host.error}" if host.failed_step else host.error
            return self._fit(Text.assemble((f"{mark} ", colour), f"{name:<20} ", (printable(detail), colour)))
        now, part = time.monotonic(), _PARTS[host.status]
        _, doing, since = self._steps.get(name, (part, "", now))
        elapsed = (f"{now - since:.0f} s", "dim")
        text = Text.assemble(f"{name:<20} ", (f"{part:<7}", "cyan"), " ", elapsed, f"  {printable(doing)}")
        return Spinner("dots", self._fit(text))

    def _fit(self, text: Any) -> Any:
        # A row that wraps would make the view grow and shrink as its words do.
        text.truncate(max(20, self._console.width - 3), overflow="ellipsis")
        return text


def _headline(state: RolloutState) -> Any:
    from rich.text import Text

    done = state.count("healthy", "unchanged")
    width = 24
    filled = done * width // max(1, state.total)
    failed = state.count("failed", "unreachable", "unknown", "revert_failed")
    parts: list[Any] = [
        (f"{state.key} {state.version} ", "bold"),
        ("━" * filled, "green"),
        ("━" * (width - filled), "bright_black"),
        f" {done}/{state.total} healthy",
    ]
    if failed:
        parts.append((f", {failed} bad (budget {state.budget})", "red"))
    if state.status != "running":
        parts.append((f"  {state.status}", "yellow"))
    return Text.assemble(*parts)

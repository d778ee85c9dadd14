"""A watch on a terminal: what is open and what is done about it, the hosts, and what happened last."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sane.core.events import Event
from sane.core.fleet.hostset import fold
from sane.core.watch.detect import HostWatch, fault_of, is_well
from sane.core.watch.escalation import apply_escalation
from sane.core.watch.escalation_state import Episode, EscalationState
from sane.core.watch.rule_planner import verbs_in
from sane.core.watch.samples import Sample
from sane.errors import ConflictError
from sane.surfaces.report import escape
from sane.surfaces.watch_view import line_of

REFRESH_PER_S = 4
LINES_KEPT = 8
EPISODES_SHOWN = 5
TABLE_ROWS = 4  # of the table, beside its hosts: its head and the empty rows around it
BETWEEN = 3  # columns of the terminal that a column of the table takes beside its text
MARK = 2  # those of the mark in front of a host
TITLES = ("host", "status", "version", "fault", "seen")
COLOURS = {"✓": "green", "~": "yellow", "✗": "red"}
Row = tuple[Sample, HostWatch, float]
QUIET_KINDS = ("model_called", "lease_taken", "lease_released", "host_sampled")


class LiveView:
    """Redraw the open episodes, a table of the hosts, what is wrong first, and the last lines of the log."""

    def __init__(self, stream: TextIO, since_ms: int, title: str = "") -> None:
        self._since_ms = since_ms
        self._title = title
        self._console = Console(file=stream, highlight=False)
        self._hosts: dict[str, Row] = {}
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._state = EscalationState()
        self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_S, get_renderable=self._draw)
        self._live.start()

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        """Take in a sample; the next redraw shows it."""
        self._hosts[sample.host] = (sample, watch, time.monotonic())

    def happened(self, event: Event) -> None:
        """Take in an event; those before the watch began tell what is open, and are not repeated."""
        with contextlib.suppress(ConflictError):
            self._state = apply_escalation(self._state, event)
        if event.kind not in QUIET_KINDS and event.at_ms >= self._since_ms:
            self._add(line_of(event), event.at_ms / 1000)

    def say(self, text: str) -> None:
        """Show a line below the table."""
        self._add(text, time.time())

    def close(self) -> None:
        """Stop redrawing; the last picture stays."""
        self._live.stop()

    def _add(self, line: str, at_s: float) -> None:
        if line:
            self._lines.append(f"{time.strftime('%H:%M:%S', time.localtime(at_s))} {line}")

    def _draw(self) -> Group:
        """Return the picture, no higher than the terminal: Live can't scroll, and would cut what came last."""
        rows = sorted(self._hosts.values(), key=lambda row: (is_well(row[0], row[1]), row[0].host))
        well = sum(is_well(sample, watch) for sample, watch, _ in rows)
        head = Text.assemble(
            (f"{self._title}  " if self._title else "", "bold"),
            (f"{well}/{len(rows)} healthy", "bold green" if well == len(rows) else "bold yellow"),
        )
        free = self._console.height - 3 - TABLE_ROWS  # the head, "and more", and the row of the cursor
        episodes = self._within(self._episodes(), free // 3)
        free -= self._height(episodes)
        lines = self._within([Text.from_markup(escape(line)) for line in reversed(self._lines)], free // 2)
        room = max(1, free - self._height(lines))
        more = [Text(f"… and {len(rows) - room} more", style="dim")] if len(rows) > room else []
        return Group(head, *episodes, _table(rows[:room], self._console.width), *more, *reversed(lines))

    def _episodes(self) -> list[Text]:
        found = [episode for episode in self._state.episodes.values() if episode.phase != "closed"]
        shown = [Text.from_markup(escape(episode_line(e, time.time_ns() // 1_000_000))) for e in found]
        if len(shown) > EPISODES_SHOWN:
            shown[EPISODES_SHOWN:] = [Text(f"… and {len(shown) - EPISODES_SHOWN} more are open", style="dim")]
        return shown

    def _within(self, texts: Sequence[Text], most: int) -> list[Text]:
        """Return as many of the first texts as fit into so many rows of the terminal; the first one always."""
        kept: list[Text] = []
        for text in texts:
            if kept and self._height([*kept, text]) > most:
                break
            kept.append(text)
        return kept

    def _height(self, texts: Sequence[Text]) -> int:
        return sum(len(text.wrap(self._console, self._console.width)) for text in texts)


def _table(rows: Sequence[Row], width: int) -> Table:
    """Return the table in so many columns: versions are cut first, then names, in front, where they are alike."""
    cells = [_cells(*row, version_width=max(8, width // 5)) for row in rows]
    others = sum(max((len(row[place]) for row in cells), default=0) for place in range(2, len(TITLES) + 1))
    name_width = max(12, width - others - MARK - BETWEEN * len(TITLES))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in TITLES:
        table.add_column(title, justify="right" if title == "seen" else "left", no_wrap=True)
    for mark, name, *rest in cells:
        cut = name if len(name) <= name_width else f"…{name[1 - name_width :]}"
        table.add_row(f"[{COLOURS[mark]}]{mark}[/] {escape(cut)}", *map(escape, rest))
    return table


def _cells(sample: Sample, watch: HostWatch, at_s: float, *, version_width: int) -> tuple[str, ...]:
    """Return the mark of a host, its name, and what the other columns say of it."""
    status = sample.status or sample.verdict if sample.reachable else "no answer"
    mark, fault = "✓" if is_well(sample, watch) else "✗", fault_of(watch)
    if fault and is_well(sample, HostWatch(sample.host, signature=watch.signature)):
        mark, fault = "~", f"{fault}, recovering"
    version = sample.version
    if len(version) > version_width:
        version = f"{version[: version_width - 1]}…"
    return mark, sample.host, status, version, fault, f"{time.monotonic() - at_s:.0f} s ago"


def episode_line(episode: Episode, now_ms: int) -> str:
    """Return an open episode in one line: since when, where, and what is done about it."""
    seconds = max(0, now_ms - episode.opened_ms) // 1000
    since = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
    where = fold(episode.hosts or episode.all_hosts)
    return f"! {episode.id} {episode.fault} on {where} for {since}: {_what_is_done(episode)}"


def _what_is_done(episode: Episode) -> str:
    plan = f"a plan waits: sane plan approve {episode.plan}"
    if episode.awaits_approval:
        return f"a person was told, {plan}" if episode.phase == "alerted" else plan
    words = {
        "waiting": "asked again soon" if episode.attempt else "waits whether more hosts join",
        "planning": "asking for a plan",
        "acting": "the plan runs",
        "observing": _what_was_done(episode.tried[-1] if episode.tried else "the plan: done"),
        "alerted": "a person was told",
    }
    return words.get(episode.phase, "deciding")


def _what_was_done(tried: str) -> str:
    return "a person was told" if verbs_in([tried]) == {"alert"} else f"{tried.replace(': ', ' ')}, has time to help"

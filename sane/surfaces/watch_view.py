"""A watch for people and for programs: a live table on a terminal, one line a change when piped, NDJSON when asked."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import Any, TextIO

from sane.core.events import Event
from sane.core.fleet.hostset import fold
from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.operations.watch import WatchView
from sane.surfaces.report import escape

REFRESH_PER_S = 4
LINES_KEPT = 8
QUIET_KINDS = ("model_called", "lease_taken", "lease_released", "host_sampled")


def open_watch_view(output: str, stream: TextIO, since_ms: int) -> WatchView:
    """Return the view for a stream: `ndjson` and `json` are for programs, a table lives on terminals alone.

    Events from before `since_ms` are history, which no view repeats.
    """
    if output == "ndjson":
        return JsonView(stream, since_ms)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveView(stream, since_ms)
    return LineView(stream, since_ms)


class JsonView:
    """Write each event of the log as one JSON object a line."""

    def __init__(self, stream: TextIO, since_ms: int) -> None:
        self._stream = stream
        self._since_ms = since_ms

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        """Write nothing: a sample that differs is an event."""

    def happened(self, event: Event) -> None:
        """Write an event."""
        if event.at_ms >= self._since_ms:
            self._stream.write(json.dumps(event.as_json(), ensure_ascii=False) + "\n")
            self._stream.flush()

    def say(self, text: str) -> None:
        """Write nothing: alerts are events."""

    def close(self) -> None:
        """Do nothing: each line is complete."""


class LineView:
    """Write one line for each change."""

    def __init__(self, stream: TextIO, since_ms: int) -> None:
        self._stream = stream
        self._since_ms = since_ms

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        """Write nothing: a sample that differs is an event."""

    def happened(self, event: Event) -> None:
        """Write the line of an event that is worth one."""
        if event.at_ms >= self._since_ms:
            self._write(line_of(event))

    def say(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def close(self) -> None:
        """Do nothing: each line is complete."""

    def _write(self, line: str) -> None:
        if line:
            self._stream.write("".join(c if c.isprintable() else " " for c in line) + "\n")
            self._stream.flush()


def line_of(event: Event) -> str:
    """Return what an event says in one line of plain text, "" where it is not worth one."""
    data, episode = event.data, event.data.get("episode", "")
    match event.kind:
        case "host_sampled":
            return _sample_line(event)
        case "episode_opened":
            return f"! {episode} {data['fault']} on {fold(data['hosts'])}: {data['rule']}"
        case "episode_updated":
            parts = [f"{word} {fold(data[word])}" for word in ("joined", "recovered") if data[word]]
            parts += [f"is now {data[name]}" for name in ("scope", "fault") if name in data]
            return f"~ {episode} {', '.join(parts)}"
        case "episode_closed":
            return f"✓ {episode} {data['reason']}"
        case "episode_classified":
            return f"  {episode} the cheap model takes it for {data['label']} ({data['confidence']:.0%})"
        case "escalation_started":
            return f"→ {episode} asking for a plan, attempt {data['attempt']}"
        case "escalation_resumed":
            return f"→ {episode} asking for the plan again: the process before died"
        case "escalation_finished":
            return f"  {episode} no plan: {data.get('error', '')}" if data["outcome"] == "failed" else ""
        case "plan_proposed":
            verbs = ", ".join(dict.fromkeys(str(step["verb"]) for step in data["steps"]))
            return f"  {episode} {data['plan']} by {data.get('by', '?')}: {verbs} ({data['reason']})"
        case "plan_decided":
            return _decision_line(episode, data["plan"], data["decision"], "; ".join(data["reasons"]))
        case "plan_approved" | "plan_refused":
            return f"  {episode} {data['plan']} {event.kind.partition('_')[2]} by {data['by']}"
        case "plan_started":
            return f"→ {episode} {data['plan']} begins"
        case "plan_finished":
            return f"  {episode} {data['plan']} {data['outcome']}: {data.get('detail', '')}"
        case "alert_sent" if data["outcome"] != "sent":
            return f"✗ {episode} the alert did not go out: {data['outcome']}"
        case "alert_sent" if data.get("failed"):
            return f"~ {episode} the alert went out, but not by {'; '.join(data['failed'])}"
        case _:
            return ""


def _sample_line(event: Event) -> str:
    data = event.data
    if data.get("reachable") is False:
        return f"✗ [{event.host}] does not answer"
    version = f" {data['version']}" if data.get("version") else ""
    status = data.get("status", "healthy")
    if data["verdict"] == "pass" and data.get("probe_ok") is not False and not data.get("gate"):
        return f"✓ [{event.host}] {status}{version}"
    doubt = " (the probe disagrees)" if data.get("probe_ok") is False else ""
    doubt += f" (gate {data['gate']})" if data.get("gate") else ""
    return f"✗ [{event.host}] {status}{version}: {data['verdict']}{doubt}"


def _decision_line(episode: str, plan: str, decision: str, reasons: str) -> str:
    match decision:
        case "approval":
            return f"? {episode} {plan} waits: {reasons}. sane plan approve {plan}"
        case "rejected":
            return f"✗ {episode} {plan} refused: {reasons}"
        case _:
            return ""


class LiveView:
    """Redraw a table of the hosts, what is wrong first, with the last lines of the log below."""

    def __init__(self, stream: TextIO, since_ms: int) -> None:
        from rich.console import Console
        from rich.live import Live

        self._since_ms = since_ms
        self._console = Console(file=stream, highlight=False)
        self._hosts: dict[str, tuple[Sample, HostWatch, float]] = {}
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_S, get_renderable=self._draw)
        self._live.start()

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        """Take in a sample; the next redraw shows it."""
        self._hosts[sample.host] = (sample, watch, time.monotonic())

    def happened(self, event: Event) -> None:
        """Take in an event."""
        if event.kind not in QUIET_KINDS and event.at_ms >= self._since_ms:
            self.say(line_of(event))

    def say(self, text: str) -> None:
        """Show a line below the table."""
        if text:
            self._lines.append(text)

    def close(self) -> None:
        """Stop redrawing; the last picture stays."""
        self._live.stop()

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        rows = sorted(self._hosts.values(), key=lambda row: (_is_well(row[0], row[1]), row[0].host))
        well = sum(_is_well(sample, watch) for sample, watch, _ in rows)
        # Live can't scroll: what is wrong comes first, and as many as there is room for
        room = max(3, self._console.height - LINES_KEPT - 5)
        head = Text.assemble((f"{well}/{len(rows)} healthy", "bold green" if well == len(rows) else "bold yellow"))
        more = [Text(f"… and {len(rows) - room} more", style="dim")] if len(rows) > room else []
        tail = [Text.from_markup(escape(line)) for line in self._lines]
        return Group(head, self._table(rows[:room]), *more, *tail)

    def _table(self, rows: list[tuple[Sample, HostWatch, float]]) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("host", "status", "version", "fault", "seen"):
            table.add_column(title, justify="right" if title == "seen" else "left", no_wrap=True)
        for sample, watch, at_s in rows:
            colour = "green" if _is_well(sample, watch) else "red"
            mark = "✓" if colour == "green" else "✗"
            status = sample.status or sample.verdict if sample.reachable else "no answer"
            ago = f"{time.monotonic() - at_s:.0f} s ago"
            cells = (sample.host, status, sample.version, fault_of(watch))
            table.add_row(f"[{colour}]{mark}[/] {escape(cells[0])}", *map(escape, cells[1:]), ago)
        return table


def fault_of(watch: HostWatch) -> str:
    """Return the fault of a host that is open, the gravest one, or ""."""
    return watch.acute or ("skew" if watch.skewed else "leak" if watch.leaked else "")


def _is_well(sample: Sample, watch: HostWatch) -> bool:
    return sample.reachable and sample.verdict == "pass" and not fault_of(watch)

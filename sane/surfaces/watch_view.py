"""A watch for people and for programs: a live table on a terminal, one line a change when piped, NDJSON when asked."""

from __future__ import annotations

import json
import os
from typing import TextIO

from sane.core.events import Event
from sane.core.fleet.hostset import fold
from sane.core.printable import printable
from sane.core.watch.detect import HostWatch
from sane.core.watch.episodes import WIDE
from sane.core.watch.samples import Sample
from sane.operations.watch import WatchView


def open_watch_view(output: str, stream: TextIO, since_ms: int, title: str = "") -> WatchView:
    """Return the view for a stream: `ndjson` and `json` are for programs, a table lives on terminals alone.

    Events from before `since_ms` are history, which no view repeats. `title` names what is watched.
    """
    if output == "ndjson":
        return JsonView(stream, since_ms)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from sane.surfaces.watch_live import LiveView

        return LiveView(stream, since_ms, title)
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
            self._stream.write(printable(line, instead=" ") + "\n")
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
            parts += [f"is now {data['fault']}"] if "fault" in data else []
            parts += [f"counts as one outage of the {data['scope']}"] if data.get("scope") in WIDE else []
            return f"~ {episode} {', '.join(parts)}" if parts else ""
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

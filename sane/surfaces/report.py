"""The report of a deployment for people: one line a host, what failed and what to do, then a table.

It renders the JSON report of a deployment and computes nothing of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any, TextIO

from sane.core.fleet.hostset import expand
from sane.core.printable import printable

MARKS = {
    "healthy": ("✓", "green"),
    "unchanged": ("✓", "green"),
    "reverted": ("↩", "yellow"),
    "no_previous": ("✗", "red"),
    "failed": ("✗", "red"),
    "unreachable": ("✗", "red"),
    "unknown": ("?", "red"),
    "revert_failed": ("✗", "red"),
    "not_attempted": ("·", "bright_black"),
    "pending": ("·", "bright_black"),
}
WORDS = {"not_attempted": "not attempted", "revert_failed": "revert failed", "no_previous": "nothing to go back to"}
_TAIL_LINES = 5


def write_report(report: Mapping[str, Any], output: str, stream: TextIO) -> None:
    """Write a report to `stream` as `table`, `json` or `ndjson` (one host a line, then the summary)."""
    if output == "json":
        stream.write(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    elif output == "ndjson":
        for host in report["hosts"]:
            stream.write(json.dumps({"kind": "host", **host}, ensure_ascii=False) + "\n")
        summary = {k: v for k, v in report.items() if k != "hosts"}
        stream.write(json.dumps({"kind": "deployment", **summary}, ensure_ascii=False) + "\n")
    else:
        _write_for_people(report, stream)
    stream.flush()


def _write_for_people(report: Mapping[str, Any], stream: TextIO) -> None:
    from rich.console import Console

    width = shutil.get_terminal_size((100, 40)).columns if stream.isatty() else 100
    styled = None if os.environ.get("TERM", "dumb") != "dumb" else False
    console = Console(file=stream, highlight=False, width=max(60, width), soft_wrap=True, force_terminal=styled)
    groups = [(f, set(expand(f["hosts"]))) for f in report.get("fingerprints", ()) if f["count"] > 1]
    folded = {name for _, members in groups for name in members}
    for host in report["hosts"]:
        if host["name"] not in folded:
            _print_host(console, host)
    for fingerprint, members in groups:
        example = next(h for h in report["hosts"] if h["name"] in members)
        name = f"{fingerprint['hosts']} ({fingerprint['count']})"
        _print_host(console, {**example, "name": name, "told": fingerprint["message"], "group": True})
    for hook in report.get("hooks", ()):
        _print_host(console, {**hook, "name": f"hook {hook['hook']}", "status": "failed"})
    console.print()
    console.print(_table(report))
    console.print()
    console.print(_summary(report))


def _print_host(console: Any, host: Mapping[str, Any]) -> None:
    mark, colour = MARKS.get(host["status"], ("…", "cyan"))
    word, wrong = WORDS.get(host["status"], host["status"]), mark in "✗?"
    place = f"in step '{escape(host['step'])}'" if host.get("step") and wrong else ""
    code = f", exit code {host['exit_code']}" if host.get("exit_code") not in (None, 0) and wrong else ""
    if place:
        word = (
            f"{word} {place}" if host["status"] in ("failed", "unknown", "revert_failed") else f"{word}; failed {place}"
        )
    health: dict[str, Any] = host.get("health") or {}
    said = host.get("told") or host.get("error") or (health.get("reason") if host["status"] == "healthy" else "")
    error = f": {escape(said)}" if said else ""
    name = escape(host["name"]) if "hook" in host or "group" in host else f"\\[{escape(host['name'])}]"
    _print(console, f"[{colour}]{mark}[/] ", f"{name} {word}{code}{error}", indent="  ")
    _print_detail(console, host)


def _print_detail(console: Any, host: Mapping[str, Any]) -> None:
    if MARKS.get(host["status"], ("…",))[0] not in "✗?":
        return
    tail = str(host.get("output_tail") or "").rstrip("\n").splitlines()
    if tail and tail[-1].strip() == str(host.get("error")).strip():
        del tail[-1]  # the line above says it
    gutter = "    [dim]│[/] "
    for line in tail[-_TAIL_LINES:]:
        _print(console, gutter, escape(line), indent=gutter)
    if host.get("output_file"):
        console.print(f"    [dim]│ all of it: {escape(host['output_file'])}[/]")
    if host.get("hint"):
        _print(console, "    [yellow]→[/] ", escape(host["hint"]), indent="      ")


def _print(console: Any, first: str, text: str, *, indent: str) -> None:
    """Print a text behind `first`; on a terminal what has no room goes on behind `indent`, broken between words."""
    from rich.text import Text

    room = console.width - Text.from_markup(first).cell_len
    lines = Text.from_markup(text, emoji=False).wrap(console, room) if console.file.isatty() else [text]
    for number, line in enumerate(lines):
        line = line if isinstance(line, str) else line.markup.rstrip()
        console.print(f"{indent if number else first}{line}", emoji=False)


def _table(report: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("host", "status", "version", "before", "health", "time"):
        table.add_column(title, no_wrap=title != "health", justify="right" if title == "time" else "left")
    for host in report["hosts"]:
        health: dict[str, Any] = host.get("health") or {}
        mark, colour = MARKS.get(host["status"], ("…", "cyan"))
        duration_ms = host.get("duration_ms")
        table.add_row(
            escape(host["name"]),
            f"[{colour}]{mark} {WORDS.get(host['status'], host['status'])}[/]",
            escape(host.get("version") or health.get("version") or ""),
            escape(host.get("previous_version") or "–"),
            escape(health.get("verdict") or ""),
            f"{duration_ms / 1000:.1f} s" if duration_ms else "",
        )
    return table


def _summary(report: Mapping[str, Any]) -> str:
    colour = {"successful": "green", "partial": "yellow", "reverted": "yellow"}.get(report["status"], "red")
    counts = ", ".join(f"{n} {WORDS.get(word, word)}" for word, n in report["counts"].items() if n and word != "total")
    name = f"{report['key']} {report['version']}, revision {report['revision']} ({report['deployment']})"
    why = f"\n{escape(report['description'])}" if report.get("description") else ""
    hint = f"\n[yellow]→[/] {escape(report['hint'])}" if report.get("hint") else ""
    return f"[bold {colour}]{report['status']}[/]: {escape(name)}: {counts}{why}{hint}"


def escape(text: object) -> str:
    """Return text of a host such that it can neither style nor steer the terminal it is shown on."""
    from rich.markup import escape as escape_markup

    # Control characters of a host's output would move the cursor of whoever reads the report.
    return escape_markup(printable(str(text), keep="\t"))

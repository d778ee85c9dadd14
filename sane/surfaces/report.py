"""The report of a deployment for people: one line a host, what failed and what to do, then a table.

It renders the JSON report of a deployment and computes nothing of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

from sane.core.fleet.hostset import expand
from sane.surfaces.table import Cell, Style, draw_table, plain, style_for

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
    style = style_for(stream)
    groups = [(f, set(expand(f["hosts"]))) for f in report.get("fingerprints", ()) if f["count"] > 1]
    folded = {name for _, members in groups for name in members}
    lines = [line for host in report["hosts"] if host["name"] not in folded for line in _host(host, style)]
    for fingerprint, members in groups:
        example = next(h for h in report["hosts"] if h["name"] in members)
        lines.append(f"{style('✗', fg='red')} {plain(fingerprint['hosts'])}: {plain(fingerprint['message'])}")
        lines += _detail(example, style)
    lines += ["", _table(report, style), _summary(report, style), ""]
    stream.write("\n".join(lines))


def _host(host: Mapping[str, Any], style: Style) -> list[str]:
    mark, colour = MARKS.get(host["status"], ("…", "cyan"))
    word = WORDS.get(host["status"], host["status"])
    place = f" in step '{plain(host['step'])}'" if host.get("step") and mark in "✗?" else ""
    code = f", exit code {host['exit_code']}" if host.get("exit_code") not in (None, 0) and mark in "✗?" else ""
    error = f": {plain(host['error'])}" if host.get("error") else ""
    return [f"{style(mark, fg=colour)} [{plain(host['name'])}] {word}{place}{code}{error}", *_detail(host, style)]


def _detail(host: Mapping[str, Any], style: Style) -> list[str]:
    if MARKS.get(host["status"], ("…",))[0] not in "✗?":
        return []
    tail = str(host.get("output_tail") or "").rstrip("\n").splitlines()
    if [line.strip() for line in tail] == [str(host.get("error")).strip()]:
        tail = []  # the line above says it
    bar = style("│", dim=True)
    lines = [f"    {bar} {plain(line)}" for line in tail[-_TAIL_LINES:]]
    if host.get("output_file"):
        lines.append("    " + style(f"│ all of it: {plain(host['output_file'])}", dim=True))
    if host.get("hint"):
        lines.append(f"    {style('→', fg='yellow')} {plain(host['hint'])}")
    return lines


def _table(report: Mapping[str, Any], style: Style) -> str:
    rows: list[tuple[Cell | str, ...]] = []
    for host in report["hosts"]:
        health: dict[str, Any] = host.get("health") or {}
        mark, colour = MARKS.get(host["status"], ("…", "cyan"))
        duration_ms = host.get("duration_ms")
        status = Cell(f"{mark} {WORDS.get(host['status'], host['status'])}", colour)
        versions = (plain(health.get("version") or ""), plain(host.get("previous_version") or "–"))
        time = f"{duration_ms / 1000:.1f} s" if duration_ms else ""
        rows.append((plain(host["name"]), status, *versions, plain(health.get("verdict") or ""), time))
    return draw_table(("host", "status", "version", "before", "health", "time"), rows, style, right=("time",))


def _summary(report: Mapping[str, Any], style: Style) -> str:
    colour = {"successful": "green", "partial": "yellow", "reverted": "yellow"}.get(report["status"], "red")
    counts = ", ".join(f"{n} {WORDS.get(word, word)}" for word, n in report["counts"].items() if n and word != "total")
    name = f"{report['key']} {report['version']}, revision {report['revision']} ({report['deployment']})"
    why = f"\n{plain(report['description'])}" if report.get("description") else ""
    return f"{style(report['status'], fg=colour, bold=True)}: {plain(name)}: {counts}{why}"


def escape(text: object) -> str:
    """Return text of a host such that it can neither style nor steer a terminal that rich draws on."""
    from rich.markup import escape as escape_markup

    return escape_markup(plain(text))

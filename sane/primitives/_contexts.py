"""The context database: what is known about panes and hosts, in one JSON file.

An entry is kept under the pane's own identity (host, process id of its tmux server, pane id), so that a pane renamed or
moved is still the same one, and a pane of a restarted server is another.

A pane's label is the one on the pane itself (`@sane-label`); that in the entry is a copy, set with it and refreshed by
a sweep.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sane.core.paths import runtime_dir
from sane.core.target import Target, parse_target
from sane.errors import ConfigError, UsageError
from sane.primitives._state_file import change_json
from sane.transports.context import Context
from sane.transports.lock import QueueLock
from sane.transports.tmux import PaneInfo, TmuxServer, choose_pane

STALE_AFTER_S = 300.0
TURN_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Subject:
    """Name what an entry is about; `pane` None is a host without a pane. `panes` are all those of the pane's server."""

    target: Target
    pane: PaneInfo | None
    panes: Sequence[PaneInfo] = ()

    @property
    def key(self) -> str:
        """Return the key of its entry."""
        return str(self.target) if self.pane is None else _key_of(self.pane, self.target.host)


def contexts_path(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return $TMUX_SANE_CONTEXT_HOME/contexts.json where that is set, else contexts.json in the state directory."""
    home = environ.get("TMUX_SANE_CONTEXT_HOME")
    return (Path(home) if home else state_dir) / "contexts.json"


async def find_subject(context: Context, text: str) -> Subject:
    """Return what a target means now. Raises NotFoundError where its pane does not exist."""
    target = parse_target(text)
    if target.pane is None:
        return Subject(target, None)
    panes = await TmuxServer(await context.machine(target.host)).list_panes()
    return Subject(target, choose_pane(panes, target.pane), panes)


def refuse_label(label: str) -> None:
    """Raise UsageError where a text can't be a label."""
    if not label.strip() or not label.isprintable():
        raise UsageError(f"{label!r} can't be a label", hint="A label is printable text on one line.")


async def _set_label(context: Context, subject: Subject, label: str) -> None:
    if subject.pane is not None:
        server = TmuxServer(await context.machine(subject.target.host))
        how, value = ("-p", (label,)) if label else ("-pu", ())
        await server.ask("set-option", how, "-t", subject.pane.pane_id, "@sane-label", *value)


@contextlib.asynccontextmanager
async def _in_turn(context: Context, subject: Subject) -> AsyncGenerator[None]:
    """Keep other callers from a pane's label and entry while both are set: else one's label stays, the other's entry.

    Not under the file's own lock: a host that does not answer would hold up the callers of all panes.
    """
    name = "".join(c if c.isalnum() else "_" for c in subject.key)[-100:]
    machine = await context.machine(None)
    root = runtime_dir(os.environ, os.getuid())
    lock = QueueLock(root, f"{root}/contexts/{name}", machine.sleep)
    await lock.acquire(TURN_WAIT_S, f"the context of {subject.target}")
    try:
        yield
    finally:
        lock.release()


async def record(
    context: Context, subject: Subject, fields: Mapping[str, object], *, fresh: bool = False
) -> dict[str, Any]:
    """Set fields of a subject's entry as `write_entry` does, and its label, where they have one, on its pane too."""
    path = contexts_path(context.state_dir, os.environ)
    entries_of(path)  # what can't be recorded gives no label either
    if subject.pane is None or not ("label" in fields or fresh):
        return await write_entry(path, subject, fields, time.time(), fresh=fresh)
    async with _in_turn(context, subject):
        await _set_label(context, subject, str(fields.get("label", "")))
        return await write_entry(path, subject, fields, time.time(), fresh=fresh)


async def forget(context: Context, subject: Subject) -> dict[str, Any] | None:
    """Remove a subject's entry, and the label of its pane, and return the entry; None where there was none."""
    path = contexts_path(context.state_dir, os.environ)
    if subject.pane is None:
        return await delete_entry(path, subject)
    async with _in_turn(context, subject):
        entry = await delete_entry(path, subject)
        await _set_label(context, subject, "")
        return entry


def entries_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return all entries by key. Raises ConfigError for a file that is no context database: it stays as it is."""
    hint = "Nothing was changed. Mend the file, or move it away: then what is known about panes begins anew."
    try:
        database: Any = json.loads(path.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this is no JSON: {error}", file=str(path), hint=hint) from None
    entries: object = cast("dict[str, Any]", database).get("contexts", {}) if isinstance(database, dict) else None
    if not isinstance(entries, dict):
        raise ConfigError('there is no object "contexts" in it', file=str(path), hint=hint)
    found = cast("dict[str, dict[str, Any]]", entries)
    for key, entry in found.items():
        if not _is_entry(entry):
            raise ConfigError(f"what it has of {key!r} is no entry", file=str(path), hint=hint)
    return found


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    fields = cast("dict[str, object]", entry)
    is_pane = isinstance(fields.get("pane_id"), str) and type(fields.get("server_pid")) is int
    return isinstance(fields.get("updated_at_s", 0), int | float) and (is_pane or "pane_id" not in fields)


async def write_entry(
    path: Path, subject: Subject, fields: Mapping[str, object], now_s: float, *, fresh: bool = False
) -> dict[str, Any]:
    """Set fields of a subject's entry, made where it is absent (or `fresh`), and return it; None takes a field out."""
    if subject.pane is not None and not fresh:
        fields = {"label": subject.pane.label, **fields}
    entries_of(path)

    def change(database: dict[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = database.setdefault("contexts", {})
        old: dict[str, Any] = {} if fresh else entries.get(subject.key, {})
        entry: dict[str, Any] = {"created_at_s": now_s, **_identity(subject), **old, **fields, "updated_at_s": now_s}
        entry["pane"] = str(subject.target)
        entries[subject.key] = {name: value for name, value in entry.items() if value is not None and value != ""}
        return entries[subject.key]

    return await change_json(path, change)


async def delete_entry(path: Path, subject: Subject) -> dict[str, Any] | None:
    """Remove a subject's entry and return it; None where there was none."""
    entries_of(path)
    return await change_json(path, lambda database: database.get("contexts", {}).pop(subject.key, None))


def read_entry(path: Path, subject: Subject) -> dict[str, Any] | None:
    """Return a subject's entry; None where there is none."""
    return entries_of(path).get(subject.key)


async def sweep(
    path: Path, panes: Sequence[PaneInfo], now_s: float, host: str | None = None
) -> dict[str, dict[str, Any]]:
    """Drop the entries of a host's dead panes, refresh its stale ones, and return all entries by key.

    `now_s` is a time before the host's panes were listed.
    """
    alive = {_key_of(pane, host): pane for pane in panes if not pane.dead}
    servers = {int(pane.server_pid) for pane in panes}

    def change(database: dict[str, Any]) -> dict[str, dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = database.setdefault("contexts", {})
        for key, entry in list(entries.items()):
            if "pane_id" not in entry or entry.get("host") != host:
                continue
            if key in alive:
                _refresh(entry, alive[key], now_s)
            elif entry["server_pid"] in servers or not _runs(entry["server_pid"], host):
                del entries[key]
        return entries

    return await change_json(path, change) if entries_of(path) else {}


def _key_of(pane: PaneInfo, host: str | None) -> str:
    return f"{host or 'local'}/{pane.server_pid}/{pane.pane_id}"


def _identity(subject: Subject) -> dict[str, object]:
    pane, host = subject.pane, subject.target.host
    if pane is None:
        return {"host": host}
    return {
        "host": host,
        "pane_id": pane.pane_id,
        "server_pid": int(pane.server_pid),
        "current_dir": pane.path,
    }


def _refresh(entry: dict[str, Any], pane: PaneInfo, now_s: float) -> None:
    """Take the label from tmux, unless the entry was written after `now_s`, when tmux was asked, and where the entry is
    stale the directory.

    tmux can't know the directory in a pane that went to another host.
    """
    if entry.get("updated_at_s", 0) < now_s:
        entry.pop("label", None)
        if pane.label:
            entry["label"] = pane.label
    if now_s - entry.get("updated_at_s", 0) >= STALE_AFTER_S and not entry.get("ssh_detected"):
        entry["current_dir"], entry["updated_at_s"] = pane.path, now_s


def _runs(pid: int, host: str | None) -> bool:
    """Say whether another tmux server of this machine (another socket) runs; on a host only its own list tells."""
    if host is not None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

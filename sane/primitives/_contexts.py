"""The context database: what is known about panes and hosts, in one JSON file.

An entry is kept under the pane's own identity (host, process id of its tmux server, pane id), so that a pane renamed or
moved is still the same one, and a pane of a restarted server is another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sane.core.target import Target, parse_target
from sane.primitives._state_file import change_json, read_json
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer

STALE_AFTER_S = 300.0
LIST_FORMAT = "#{pane_id} #{pid} #{pane_dead} #{pane_current_path}"  # a path may hold blanks, so it comes last


@dataclass(frozen=True, slots=True)
class LivePane:
    """Hold what tmux says of a pane that lives."""

    pane_id: str
    server_pid: int
    current_dir: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Name what an entry is about; `live` None is a host without a pane."""

    target: Target
    live: LivePane | None

    @property
    def key(self) -> str:
        """Return the key of its entry."""
        if self.live is None:
            return str(self.target)
        return f"{self.target.host or 'local'}/{self.live.server_pid}/{self.live.pane_id}"


def contexts_path(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return $TMUX_SANE_CONTEXT_HOME/contexts.json where that is set, else contexts.json in the state directory."""
    home = environ.get("TMUX_SANE_CONTEXT_HOME")
    return (Path(home) if home else state_dir) / "contexts.json"


async def find_subject(context: Context, text: str) -> Subject:
    """Return what a target means now. Raises NotFoundError where its pane does not exist."""
    target = parse_target(text)
    if target.pane is None:
        return Subject(target, None)
    server = TmuxServer(await context.machine(target.host))
    pane_id = (await server.find_pane(target.pane)).pane_id
    return Subject(target, next(pane for pane in await live_panes(server) if pane.pane_id == pane_id))


async def live_panes(server: TmuxServer) -> list[LivePane]:
    """Return every living pane of a tmux server; none where no server runs."""
    done = await server.run("list-panes", "-a", "-F", LIST_FORMAT)
    panes: list[LivePane] = []
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines() if done.exit_code == 0 else ():
        pane_id, pid, dead, current_dir = (*line.split(" ", 3), "")[:4]
        if dead == "0":
            panes.append(LivePane(pane_id, int(pid), current_dir))
    return panes


def write_entry(
    path: Path, subject: Subject, fields: Mapping[str, object], now_s: float, *, fresh: bool = False
) -> dict[str, Any]:
    """Set fields of a subject's entry, made where it is absent (or `fresh`), and return the entry."""

    def change(database: dict[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = database.setdefault("contexts", {})
        old: dict[str, Any] = {} if fresh else entries.get(subject.key, {})
        entry: dict[str, Any] = {"created_at_s": now_s, **_identity(subject), **old, **fields, "updated_at_s": now_s}
        entry["pane"] = str(subject.target)
        entries[subject.key] = entry
        return entry

    return change_json(path, change)


def delete_entry(path: Path, subject: Subject) -> dict[str, Any] | None:
    """Remove a subject's entry and return it; None where there was none."""
    return change_json(path, lambda database: database.get("contexts", {}).pop(subject.key, None))


def read_entry(path: Path, subject: Subject) -> dict[str, Any] | None:
    """Return a subject's entry; None where there is none."""
    return read_json(path).get("contexts", {}).get(subject.key)


def sweep(path: Path, live: Iterable[LivePane], now_s: float, host: str | None = None) -> dict[str, dict[str, Any]]:
    """Drop the entries of a host's dead panes, refresh its stale ones, and return all entries by key."""
    alive = {f"{host or 'local'}/{pane.server_pid}/{pane.pane_id}": pane for pane in live}
    servers = {pane.server_pid for pane in alive.values()}

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

    return change_json(path, change) if path.exists() else {}


def _identity(subject: Subject) -> dict[str, object]:
    if subject.live is None:
        return {"host": subject.target.host}
    live = subject.live
    return {
        "host": subject.target.host,
        "pane_id": live.pane_id,
        "server_pid": live.server_pid,
        "current_dir": live.current_dir,
    }


def _refresh(entry: dict[str, Any], live: LivePane, now_s: float) -> None:
    """Take the directory from tmux where the entry is stale; tmux can't know it in a pane that went to another host."""
    if now_s - entry.get("updated_at_s", 0) >= STALE_AFTER_S and not entry.get("ssh_detected"):
        entry["current_dir"], entry["updated_at_s"] = live.current_dir, now_s


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

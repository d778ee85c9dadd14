"""The processes of a lab, found in /proc and never mistaken for others.

A pid alone names nothing: it is used again. A process is its pid and its start, and a signal goes through a pidfd
that was opened before the start was compared, so it can't reach a successor.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Name one process for ever: `started` is the boot's id and the start in clock ticks since that boot."""

    pid: int
    started: str


class _Row(NamedTuple):
    parent: int
    state: str
    name: str
    start_ticks: str


def identify(pid: int) -> ProcessId | None:
    """Return the process that has this pid now; None when there is none, or only its corpse."""
    row = _read_row(pid)
    return None if row is None or row.state in "ZX" else ProcessId(pid, f"{_boot_id()}/{row.start_ticks}")


def is_alive(process: ProcessId | None) -> bool:
    """Return whether the very same process still runs (a stopped one does)."""
    return process is not None and identify(process.pid) == process


def is_stopped(process: ProcessId) -> bool:
    """Return whether a process is stopped (SIGSTOP)."""
    row = _read_row(process.pid)
    return row is not None and row.state == "T"


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to that process and no other. Return False when it has gone."""
    descriptor = _open(process)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def end(processes: Iterable[ProcessId], *, timeout_s: float = 10.0) -> None:
    """Kill processes and wait until they have gone, at most `timeout_s`. Stopped ones end, too."""
    opened = {d: p for p in processes if (d := _open(p)) is not None}
    poll = select.poll()
    try:
        # All are stopped first: as on a machine that dies, none may note the end of another one.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for descriptor in opened:
                with contextlib.suppress(ProcessLookupError):  # it ended on its own just now
                    signal.pidfd_send_signal(descriptor, number)
        for descriptor in opened:
            poll.register(descriptor, select.POLLIN)
        waiting, deadline = set(opened), time.monotonic() + timeout_s
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)
    finally:
        for descriptor, process in opened.items():
            os.close(descriptor)
            _reap(process.pid)


def descendants(roots: Collection[int]) -> set[int]:
    """Return the pids of `roots` that exist, and of everything under them."""
    rows = _table()
    children: dict[int, list[int]] = {}
    for pid, row in rows.items():
        children.setdefault(row.parent, []).append(pid)
    found: set[int] = set()
    pending = [pid for pid in roots if pid in rows]
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children.get(pid, [])
    return found


def with_environment(variable: str, *, under: Path, exactly: bool) -> set[int]:
    """Return the pids whose environment has `variable` set to the path `under`, or (unless `exactly`) to one in it."""
    mark = f"\0{variable}={under}".encode()
    mark += b"\0" if exactly else b"/"
    return {pid for pid in _pids() if mark in b"\0" + _read(pid, "environ")}


def with_argument(text: str, name: str) -> set[int]:
    """Return the pids of programs whose name starts with `name` and whose command line has `text` in it."""
    mark = text.encode()
    return {p for p, row in _table().items() if row.name.startswith(name) and mark in _read(p, "cmdline")}


def with_port(ports: Collection[int], name: str) -> set[int]:
    """Return the pids of programs whose name starts with `name` that hold a socket bound to one of these TCP ports."""
    inodes = _socket_inodes(ports)
    if not inodes:
        return set()
    return {pid for pid, row in _table().items() if row.name.startswith(name) and inodes & _sockets(pid)}


def own_lineage() -> set[int]:
    """Return the pids of this process and all its ancestors."""
    rows, lineage, pid = _table(), set[int](), os.getpid()
    while pid in rows and pid not in lineage:
        lineage.add(pid)
        pid = rows[pid].parent
    return lineage


def identify_all(pids: Iterable[int]) -> set[ProcessId]:
    """Return those of the pids that run now, as processes."""
    return {process for pid in pids if (process := identify(pid)) is not None}


def _open(process: ProcessId) -> int | None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return None
    if identify(process.pid) == process:
        return descriptor
    os.close(descriptor)
    return None


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not ours: its own parent takes it


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""  # gone, or somebody else's


def _read_row(pid: int) -> _Row | None:
    text = _read(pid, "stat").decode("utf-8", "replace")
    if not text:
        return None
    head, _, tail = text.rpartition(")")  # the name may itself contain blanks and parentheses
    fields = tail.split()
    return _Row(int(fields[1]), fields[0], head.partition("(")[2], fields[19])


def _table() -> Mapping[int, _Row]:
    return {pid: row for pid in _pids() if (row := _read_row(pid)) is not None}


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _socket_inodes(ports: Collection[int]) -> set[str]:
    own_ends = {f"{port:04X}" for port in ports}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return {row[9] for row in rows if row[1].partition(":")[2] in own_ends} - {"0"}


def _sockets(pid: int) -> set[str]:
    inodes: set[str] = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            inodes.add(os.readlink(entry.path).removeprefix("socket:[").removesuffix("]"))
    except OSError:
        pass  # gone meanwhile, or not ours to look into
    return inodes

"""What /proc says of a process, also while it goes away: between its opening and its reading that is another error."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int | str) -> bool:
    """Return whether a process exists and is no zombie, which whoever adopted it has not reaped yet."""
    state = _read(pid, "stat").rpartition(")")[2].split()
    return bool(state) and state[0] != "Z"


def name_of(pid: int) -> str:
    """Return the name of a process, "" when it has gone."""
    return _read(pid, "comm").strip()


def children_of(pid: int) -> list[int]:
    """Return the children of a process, none when it has gone."""
    return [int(word) for word in _read(pid, f"task/{pid}/children").split()]


def _read(pid: int | str, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""

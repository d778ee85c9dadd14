"""Small JSON files of sane's own state, shared by processes that know nothing of each other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sane.errors import UnavailableError
from sane.transports.offload import call_blocking

T = TypeVar("T")
LOCK_DEADLINE_S = 10.0
LOCK_PAUSE_S = 0.005


def read_json(path: Path) -> dict[str, Any]:
    """Return the object a file holds; empty when the file is absent, empty or no JSON object."""
    try:
        value = json.loads(path.read_bytes() or b"{}")
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


async def change_json(path: Path, change: Callable[[dict[str, Any]], T]) -> T:
    """Let `change` alter the object a file holds, alone among all processes, and return what it returns.

    The file (mode 0600) is replaced atomically, so a reader needs no lock. A file that is no JSON is kept beside as
    `NAME.broken`. Under asyncio the loop goes on while the lock is held elsewhere and while the disk writes.
    Raises UnavailableError when the lock is not free within 10 s.
    """
    return await call_blocking(lambda cancel_fd: _change(path, change, cancel_fd))


def _change(path: Path, change: Callable[[dict[str, Any]], T], cancel_fd: int) -> T:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(lock, path, cancel_fd)
        value = read_json(path)
        if not value and path.exists() and path.stat().st_size > 4:
            os.replace(path, path.with_name(f"{path.name}.broken"))
        before = json.dumps(value, sort_keys=True)
        result = change(value)
        after = json.dumps(value, sort_keys=True, indent=1)
        if json.dumps(value, sort_keys=True) != before or not path.exists():
            _replace(path, after.encode() + b"\n")
        return result
    finally:
        os.close(lock)


def _take(lock: int, path: Path, cancel_fd: int) -> None:
    import fcntl
    import select
    import time

    deadline = time.monotonic() + LOCK_DEADLINE_S
    watched = [cancel_fd] if cancel_fd >= 0 else []
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            is_cancelled = bool(select.select(watched, (), (), LOCK_PAUSE_S)[0])
            if is_cancelled or time.monotonic() >= deadline:
                raise UnavailableError(f"{path} is locked by another process", hint="Try again.") from None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)

"""Make the health files of a lab host lie: `unhealthy`, `stale` or `torn`.

A session's first shell runs this file as a program before its command and after it, so whoever reads a health file in
one session never sees unchanged what another wrote there. It imports the standard library alone, to start fast.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEALTH_FILE = "health.json"
OLD_S = 3600  # how far `stale` puts times back: longer than any poll interval in use
OLD_NONCE = "0" * 16
_MARKER = "health-fault"
_ORIGINALS = "health-originals.json"
Lie = Callable[[bytes, int], tuple[bytes, int]]  # (content, mtime_ns) -> the same, untrue


def start(root: Path, works: Path, kind: str) -> None:
    """Make every health file under `root` lie, now and whenever a session ends. `kind`: unhealthy, stale, torn."""
    _ = LIES[kind]
    (works / _MARKER).write_text(kind)
    apply(root, works)


def stop(works: Path) -> None:
    """End the lie: the health files that nobody has replaced since say again what they said."""
    (works / _MARKER).unlink(missing_ok=True)
    for path, original in _load_originals(works).items():
        with contextlib.suppress(OSError):
            if _digest(Path(path).read_bytes()) == original["lie"]:
                _replace(Path(path), base64.b64decode(original["content"]), original["mtime_ns"])
    (works / _ORIGINALS).unlink(missing_ok=True)


def apply(root: Path, works: Path) -> None:
    """Change the health files that tell the truth; those that lie already stay as they are."""
    try:
        marker = open(works / _MARKER)  # noqa: SIM115 - closed below, and its lock with it
    except OSError:
        return
    with marker:
        fcntl.flock(marker, fcntl.LOCK_EX)  # held for the milliseconds that another session needs
        kind = marker.read().strip()
        if kind in LIES:
            _apply_lie(LIES[kind], root, works)


def _apply_lie(lie: Lie, root: Path, works: Path) -> None:
    originals = _load_originals(works)
    known = {str(original["lie"]) for original in originals.values()}
    for path in _health_files(root):
        with contextlib.suppress(OSError):  # it may go away under us
            content, mtime_ns = path.read_bytes(), path.stat().st_mtime_ns
            if _digest(content) in known:
                continue
            lied, lied_mtime_ns = lie(content, mtime_ns)
            originals[str(path)] = {
                "content": base64.b64encode(content).decode(),
                "mtime_ns": mtime_ns,
                "lie": _digest(lied),
            }
            _replace(path, lied, lied_mtime_ns)
    temporary = works / f"{_ORIGINALS}.{os.getpid()}"
    temporary.write_text(json.dumps(originals))
    os.replace(temporary, works / _ORIGINALS)


def _say_unhealthy(content: bytes, mtime_ns: int) -> tuple[bytes, int]:
    return _dump({**_parse(content), "status": "unhealthy"}), mtime_ns


def _say_old(content: bytes, mtime_ns: int) -> tuple[bytes, int]:
    health = {key: _older(key, value) for key, value in _parse(content).items()}
    return _dump(health), mtime_ns - OLD_S * 1_000_000_000


def _tear(content: bytes, mtime_ns: int) -> tuple[bytes, int]:
    whole = content.strip() if content.strip().startswith(b"{") else _dump(_parse(content))
    return whole[: max(1, len(whole) // 2)], mtime_ns


LIES: dict[str, Lie] = {
    "unhealthy": _say_unhealthy,
    "stale": _say_old,
    "torn": _tear,
}


def _older(key: str, value: Any) -> Any:
    if key == "nonce":
        return OLD_NONCE if value != OLD_NONCE else "f" * 16
    if key.endswith(("_at", "time", "timestamp")):
        if isinstance(value, int | float) and not isinstance(value, bool):
            scale = 1000 if value > 1e11 else 1  # milliseconds since 1970 are beyond 1e11 since 1973
            return value - OLD_S * scale
        if isinstance(value, str):
            return _older_text(value)
    return value


def _older_text(value: str) -> str:
    from datetime import datetime, timedelta

    try:
        return (datetime.fromisoformat(value) - timedelta(seconds=OLD_S)).isoformat()
    except ValueError:
        return value


def _health_files(root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        path = Path(directory, HEALTH_FILE)
        if HEALTH_FILE in names and not path.is_symlink():
            yield path


def _parse(content: bytes) -> dict[str, Any]:
    try:
        health = json.loads(content)
    except ValueError:
        return {"status": "healthy"}
    return health if isinstance(health, dict) else {"status": "healthy"}  # pyright: ignore[reportUnknownVariableType]


def _dump(health: dict[str, Any]) -> bytes:
    return json.dumps(health).encode() + b"\n"


def _replace(path: Path, content: bytes, mtime_ns: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    mode = path.stat().st_mode & 0o777
    temporary.write_bytes(content)
    temporary.chmod(mode)
    os.utime(temporary, ns=(mtime_ns, mtime_ns))
    os.replace(temporary, path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _load_originals(works: Path) -> dict[str, Any]:
    try:
        return json.loads((works / _ORIGINALS).read_text())
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    apply(Path(sys.argv[1]), Path(sys.argv[2]))

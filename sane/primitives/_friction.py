"""The friction log: one JSON line for every operation that somebody thought worth noting."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path

from sane.core.paths import home_dir
from sane.errors import RemoteError, UsageError

LINE_LIMIT_BYTES = 64 << 10
LOOKS, WRITE_S = 5, 0.02  # one write takes far less


def log_path(log_file: str | None, environ: Mapping[str, str]) -> Path:
    """Return the log's place: `log_file`, else ~/.tmux-sane/friction.jsonl."""
    home = Path(home_dir(environ))
    if log_file is None:
        return home / ".tmux-sane" / "friction.jsonl"
    if not log_file:
        raise UsageError("log-file is empty")
    return home / log_file[2:] if log_file.startswith("~/") else Path(log_file)


def append_line(path: Path, entry: Mapping[str, object], *, make_folder: bool = False) -> None:
    """Append an entry as one line in one write, so that concurrent writers never mix. Raises RemoteError."""
    line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_LIMIT_BYTES:
        raise UsageError(f"the entry is longer than {LINE_LIMIT_BYTES} bytes", hint="Shorten --command or --reason.")
    try:
        if make_folder:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            line = b"\n" + line if _is_torn(path, fd) else line
            written = os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        no_folder = isinstance(error, FileNotFoundError) and not path.parent.exists()
        reason = f"there is no folder {path.parent}" if no_folder else error.strerror
        raise RemoteError(f"{path} can't be written: {reason}") from error
    if written < len(line):
        raise RemoteError(f"{path} took only {written} of {len(line)} bytes: the disk is full")


def _is_torn(path: Path, fd: int) -> bool:
    """Say whether a log ends inside a line, which a writer left that was killed or had no room on the disk.

    One that is just writing shows such an end too, where its line goes over the end of a page, but not for long.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    for _ in range(LOOKS):
        end = _end_of(path)
        if end is None or end[1] == b"\n":
            return False
        time.sleep(WRITE_S)
        if _end_of(path) == end:
            return True
    return False


def _end_of(path: Path) -> tuple[int, bytes] | None:
    """Return where a file's last byte is, and that byte; None where it is empty, or may not be read."""
    try:
        with path.open("rb") as file:
            return file.seek(-1, os.SEEK_END), file.read(1)
    except OSError:
        return None


def read_lines(path: Path) -> Iterator[dict[str, object] | None]:
    """Yield each entry of a log, None for a line that is no entry; nothing when there is no log. Raises RemoteError."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield _entry(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RemoteError(f"{path} can't be read: {error.strerror}") from error


def _entry(line: bytes) -> dict[str, object] | None:
    """Return the entry that a line is; one with half of a surrogate pair or a number beyond every float is none."""
    try:
        value = json.loads(line, parse_constant=_number, parse_float=_number, parse_int=_whole_number)
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def _whole_number(text: str) -> int:
    _number(text)
    return int(text)

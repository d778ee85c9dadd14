"""Full outputs of steps, in files beside the log: STATE/outputs/DEPLOYMENT/HOST/STEP-ATTEMPT.log."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from sane.errors import StoreError, UsageError

DIRECTORY = "outputs"
LIMIT_BYTES = 64 << 20
MAX_NAME_CHARS = 100  # with a suffix of 13 far below the 255 bytes of common file systems
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@:")


class Pruned(NamedTuple):
    """Count what `prune_outputs` removed."""

    deployments: int
    size_bytes: int


def file_name(name: str) -> str:
    """Return a name as one path component, a different one for each: other characters as %XX, long ones with a hash."""
    coded = "".join(c if c in PLAIN else "".join(f"%{b:02X}" for b in c.encode(errors="surrogatepass")) for c in name)
    if coded.startswith("."):
        coded = "%2E" + coded[1:]
    if len(coded) > MAX_NAME_CHARS:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
        coded = f"{coded[:MAX_NAME_CHARS]}%{digest}"
    return coded or "%"


class OutputFile:
    """Append one step's output to its file, up to a limit; what is beyond it is counted, and said at the end."""

    def __init__(self, path: Path, descriptor: int, size_bytes: int, limit_bytes: int) -> None:
        self.path = path
        self.dropped_bytes = 0
        self._descriptor = descriptor
        self._left_bytes = max(0, limit_bytes - size_bytes)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreError when the disk refuses them."""
        kept = data[: self._left_bytes]
        self.dropped_bytes += len(data) - len(kept)
        self._left_bytes -= len(kept)
        self._write_all(kept)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise StoreError(
                f"the output file {self.path} can't be written: {error.strerror}", hint="Free space on that disk."
            ) from None

    def close(self) -> None:
        """Close the file, with a last line on what was left out; safe to call twice."""
        if self._descriptor < 0:
            return
        try:
            if self.dropped_bytes:
                self._write_all(f"\n[{self.dropped_bytes} bytes more were not kept]\n".encode())
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def output_path(state_dir: Path, deployment: str, host: str, step: str, attempt: int) -> Path:
    """Return where an attempt's output belongs."""
    directory = state_dir / DIRECTORY / file_name(deployment) / file_name(host)
    return directory / f"{file_name(step)}-{attempt}.log"


def open_output(
    state_dir: Path, deployment: str, host: str, step: str, attempt: int, *, limit_bytes: int = LIMIT_BYTES
) -> OutputFile:
    """Open the file of an attempt's output, mode 0600; one that is there (the attempt was resumed) is appended to.

    Raises StoreError when it can't be opened, or when something else than a regular file of ours is in its place.
    """
    if attempt < 1:
        raise UsageError(f"attempt must be 1 or more, got {attempt}")
    path = output_path(state_dir, deployment, host, step, attempt)
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        for directory in (state_dir, state_dir / DIRECTORY, path.parent.parent, path.parent):
            directory.mkdir(mode=0o700, exist_ok=True, parents=directory == state_dir)
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            descriptor = os.open(path, flags)
    except OSError as error:
        raise StoreError(f"the output file {path} can't be opened: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(descriptor)
        raise StoreError(f"{path} is not a regular file of ours", hint="Move it away; sane writes step outputs there.")
    return OutputFile(path, descriptor, status.st_size, limit_bytes)


def prune_outputs(
    state_dir: Path, *, now_s: float, max_age_s: float, max_bytes: int, keep: Collection[str] = ()
) -> Pruned:
    """Remove the outputs of whole deployments: those older than `max_age_s`, then the oldest down to `max_bytes`.

    The age is that of the newest file. Deployments in `keep` (those that run) stay, and count. No link is followed.
    """
    root = state_dir / DIRECTORY
    if not root.is_dir():
        return Pruned(0, 0)
    kept = {file_name(name) for name in keep}
    found = sorted(
        (*_age_and_size(entry), entry) for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()
    )
    total = sum(size for _, size, _ in found)
    count = removed_bytes = 0
    for changed_s, size, directory in found:
        if directory.name in kept or (changed_s >= now_s - max_age_s and total - removed_bytes <= max_bytes):
            continue
        with contextlib.suppress(FileNotFoundError):  # somebody else prunes, too
            shutil.rmtree(directory)
        count, removed_bytes = count + 1, removed_bytes + size
    return Pruned(count, removed_bytes)


def _age_and_size(directory: Path) -> tuple[float, int]:
    newest_s, size = directory.lstat().st_mtime, 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(parent, name))
                newest_s, size = max(newest_s, status.st_mtime), size + status.st_size
    return newest_s, size

"""Read a bundle on this machine: a directory, or a .tar.gz, each as a manifest and, on demand, its contents."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

from sane.core.host.bundle import MAX_BYTES, MAX_ENTRIES, BundleEntry, Manifest, make_manifest
from sane.errors import NotFoundError, UsageError

_CHUNK = 1 << 20
_UNPACKED_BYTES = 4 << 30  # a small archive can be made to unpack without end


def read_manifest(source: str) -> Manifest:
    """Return the manifest of a directory or .tar.gz. Raises NotFoundError, UsageError."""
    path = Path(source).expanduser()
    try:
        return make_manifest((entry for entry, _ in _entries(path)), source)
    except FileNotFoundError:
        raise NotFoundError(f"there is no bundle {source}", hint="Build it first.") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UsageError(f"{source} is no whole .tar.gz: {error}", hint="Pack it again.") from None
    except OSError as error:
        raise UsageError(f"the bundle {source} can't be read: {error.strerror or error}") from None


def pack(source: str, manifest: Manifest, wanted: Collection[str]) -> bytes:
    """Return a gzipped tar of the manifest and the contents with the hashes `wanted`, each named by its hash.

    Raises UsageError where the bundle changed since its manifest was made, or more is missing than can be sent.
    """
    sizes = {entry.sha256: entry.size_bytes for entry in manifest.files}
    if (total := sum(sizes[name] for name in wanted)) > MAX_BYTES:
        raise UsageError(f"{total >> 20} MB of {source} are missing there, {MAX_BYTES >> 20} MB can be sent at once")
    left, buffer = set(wanted), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1, format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, "manifest", manifest.text())
        for entry, read in _entries(Path(source).expanduser()):
            if entry.sha256 in left:
                left.discard(entry.sha256)
                content = read()
                if hashlib.sha256(content).hexdigest() != entry.sha256:
                    raise UsageError(f"{entry.path} of {source} changes while it is sent", hint="Push it again.")
                _add(archive, entry.sha256, content)
    if left:
        raise UsageError(f"the bundle {source} changed while it was sent", hint="Push it again.")
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _entries(path: Path) -> Iterator[tuple[BundleEntry, Callable[[], bytes]]]:
    if path.is_dir():
        yield from _of_directory(path)
    else:
        yield from _of_archive(path)


def _of_directory(top: Path) -> Iterator[tuple[BundleEntry, Callable[[], bytes]]]:
    count = 0
    for folder, names, files in os.walk(top, onerror=_raise):
        base = Path(folder)
        links = [name for name in names if (base / name).is_symlink()]
        count += len(files) + len(links)
        if count > MAX_ENTRIES:
            raise UsageError(f"the bundle {top} has more than {MAX_ENTRIES:,} files", hint="Pack parts into archives.")
        if not names and not files and base != top:
            yield BundleEntry("d", base.relative_to(top).as_posix()), bytes
        for name in (*links, *files):
            yield _of_file(base / name, (base / name).relative_to(top).as_posix())


def _raise(error: OSError) -> None:
    raise error


def _of_file(file: Path, path: str) -> tuple[BundleEntry, Callable[[], bytes]]:
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode):
        return BundleEntry("l", path, 0o777, target=os.readlink(file)), bytes
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{file} is no file, link or directory", hint="A bundle holds nothing else.")
    with file.open("rb") as opened:
        digest, size = _digest(opened)
    return BundleEntry("f", path, stat.S_IMODE(status.st_mode) & 0o777, digest, size), file.read_bytes


def _of_archive(path: Path) -> Iterator[tuple[BundleEntry, Callable[[], bytes]]]:
    with tempfile.TemporaryFile() as plain, tarfile.open(fileobj=_unpacked(path, plain), mode="r:") as archive:
        directories: set[str] = set()
        filled: set[str] = set()
        for count, member in enumerate(archive):
            if count > MAX_ENTRIES:
                raise UsageError(f"the bundle {path} has more than {MAX_ENTRIES:,} files")
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            parent = name.rpartition("/")[0]
            while parent and parent not in filled:
                filled.add(parent)
                parent = parent.rpartition("/")[0]
            if member.isdir():
                directories.add(name)
            else:
                yield _of_member(archive, member, name, path)
        for name in sorted(directories - filled):
            yield BundleEntry("d", name), bytes


def _unpacked(path: Path, plain: IO[bytes]) -> IO[bytes]:
    """Return the archive without its compression: each file is read from its place, without unpacking again."""
    size = 0
    with gzip.open(path) as packed:
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            if size > _UNPACKED_BYTES:
                raise UsageError(f"{path} unpacks to more than {_UNPACKED_BYTES >> 30} GB")
            plain.write(chunk)
    plain.seek(0)
    return plain


def _of_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, path: Path
) -> tuple[BundleEntry, Callable[[], bytes]]:
    if member.issym():
        return BundleEntry("l", name, 0o777, target=member.linkname), bytes
    opened = archive.extractfile(member) if member.isreg() or member.islnk() else None
    if opened is None:
        raise UsageError(f"{name} in {path} is no file, link or directory", hint="A bundle holds nothing else.")
    digest, size = _digest(opened)

    def read() -> bytes:
        again = archive.extractfile(member)
        return again.read() if again else b""

    return BundleEntry("f", name, member.mode & 0o777, digest, size), read


def _digest(opened: IO[bytes]) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    while chunk := opened.read(_CHUNK):
        found.update(chunk)
        size += len(chunk)
    return found.hexdigest(), size

"""A bundle: the files of one version, named by their content. Its manifest is text, its digest the manifest's SHA-256.

A manifest has one line a file, link or empty directory, sorted by path, its fields parted by tabs:

    f  MODE  SHA256  SIZE  PATH
    l  777   -       0     PATH  TARGET
    d  755   -       0     PATH

Paths are relative, with `/`; names with control characters or backslashes are refused, so every line can be read by
the tools that every host has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sane.errors import UsageError

MAX_ENTRIES = 50_000  # the host makes each with a process of its own: about 1 ms
MAX_BYTES = 512 << 20  # what is missing on the host is sent from memory
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """Describe one file (`kind` f), symbolic link (l, with its `target`) or empty directory (d) of a bundle."""

    kind: str
    path: str
    mode: int = 0o755
    sha256: str = "-"
    size_bytes: int = 0
    target: str = ""

    def line(self) -> str:
        """Return the entry as its line of the manifest."""
        fields = [self.kind, f"{self.mode:o}", self.sha256, str(self.size_bytes), self.path]
        return "\t".join([*fields, self.target] if self.kind == "l" else fields)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Hold the entries of a bundle, sorted by path; the digest covers paths, modes and contents, no times or owners."""

    entries: tuple[BundleEntry, ...]

    @property
    def files(self) -> tuple[BundleEntry, ...]:
        """Return the regular files."""
        return tuple(entry for entry in self.entries if entry.kind == "f")

    def text(self) -> bytes:
        """Return the manifest as it is kept on hosts."""
        return "".join(f"{entry.line()}\n" for entry in self.entries).encode("utf-8", "surrogateescape")

    @property
    def digest(self) -> str:
        """Return the name of the bundle: 64 hexadecimal digits."""
        return hashlib.sha256(self.text()).hexdigest()


def make_manifest(entries: Iterable[BundleEntry], where: str) -> Manifest:
    """Return the manifest of these entries. Raises UsageError, naming the bundle, for what no host could hold."""
    found = sorted(entries, key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    if not found:
        raise UsageError(f"the bundle {where} is empty", hint="Build it first.")
    if len(found) > MAX_ENTRIES:
        raise UsageError(f"the bundle {where} has more than {MAX_ENTRIES:,} files", hint="Pack parts into archives.")
    leaves: set[str] = set()
    for entry in found:
        check_path(entry.path, where)
        if entry.kind == "l":
            _check_text(entry.target, where)
        if entry.path in leaves:
            raise UsageError(f"the bundle {where} has '{entry.path}' twice")
        leaves.add(entry.path)
    for entry in found:
        parent = entry.path
        while (parent := parent.rpartition("/")[0]) != "":
            if parent in leaves:
                raise UsageError(f"the bundle {where} has '{entry.path}' below '{parent}', which is no directory")
    return Manifest(tuple(found))


def check_path(path: str, where: str) -> None:
    """Refuse a path that leaves the bundle or that a host could not hold. Raises UsageError."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"the bundle {where} has the path '{path}', which does not stay inside it")
    if len(_bytes(path)) > MAX_PATH_BYTES or any(len(_bytes(part)) > MAX_NAME_BYTES for part in parts):
        raise UsageError(f"the bundle {where} has a path that is too long: '{path[:80]}…'")
    _check_text(path, where)


def _check_text(text: str, where: str) -> None:
    if not text or "\\" in text or any(ord(char) < 32 or ord(char) == 127 for char in text):
        shown = text.encode("unicode_escape", "surrogatepass").decode()[:80]
        raise UsageError(
            f"the bundle {where} has the name '{shown}'", hint="Names must hold no control characters and backslashes."
        )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_digest(text: str) -> bool:
    """Return whether a text is a bundle's digest."""
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)

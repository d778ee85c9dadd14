"""sane-create-file: replace a file on a target, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sane.errors import UsageError
from sane.primitives._replace import replace_file
from sane.primitives._script import backup_path, real_path
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclass(frozen=True, slots=True)
class CreatedFile:
    """Answer where a file is now and what it holds; `checksum` is MD5, as scripts expect."""

    status: str
    path: str
    checksum: str
    sha256: str
    size_bytes: int
    backup_path: str | None
    unchanged: bool | None


@verb(access="write", destructive=True, example="sane-create-file local: ~/motd 'hello there'")
async def create_file(
    context: Context,
    target: Annotated[str, "where"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    content: Annotated[str, "what it shall hold; a newline is added"],
    backup: Annotated[bool, "keep the old file in /var/tmp"] = True,
    *,
    exact: Annotated[bool, "add no newline"] = False,
    encoding: Annotated[Literal["utf-8", "base64"], "how CONTENT is written"] = "utf-8",
    mode: Annotated[str | None, "octal mode, as chmod takes it; default: kept, or what the umask leaves"] = None,
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> CreatedFile:
    """Replace a file on the target atomically, keeping its mode and owner, with a backup of the old one.

    Writing what is there already changes nothing and makes no backup. A symbolic link is written through.
    Raises RemoteError naming the path and the reason; then the file is as it was.
    """
    import hashlib

    data = _bytes_of(content, encoding) + (b"" if exact else b"\n")
    fields = await replace_file(
        context,
        target,
        path,
        data,
        display=f"sane-create-file {path}",
        backup=backup,
        mode=_checked_mode(mode),
        timeout_s=timeout_s,
    )
    return CreatedFile(
        status="created",
        path=real_path(path, fields),
        checksum=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        backup_path=backup_path(path, fields),
        unchanged=True if "unchanged" in fields else None,
    )


def _bytes_of(content: str, encoding: str) -> bytes:
    if encoding == "utf-8":
        return content.encode("utf-8", "surrogateescape")
    import base64

    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise UsageError(f"content is not base64: {error}") from error


def _checked_mode(mode: str | None) -> str:
    if mode is None:
        return ""
    if not (3 <= len(mode) <= 4 and all(digit in "01234567" for digit in mode)):
        raise UsageError(f"mode must be three or four octal digits, got '{mode}'")
    return mode

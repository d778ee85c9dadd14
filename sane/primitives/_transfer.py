"""What both directions of a transfer share."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sane.errors import RemoteError
from sane.primitives.checksum_file import checksum_file
from sane.transports.context import Context

LIMIT_BYTES = 1 << 30  # a transfer passes through memory
WORMHOLE_CODE = re.compile(r"\d+(-[A-Za-z0-9]+)+")
NO_WORMHOLE = "magic-wormhole is not installed there (the command wormhole)"


@dataclass(frozen=True, slots=True)
class Transferred:
    """Answer a transfer; `status` is transferred, or waiting (for a receiver with `code`). `checksum` is MD5."""

    status: str
    path: str
    size: int | None
    checksum: str | None
    sha256: str | None = None
    code: str | None = None
    method: str = "transport"


async def must_match(context: Context, target: str, path: str, data: bytes) -> None:
    """Compare bytes with a target's file by SHA-256. Raises RemoteError when they differ."""
    there = await checksum_file(context, target, path)
    if there.size_bytes != len(data) or there.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise RemoteError(f"{path} did not arrive as it was sent", hint="Was it changed meanwhile? Try again.")


def transferred(path: str, data: bytes) -> Transferred:
    """Return the answer for bytes that arrived at a path."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Transferred("transferred", path, len(data), md5, hashlib.sha256(data).hexdigest())

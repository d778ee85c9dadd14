"""What a deployment was made of, as a host keeps it beside its record: one line, compressed, named by its SHA-256."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from sane.core.strict_json import parse_object

MAX_PACKED_BYTES = 256 << 10  # a workflow is a few KB; beyond this the record names no source
MAX_TEXT_BYTES = 8 << 20  # what a host says is not trusted to unpack to less


def pack_source(source: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return a source's name and the line to keep; ("", b"") where it is too large."""
    text = json.dumps(source, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    packed = base64.b64encode(zlib.compress(text, 9))
    if len(packed) > MAX_PACKED_BYTES or len(text) > MAX_TEXT_BYTES:
        return "", b""
    return hashlib.sha256(packed).hexdigest(), packed


def unpack_source(name: str, packed: bytes) -> dict[str, Any] | None:
    """Return the source of a line that a host kept; None where it is not the one of that name."""
    if hashlib.sha256(packed).hexdigest() != name:
        return None
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(base64.b64decode(packed), MAX_TEXT_BYTES)
        return parse_object(text.decode("utf-8", "surrogatepass")) if unpacking.eof else None
    except (ValueError, zlib.error):
        return None

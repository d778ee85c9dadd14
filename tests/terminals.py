"""Read what programs wrote on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os


def read_terminal(descriptor: int) -> bytes:
    """Return all that was written, once the other end is closed: one read gives what has come by then, not all."""
    shown = bytearray()
    with contextlib.suppress(OSError):  # EIO: its end
        while piece := os.read(descriptor, 1 << 16):
            shown += piece
    return bytes(shown)

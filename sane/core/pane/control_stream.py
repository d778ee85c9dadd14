r"""Read what tmux's control mode sends: octal-escaped pane output, and the marks of a run in it.

`%output` writes a byte below 32, and a backslash, as `\ooo`; every other byte as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sane.core.pane.framing import CHECKSUM, DATA, FEED, OSC_NUMBER, START

MARK_TAIL_BYTES = 160  # the beginning of an encoded mark, up to its token, is shorter than this
MARK_LIMIT_BYTES = 1 << 16
DATA_PREFIX = f"{DATA};".encode()
OCTAL = {b"%03o" % byte: bytes([byte]) for byte in range(256)}


class Mark(NamedTuple):
    """Hold one mark: its kind and its arguments."""

    kind: str
    arguments: tuple[str, ...]


def decode_octal(data: bytes) -> bytes:
    r"""Return the bytes that control mode wrote as `data`. An escape is never cut by the caller."""
    first, *rest = data.split(b"\\")
    if not rest:
        return data
    return first + b"".join([OCTAL[part[:3]] + part[3:] for part in rest])


def decode_output(data: bytes) -> bytes:
    r"""Return what a program wrote, from what came out of its terminal.

    A terminal turns each `\n` into `\r\n` (ONLCR); the reverse is exact: `\r\r\n` becomes `\r\n` again.
    """
    return decode_octal(data.replace(b"\\015\\012", b"\n"))


def decode_base64(lines: Sequence[bytes]) -> bytes:
    """Return what base64 lines hold. Raises ValueError where they are damaged."""
    import binascii

    return binascii.a2b_base64(b"".join(lines))


class OutputReader:
    """Find one run's marks in a pane's output and keep what is between START and the next mark.

    `feed` takes encoded output as it comes, in pieces cut anywhere. `output` holds the decoded first `limit_bytes`.
    """

    def __init__(self, token: str, limit_bytes: int) -> None:
        self._prefix = f"\\033]{OSC_NUMBER};{token};".encode()
        self._pending = b""
        self._kept: list[bytes] = []
        self._room = limit_bytes
        self._data_room = limit_bytes // 3 * 4 + 4
        self.marks: list[Mark] = []
        self.data: list[bytes] = []  # what DATA marks carried: base64
        self.data_length = 0  # of all of them, kept or not
        self.truncated = False
        self.started = False
        self.lines_outside = 0  # how many newlines came that belong to no output
        self.redrawn = False  # whether anything below a cursor was erased there: an editor drew its line anew

    def feed(self, encoded: bytes) -> bytes:
        """Take more output; return what of the command's output is now certain, decoded."""
        buffer = self._pending + encoded
        fresh: list[bytes] = []
        begin = 0
        while (at := buffer.find(self._prefix, begin)) >= 0 and (end := buffer.find(b"\\007", at)) >= 0:
            self._keep(buffer[begin:at], fresh)
            self._take_mark(buffer[at + len(self._prefix) : end])
            begin = end + 4
        # A mark under way may be long; one without an end (something else printed in it) is given up.
        cut = at if at >= 0 and len(buffer) - at < MARK_LIMIT_BYTES else max(begin, _safe_cut(buffer))
        self._keep(buffer[begin:cut], fresh)
        self._pending = buffer[cut:]
        return b"".join(fresh)

    def _take_mark(self, encoded: bytes) -> None:
        if encoded.startswith(DATA_PREFIX):
            data = encoded[len(DATA_PREFIX) :]
            self.data_length += len(data)
            kept = data[: self._data_room]
            self._data_room -= len(kept)
            self.truncated |= len(kept) < len(data)
            self.data.append(kept)
            return
        kind, *arguments = decode_octal(encoded).decode("utf-8", "replace").split(";")
        self.marks.append(Mark(kind, tuple(arguments)))
        if kind == START:  # whoever took it for begun before was wrong
            self._room += sum(map(len, self._kept))
            self._kept.clear()
        self.started = kind == START or (self.started and kind in (FEED, CHECKSUM))

    def flush(self) -> bytes:
        """Return what was held back because a mark could have begun there; for a run that ended without its END
        mark."""
        fresh: list[bytes] = []
        self._keep(self._pending, fresh)
        self._pending = b""
        return b"".join(fresh)

    def find(self, *kinds: str) -> Mark | None:
        """Return the first mark of one of these kinds (by its first letter), None when none came yet."""
        for mark in self.marks:
            if mark.kind[:1] in kinds:
                return mark
        return None

    def carried(self) -> bytes | None:
        """Return what the DATA marks carried; None where it is not what was sent, by the count behind it."""
        count = self.find(CHECKSUM)
        if count is None or count.arguments != (str(self.data_length),):
            return None
        try:
            return decode_base64(self.data)
        except ValueError:
            return None

    @property
    def output(self) -> bytes:
        """Return the command's output so far."""
        return b"".join(self._kept)

    def _keep(self, encoded: bytes, fresh: list[bytes]) -> None:
        if not self.started or not encoded:
            self.lines_outside += encoded.count(b"\\012")
            self.redrawn |= b"\\033[J" in encoded
            return
        data = decode_output(encoded)
        kept = data[: self._room]
        self.truncated |= len(kept) < len(data)
        self._room -= len(kept)
        if kept:
            self._kept.append(kept)
            fresh.append(kept)


def _safe_cut(buffer: bytes) -> int:
    r"""Return up to where a buffer can be decoded: not inside an escape, a `\r\n` or what may become a mark."""
    cut = len(buffer)
    mark = buffer.rfind(b"\\033]", max(0, cut - MARK_TAIL_BYTES))
    if mark >= 0 and buffer.find(b"\\007", mark) < 0:
        return mark
    last = buffer.rfind(b"\\", max(0, cut - 4))
    if last < 0:
        return cut
    return last - 4 if buffer[max(0, last - 4) : last] == b"\\015" else last


class ControlLines:
    """Cut a byte stream into lines."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their newlines."""
        if b"\n" not in data:
            self._rest.append(data)
            return []
        lines = b"".join([*self._rest, data]).split(b"\n")
        self._rest = [lines.pop()]
        return lines


def nested_output(token: str, data: bytes) -> bytes:
    r"""Return what was printed, from the raw output that a nested tmux piped to a file: between START and END, without
    the marks that it passed on, `\r\n` undone."""
    passed = rb"\x1bPtmux;\x1b\x1b\]%s;%s;[^\x07]*\x07\x1b\\" % (OSC_NUMBER.encode(), token.encode())
    data = re.sub(passed, b"", data)
    prefix = f"\x1b]{OSC_NUMBER};{token};".encode()
    start = data.find(prefix + START.encode() + b"\x07")
    begin = start + len(prefix) + 2 if start >= 0 else 0
    end = data.find(prefix, begin)
    return data[begin : end if end >= 0 else len(data)].replace(b"\r\n", b"\n")

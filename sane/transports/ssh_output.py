"""Gather what one command on an SSH connection writes, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable
from typing import Any

from sane.transports.ssh_library import asyncssh

STDERR = 1  # the data type of RFC 4254, section 5.2
MARK_LIMIT_BYTES = 1 << 16  # what a login shell's start-up files may write before the mark


class CommandSession(asyncssh.SSHClientSession[bytes]):
    """Gather what one command writes, up to a limit for each stream."""

    def __init__(self, limit_bytes: int, on_output: Callable[[bytes], object] | None) -> None:
        self.mark = secrets.token_hex(8)  # the word before the number of the process group
        self._mark = self.mark.encode()
        self._limit_bytes = limit_bytes
        self._on_output = on_output
        self._held = bytearray()  # stderr until the mark is seen
        self.lead = b""  # what stands before the script in its first line; a shell that can't parse that shows it
        self.refused = ""  # why the folder can't be entered, in place of the group
        self._kept: tuple[list[bytes], list[bytes]] = ([], [])
        self._room = [limit_bytes, limit_bytes]
        self.channel: Any = None
        self.group: int | None = None
        self.exit_code: int | None = None
        self.truncated = False
        self.failure: BaseException | None = None  # of the connection
        self.complaint: Exception | None = None  # of the caller's `on_output`
        self.activity = 0
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.activity += 1
        if datatype != STDERR:
            self._keep(0, data)
        elif not self._mark:
            self._keep(1, data)
        else:
            self._held += data
            self._look_for_mark()

    def _look_for_mark(self) -> None:
        # find, not a pattern: one with a random mark in it would be compiled anew for every command (0.4 ms)
        start = self._held.find(self._mark + b" ")
        end = self._held.find(b"\n", start) if start >= 0 else -1
        number = bytes(self._held[start + len(self._mark) + 1 : end]) if end >= 0 else b""
        self.refused = number.decode("utf-8", "replace")[2:] if number.startswith(b"- ") else ""
        if not number.isdigit() and not self.refused and len(self._held) < MARK_LIMIT_BYTES:
            return
        if number.isdigit():
            self.group = int(number)
            del self._held[start : end + 1]
        elif self.refused:
            del self._held[start:]
            self._mark = b""
            return
        self._release_held()

    def _release_held(self) -> None:
        self._mark, held = b"", bytes(self._held).replace(self.lead, b"") if self.lead else bytes(self._held)
        self._held.clear()
        if held:
            self._keep(1, held)

    def _keep(self, stream: int, data: bytes) -> None:
        kept = data[: self._room[stream]]
        self.truncated |= len(kept) < len(data)
        self._room[stream] -= len(kept)
        if not kept:
            return
        self._kept[stream].append(kept)
        if self._on_output is not None and self.complaint is None:
            try:
                self._on_output(kept)
            except Exception as error:  # must not tear down a connection that others share
                self.complaint = error
                self.exited.set()  # nobody waits for the rest

    def eof_received(self) -> bool:
        return True  # it may still read

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status
        self.exited.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.exit_code = 128 + _signal_number(signal)
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._held and not self.refused:
            self._release_held()
        if exc is not None and not self.exited.is_set():
            self.failure = self.failure or exc
        self.exited.set()
        self.closed.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def output(self, stream: int) -> bytes:
        """Return what was kept of stdout (0) or stderr (1)."""
        return b"".join(self._kept[stream])


def _signal_number(name: str) -> int:
    with contextlib.suppress(KeyError):
        return int(signal.Signals[f"SIG{name.partition('@')[0]}"])
    return 0

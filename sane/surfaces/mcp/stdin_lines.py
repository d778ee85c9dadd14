"""Standard input as lines under asyncio.

The protocol library reads it in a thread, which no signal ends: the server would outlive its own cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from typing import BinaryIO

TOO_LONG = "too long"  # no JSON begins so


@contextlib.asynccontextmanager
async def open_stdin_lines(limit_bytes: int) -> AsyncGenerator[AsyncIterator[str]]:
    """Yield the lines of standard input.

    Meanwhile descriptor 0 is the null device, so that nothing else reads the client's messages. Blank lines are left
    out; a line longer than `limit_bytes` comes as TOO_LONG.
    """
    mode = os.fstat(0).st_mode
    needs_no_waiting = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(0))  # and epoll takes no file
    wire = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if needs_no_waiting:
        with os.fdopen(wire, "rb", closefd=False) as file:
            yield _file_lines(file, limit_bytes)
        os.dup2(wire, 0)
        os.close(wire)
        return
    reader = asyncio.StreamReader(limit=limit_bytes)
    pipe = os.fdopen(wire, "rb", buffering=0, closefd=False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        yield _lines(reader)
    finally:
        transport.close()
        os.set_blocking(wire, True)  # the terminal or pipe is shared with whoever started us
        os.dup2(wire, 0)
        os.close(wire)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := await _line(reader):
        if not line.isspace():
            yield line.decode("utf-8", "replace")


async def _file_lines(file: BinaryIO, limit_bytes: int) -> AsyncIterator[str]:
    for line in file:
        if not line.isspace():
            yield TOO_LONG if len(line) > limit_bytes else line.decode("utf-8", "replace")


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line, b"" at the end."""
    is_whole = True
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await reader.readexactly(error.consumed)
            is_whole = False
            continue
        except asyncio.IncompleteReadError as error:
            line = error.partial
        return line if is_whole else TOO_LONG.encode()

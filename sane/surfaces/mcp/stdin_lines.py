"""Standard input as lines under asyncio.

The protocol library reads it in a thread, which no signal ends: the server would outlive its own cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator


@contextlib.asynccontextmanager
async def open_stdin_lines(limit_bytes: int) -> AsyncGenerator[AsyncIterator[str] | None]:
    """Yield the lines of standard input; None where it is a file or the null device, which need no waiting.

    Meanwhile descriptor 0 is the null device, so that nothing else reads the client's messages. Blank lines are left
    out; a line longer than `limit_bytes` comes as one that is no JSON.
    """
    mode = os.fstat(0).st_mode
    if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(0)):
        yield None
        return
    wire = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
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


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line, b"" at the end; of one that is too long only what no JSON begins with."""
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
        return line if is_whole else b"too long"

"""Stand in front of a lab host's port: say nothing, or pass everything on late.

    python -I -S relay.py FD silent
    python -I -S relay.py FD slow MS PORT

FD is a listening socket that whoever started this has bound already, so the port answers from the first moment. It
imports the standard library alone, to start fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

BUFFERED_CHUNKS = 64  # of at most 64 KB: 4 MB a direction, then the sender waits


async def relay_silently(listener: socket.socket) -> None:
    """Accept every connection, swallow what comes and never answer."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
        writer.close()

    async with await asyncio.start_server(swallow, sock=listener) as server:
        await server.serve_forever()


async def relay_slowly(listener: socket.socket, delay_s: float, port: int) -> None:
    """Pass each chunk on `delay_s` after it came, in both directions; bandwidth is not limited."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            pass_on(reader, inner_writer, delay_s), pass_on(inner_reader, writer, delay_s), return_exceptions=True
        )
        inner_writer.close()
        writer.close()

    async with await asyncio.start_server(join, sock=listener) as server:
        await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Copy one direction, each chunk at its own due time, then its end."""
    clock = asyncio.get_running_loop().time
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFERED_CHUNKS)

    async def receive() -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = await reader.read(65536)
            except OSError:
                chunk = b""
            await queue.put((clock() + delay_s, chunk))

    receiver = asyncio.create_task(receive())
    try:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - clock())
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
    finally:
        receiver.cancel()


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    listener = socket.socket(fileno=int(arguments[0]))
    os.chdir("/")
    if arguments[1] == "silent":
        asyncio.run(relay_silently(listener))
    else:
        asyncio.run(relay_slowly(listener, int(arguments[2]) / 1000, int(arguments[3])))


if __name__ == "__main__":
    main(sys.argv[1:])

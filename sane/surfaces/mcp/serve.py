"""Serve the tools on stdio, or on HTTP for clients that are not ours to start."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path
from typing import Any, cast

from sane.engine.context import AsyncContext, open_context
from sane.surfaces.http.listener import BACKLOG, url_of
from sane.surfaces.mcp.listening import bearer_token
from sane.surfaces.mcp.refusals import MOST_BYTES, Refusals
from sane.surfaces.mcp.server import ToolServer
from sane.surfaces.mcp.stdin_lines import open_stdin_lines

SHUTDOWN_S = 25


async def serve_stdio(tier: str, inventory: Path | None, limit_chars: int, names: Sequence[str]) -> None:
    """Serve one client on standard input and output until it goes away, or until SIGTERM or SIGHUP.

    `names` are the tools that are offered, none for all. Raises UsageError for one that is none.
    """
    from mcp.server.stdio import stdio_server

    async with _end_on_signals(), _open(inventory) as context, open_stdin_lines(MOST_BYTES) as lines:
        server = ToolServer(tier, context, limit_chars, names).build()
        refusals = Refusals()
        checked = cast("Any", refusals.check(lines))  # it iterates over the lines and asks no more of a file
        async with stdio_server(stdin=checked) as (receive, send), refusals.answering(receive, send) as messages:
            await server.run(messages, send, server.create_initialization_options())


async def serve_http(
    tier: str, inventory: Path | None, limit_chars: int, listener: socket.socket, names: Sequence[str]
) -> None:
    """Serve streamable HTTP at `http://HOST:PORT/mcp` on a socket that has that address, until it is stopped.

    Raises UsageError for a tool that is none.
    """
    from sane.surfaces.mcp.http_app import http_app

    async with _end_on_signals(), _open(inventory) as context:
        app = http_app(ToolServer(tier, context, limit_chars, names), listener.getsockname()[0], bearer_token())
        listener.listen(BACKLOG)
        print(f"sane mcp: {url_of(listener)}/mcp", file=sys.stderr, flush=True)
        await _serve_app(app, listener)


async def _serve_app(app: Any, listener: socket.socket) -> None:
    import uvicorn

    from sane.surfaces.mcp.http_app import MOST_CONNECTIONS, RoomyProtocol

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # the signals are ours: it would raise them anew, and nothing would be closed

    config = uvicorn.Config(
        app,
        log_level="warning",
        http=RoomyProtocol,
        ws="none",
        limit_concurrency=MOST_CONNECTIONS + 1,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = Quiet(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.handle_exit(signal.SIGTERM, None)  # this also ends the event streams of clients
        await asyncio.wait({serving})
        raise


@contextlib.asynccontextmanager
async def _open(inventory: Path | None) -> AsyncGenerator[AsyncContext]:
    loaded = None
    if inventory is not None:
        from sane.operations.files import load_inventory

        loaded = load_inventory(inventory)
    context = open_context(loaded)
    try:
        yield context
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def _end_on_signals() -> AsyncGenerator[None]:
    """Cancel the body at SIGTERM or SIGHUP, so that running commands are stopped before the end."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    told = False

    def end() -> None:
        nonlocal told
        told = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    try:
        yield
    except asyncio.CancelledError:
        if not told:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)

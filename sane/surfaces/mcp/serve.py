"""Serve the tools on stdio, or on HTTP for clients that are not ours to start."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any, cast

from sane.engine.context import AsyncContext, open_context
from sane.errors import UnavailableError, UsageError
from sane.surfaces.mcp.refusals import Refusals
from sane.surfaces.mcp.server import ToolServer
from sane.surfaces.mcp.stdin_lines import open_stdin_lines

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN_VARIABLE = "SANE_MCP_TOKEN"
MOST_BODY_BYTES = 32 << 20  # a file of 10 MB as base64 in JSON fits
MOST_CONNECTIONS = 256
MOST_SESSIONS = 64
SESSION_IDLE_S = 1800.0
SHUTDOWN_S = 25


async def serve_stdio(tier: str, inventory: str | None, limit_chars: int) -> None:
    """Serve one client on standard input and output until it goes away, or until SIGTERM or SIGHUP."""
    from mcp.server.stdio import stdio_server

    async with _end_on_signals(), _open(inventory) as context, open_stdin_lines(MOST_BODY_BYTES) as lines:
        server = ToolServer(tier, context, limit_chars).build()
        refusals = Refusals()
        checked = cast("Any", refusals.check(lines))  # it iterates over the lines and asks no more of a file
        async with stdio_server(stdin=checked) as (receive, send), refusals.answering(receive, send) as messages:
            await server.run(messages, send, server.create_initialization_options())


async def serve_http(tier: str, inventory: str | None, limit_chars: int, address: str) -> None:
    """Serve streamable HTTP at `http://HOST:PORT/mcp` until it is stopped.

    `SANE_MCP_TOKEN` is the bearer token that clients must send; without one only loopback addresses are served.
    Raises UsageError for an address that is none, or that needs a token; UnavailableError for one that is taken.
    """
    host, port = split_address(address)
    token = os.environ.get(TOKEN_VARIABLE, "")
    if host not in LOOPBACK and not token:
        raise UsageError(
            f"{host} is not a loopback address, so anyone could call the tools",
            hint=f"Set {TOKEN_VARIABLE}, or serve on 127.0.0.1.",
        )
    with listen(host, port) as listener:
        async with _end_on_signals(), _open(inventory) as context:
            app = http_app(ToolServer(tier, context, limit_chars), host, token)
            port = listener.getsockname()[1]
            print(f"sane mcp: http://{f'[{host}]' if ':' in host else host}:{port}/mcp", file=sys.stderr, flush=True)
            await _serve_app(app, listener)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises UnavailableError where that can't be."""
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise UnavailableError(
            f"{host}:{port} can't be served: {error.strerror or error}",
            hint="Another program may have that port. Name another one; 0 takes any that is free.",
        ) from error


async def _serve_app(app: Any, listener: socket.socket) -> None:
    import uvicorn

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # the signals are ours: it would raise them anew, and nothing would be closed

    config = uvicorn.Config(
        app, log_level="warning", limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SHUTDOWN_S
    )
    server = Quiet(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.handle_exit(signal.SIGTERM, None)  # this also ends the event streams of clients
        await asyncio.wait({serving})
        raise


def http_app(server: ToolServer, host: str, token: str) -> Any:
    """Return the ASGI application: the protocol at /mcp, behind the token where there is one.

    On loopback a request must name a loopback host and origin, so that a page in a browser can't reach it through a
    name that it resolves to 127.0.0.1; elsewhere the token does that.
    """
    app = server.build().streamable_http_app(
        host=host,
        max_request_body_size=MOST_BODY_BYTES,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=SESSION_IDLE_S,
    )
    return require_token(app, token) if token else app


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [HOST]:PORT. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"'{address}' is not HOST:PORT", hint="Write 127.0.0.1:8765.")
    return host.strip("[]"), int(port)


def require_token(app: Any, token: str) -> Any:
    """Return an application that answers 401 to a request without the bearer token."""
    expected = _digest(f"Bearer {token}".encode())

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] != "lifespan" and not hmac.compare_digest(_digest(given), expected):
            await _refuse(send)
        else:
            await app(scope, receive, send)

    return guarded


async def _refuse(send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"a bearer token is needed\n"})


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()  # equal lengths, so that the comparison tells nothing of the token's


@contextlib.asynccontextmanager
async def _open(inventory: str | None) -> AsyncGenerator[AsyncContext]:
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

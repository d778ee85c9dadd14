"""Serve the tools on stdio, or on HTTP for clients that are not ours to start."""

from __future__ import annotations

import hmac
import os
from typing import Any

from sane.engine.context import AsyncContext, open_context
from sane.errors import UsageError
from sane.surfaces.mcp.server import ToolServer

LOOPBACK = ("127.0.0.1", "localhost", "::1")


async def serve_stdio(tier: str, inventory: str | None, limit_chars: int) -> None:
    """Serve one client on standard input and output until it goes away."""
    from mcp.server.stdio import stdio_server

    context = _context(inventory)
    try:
        server = ToolServer(tier, context, limit_chars).build()
        async with stdio_server() as (receive, send):
            await server.run(receive, send, server.create_initialization_options())
    finally:
        await context.close()


async def serve_http(tier: str, inventory: str | None, limit_chars: int, address: str) -> None:
    """Serve streamable HTTP at `http://HOST:PORT/mcp` until it is stopped.

    `SANE_MCP_TOKEN` is the bearer token that clients must send; without one only loopback addresses are served.
    Raises UsageError for an address that is none, or that needs a token.
    """
    import uvicorn

    host, port = _split(address)
    token = os.environ.get("SANE_MCP_TOKEN", "")
    if host not in LOOPBACK and not token:
        raise UsageError(
            f"{host} is not a loopback address, so anyone could call the tools",
            hint="Set SANE_MCP_TOKEN, or serve on 127.0.0.1.",
        )
    context = _context(inventory)
    try:
        app = ToolServer(tier, context, limit_chars).build().streamable_http_app(host=host)
        guarded = _require_token(app, token) if token else app
        await uvicorn.Server(uvicorn.Config(guarded, host=host, port=port, log_level="warning")).serve()
    finally:
        await context.close()


def _context(inventory: str | None) -> AsyncContext:
    if inventory is None:
        return open_context(None)
    from sane.operations.files import load_inventory

    return open_context(load_inventory(inventory))


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"'{address}' is not HOST:PORT", hint="Write 127.0.0.1:8765.")
    return host.strip("[]"), int(port)


def _require_token(app: Any, token: str) -> Any:
    expected = f"Bearer {token}".encode()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and not hmac.compare_digest(headers.get(b"authorization", b""), expected):
            unauthorized = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": unauthorized})
            await send({"type": "http.response.body", "body": b"a bearer token is needed\n"})
            return
        await app(scope, receive, send)

    return guarded

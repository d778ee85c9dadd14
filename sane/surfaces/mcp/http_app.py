"""The tools over HTTP: who may call, and bounds on connections, bodies and sessions that strangers can't use up."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import h11
from mcp.server.transport_security import TransportSecuritySettings

from sane.surfaces.http.listener import is_loopback
from sane.surfaces.http.protocol import TimedProtocol
from sane.surfaces.mcp.refusals import MOST_BYTES, refusal_of
from sane.surfaces.mcp.server import ToolServer

MOST_CONNECTIONS = 256
MOST_SESSIONS = 64
SESSION_IDLE_S = 1800.0
BODY_PIECE_S, BODY_S = 10.0, 120.0  # for the next piece of a body, and for all of it

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]


class RoomyProtocol(TimedProtocol):
    """Make room for a new connection by closing an old one on which nothing is under way.

    Those that never asked for anything go first: silent strangers would keep everybody else out.
    """

    most_connections = MOST_CONNECTIONS
    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        if len(self.connections) > self.most_connections:
            others = [c for c in self.connections if isinstance(c, RoomyProtocol) and c is not self and c.is_idle()]
            if others:
                closed = min(others, key=lambda other: (other.has_asked(), other.since))
                self.connections.discard(closed)
                closed.transport.close()

    def is_idle(self) -> bool:
        """Return whether no request is under way."""
        return self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def has_asked(self) -> bool:
        """Return whether a request came over this connection."""
        return self.scope is not None  # pyright: ignore[reportUnnecessaryComparison]


def http_app(server: ToolServer, host: str, token: str) -> Any:
    """Return the ASGI application: the protocol at /mcp, behind the token where there is one; `host` is an address.

    On loopback a request must name a loopback host and origin, so that a page in a browser can't reach it through a
    name that it resolves to 127.0.0.1; elsewhere the token does that.
    """
    protocol = server.build()
    app = protocol.streamable_http_app(
        host=host,
        transport_security=_loopback_only(host) if is_loopback(host) else None,
        max_request_body_size=MOST_BYTES,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=SESSION_IDLE_S,
    )
    guarded = check_body(make_room(app, protocol.session_manager, server))
    return require_token(guarded, token) if token else guarded


def _loopback_only(host: str) -> TransportSecuritySettings:
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ipaddress.ip_address(host).version == 6 else host}
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[form for name in sorted(names) for form in (name, f"{name}:*")],
        allowed_origins=[f"http://{form}" for name in sorted(names) for form in (name, f"{name}:*")],
    )


def require_token(app: App, token: str) -> App:
    """Return an application that answers 401 to a request without the bearer token."""
    expected = _digest(token.encode())

    async def guarded(scope: Any, receive: Receive, send: Send) -> None:
        scheme, _, given = dict(scope.get("headers", ())).get(b"authorization", b"").partition(b" ")
        is_right = hmac.compare_digest(_digest(given.strip()), expected) and scheme.lower() == b"bearer"
        if scope["type"] != "lifespan" and not is_right:
            await _answer(send, 401, b"text/plain", b"a bearer token is needed\n", (b"www-authenticate", b"Bearer"))
        else:
            await app(scope, receive, send)

    return guarded


def check_body(app: App, piece_s: float = BODY_PIECE_S) -> App:
    """Return an application whose requests come with a whole body, and in time.

    A body that is no message is answered with its id and its fault, as a line on standard input is.
    """

    async def checked(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                messages = await _read_body(receive, piece_s)
        except TimeoutError:
            said = f"the body must come within {piece_s:g} s a piece, and {BODY_S:g} s in all\n".encode()
            await _answer(send, 408, b"text/plain", said, (b"connection", b"close"))
            return
        if messages[-1]["type"] == "http.disconnect":
            return  # nobody is there to be answered
        size = sum(len(message.get("body", b"")) for message in messages)
        refused = refusal_of(b"".join(m.get("body", b"") for m in messages)) if size <= MOST_BYTES else None
        if refused is not None:
            body = refused.model_dump_json(by_alias=True, exclude_unset=True).encode()
            await _answer(send, 400, b"application/json", body)
            return
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await app(scope, replay, send)

    return checked


async def _read_body(receive: Receive, piece_s: float) -> list[Message]:
    messages, size = list[Message](), 0
    while True:
        async with asyncio.timeout(piece_s):
            messages.append(await receive())
        size += len(messages[-1].get("body", b""))
        # One that is too long is answered by the protocol library.
        if not messages[-1].get("more_body", False) or size > MOST_BYTES:
            return messages


def make_room(app: App, sessions: Any, server: ToolServer) -> App:
    """Return an application that ends the session idle longest, without a running call, when there are too many."""

    async def roomy(scope: Any, receive: Receive, send: Send) -> None:
        opens = scope["type"] == "http" and scope["method"] == "POST" and not _session_of(scope)
        there: dict[str, Any] = getattr(sessions, "_server_instances")  # noqa: B009  # no public way to it
        if opens and len(there) >= MOST_SESSIONS:
            idle = [s for name, s in there.items() if name not in server.busy_sessions and _idle_until(s) is not None]
            if idle:
                scope_of_oldest = min(idle, key=lambda s: cast("float", _idle_until(s))).idle_scope
                scope_of_oldest.cancel()
                there.pop(next(name for name, s in there.items() if s.idle_scope is scope_of_oldest))
        await app(scope, receive, send)

    return roomy


def _session_of(scope: Any) -> str:
    return dict(scope["headers"]).get(b"mcp-session-id", b"").decode("latin-1")


def _idle_until(session: Any) -> float | None:
    """Return when a session will have been idle for too long; None while a request of it is under way."""
    deadline = session.idle_scope.deadline if session.idle_scope is not None else float("inf")
    return deadline if deadline != float("inf") else None


async def _answer(send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()  # equal lengths, so that the comparison tells nothing of the token's

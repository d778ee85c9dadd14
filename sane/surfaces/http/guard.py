"""What a request passes before any route sees it: bounds on its body, then who it is from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from sane.core.signing import SIGNATURE_HEADER
from sane.engine.shared_state import Shared
from sane.errors import AccessError, ConfigError, SaneError, UnavailableError, UnknownCallerError
from sane.surfaces.http.credentials import (
    HINT,
    SCOPES,
    SKEW_S,
    Credential,
    CredentialFile,
    Principal,
    find_by_signature,
    find_by_token,
)
from sane.surfaces.http.problems import problem, problem_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY_BYTES = 1 << 20
BODY_S = 20.0
DRAIN_BYTES = 8 << 20
DRAIN_S = 2.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = frozenset({"/health", "/system/client-health-check", "/system/streaming-health"})
log = logging.getLogger("sane.http")
LOCAL = Principal("local", SCOPES)


class Guard:
    """Let a request through with its principal in `state.principal`.

    Where no credential is configured and the listener is on loopback, whoever is on this machine may do everything;
    then a request must name a loopback host and origin, so that a page in a browser can't make one.
    """

    def __init__(self, app: App, credentials: CredentialFile, shared: Shared, *, on_loopback: bool) -> None:
        self._app, self._credentials, self._shared = app, credentials, shared
        self._is_open = on_loopback  # until a credential is seen: taking the last one away lets nobody in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await self._read_body(headers, receive)
            scope.setdefault("state", {})["principal"] = await self._identify(scope, headers, body)
        except SaneError as error:
            await problem_of(error)(scope, receive, send)
        except _TooLargeError:
            await _drain(receive)
            hint = f"Send {MOST_BODY_BYTES} bytes at most."
            await problem(413, "too_large", "the body is too large", hint, {"Connection": "close"})(
                scope, receive, send
            )
        except TimeoutError:
            hint = f"Send it within {BODY_S:g} s."
            await problem(400, "usage", "the body did not come", hint, {"Connection": "close"})(scope, receive, send)
        except ConnectionResetError:
            return
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _read_body(self, headers: dict[str, str], receive: Receive) -> bytes:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MOST_BODY_BYTES:
            raise _TooLargeError
        parts, size, more = list[bytes](), 0, True
        async with asyncio.timeout(BODY_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > MOST_BODY_BYTES:
                    raise _TooLargeError
        return b"".join(parts)

    async def _identify(self, scope: Scope, headers: dict[str, str], body: bytes) -> Principal:
        if scope["path"] in OPEN_PATHS and scope["method"] in ("GET", "HEAD"):
            return Principal("", ())
        credentials = self._load()
        self._is_open = self._is_open and not credentials
        if self._is_open:
            _check_is_local(headers)
            return LOCAL
        if SIGNATURE_HEADER.lower() in headers:
            path = scope["raw_path"].decode("latin-1")
            query = scope["query_string"].decode("latin-1")
            path = f"{path}?{query}" if query else path
            found, key = find_by_signature(credentials, headers, scope["method"], path, body, time.time())
            if not await self._shared.use_once(key, 2 * SKEW_S * 1000 + 1000):
                raise UnknownCallerError("this signature was used before", hint="Sign each request anew.")
            return found
        if "authorization" in headers:
            return find_by_token(credentials, headers["authorization"])
        raise UnknownCallerError("this needs a credential", hint=HINT)

    def _load(self) -> tuple[Credential, ...]:
        try:
            return self._credentials.load()
        except ConfigError as error:  # whoever calls is not known yet: the log says it, the answer does not
            log.error("nobody can call: %s %s", error.message, error.hint)
            hint = "Whoever runs the server finds why in its log."
            raise UnavailableError("the credentials can't be read", hint=hint) from None


class _TooLargeError(Exception):
    pass


def _check_is_local(headers: dict[str, str]) -> None:
    origin = headers.get("origin", "")
    for name, host in (("Host", headers.get("host", "")), ("Origin", origin.partition("://")[2])):
        if (name == "Host" or origin) and _host_of(host) not in LOOPBACK:
            raise AccessError(
                f"the {name} header names no loopback address, and no credential is configured",
                hint="Call http://127.0.0.1:PORT, or configure one: sane server credential add NAME.",
            )


async def _drain(receive: Receive) -> None:
    """Throw the rest of a body away, so that its sender gets to read the answer; no more than a little."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while size < DRAIN_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _host_of(address: str) -> str:
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once more, then what comes: that the client went away."""
    given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

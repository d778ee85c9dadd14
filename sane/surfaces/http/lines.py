"""A response of lines that come over time, ended as soon as its client is gone or has stopped to read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sane.engine.streams import describe
from sane.errors import SaneError

log = logging.getLogger("sane.http")
SEND_S = 30.0  # a client that takes nothing for so long is gone


class LineResponse(Response):
    """Send what `lines` yields. A SaneError on the way becomes a last line, made by `show_error`."""

    def __init__(
        self,
        lines: AsyncGenerator[bytes, None],
        media_type: str,
        show_error: Callable[[BaseException], bytes],
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.body = b""
        self.background = None
        self.lines, self.show_error = lines, show_error
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the lines end or the client goes away."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_wait_until_gone(receive))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if sending.cancelled() or sending.exception() is None:
            return
        raise sending.exception() or RuntimeError

    async def _send_all(self, send: Send) -> None:
        async def put(body: bytes, more: bool) -> None:
            async with asyncio.timeout(SEND_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self.lines) as lines:
                try:
                    async for line in lines:
                        await put(line, True)
                except SaneError as error:
                    await put(self.show_error(error), True)
            await put(b"", False)
        except (TimeoutError, OSError) as error:
            log.info("a client stopped to read: %s", type(error).__name__)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def error_line(error: BaseException) -> bytes:
    """Return an error as an NDJSON line, without a number: it is of this response, not of the stream."""
    return json.dumps({"type": "error", **describe(error)}).encode() + b"\n"


def json_line(value: object) -> bytes:
    """Return a value as an NDJSON line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"

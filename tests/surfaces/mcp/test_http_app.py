"""Bodies over HTTP that come late, or never whole."""

from __future__ import annotations

import asyncio
from typing import Any

from sane.surfaces.mcp.http_app import check_body

POST = {"type": "http", "method": "POST", "headers": []}


async def answers(messages: list[Any], piece_s: float = 5.0) -> tuple[list[Any], list[Any]]:
    """Return what the application behind the check received, and what was sent to the client."""
    received, sent = list[Any](), list[Any]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        while received[-1].get("more_body"):
            received.append(await receive())

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()  # the client says nothing more
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await check_body(app, piece_s)(POST, receive, send)
    return received, sent


async def test_a_body_that_comes_whole_is_passed_on():
    parts = [
        {"type": "http.request", "body": b'{"jsonrpc":"2.0",', "more_body": True},
        {"type": "http.request", "body": b'"id":1,"method":"ping"}', "more_body": False},
    ]
    assert await answers(list(parts)) == (parts, [])


async def test_a_body_that_does_not_come_is_waited_for_no_longer():
    async with asyncio.timeout(5):
        received, sent = await answers([{"type": "http.request", "body": b"{", "more_body": True}], piece_s=0.05)
    assert received == []
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_client_that_goes_away_within_a_body_is_not_answered():
    parts = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert await answers(parts) == ([], [])

"""Clients that send a request's head slowly, or never."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from sane.surfaces.http.protocol import TimedProtocol
from tests.surfaces.http.servers import Served

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n" + HEAD], ids=["nothing", "half", "half of the second"])
async def test_a_head_that_does_not_end_ends_the_connection(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second, although a byte comes all the time; the limit is 0.3 s here."""
    monkeypatch.setattr(TimedProtocol, "head_s", 0.3)
    reader, writer = await asyncio.open_connection(served.client.base_url.host, served.client.base_url.port)

    async def drip() -> None:
        while True:
            writer.write(b"X" if sent else b"")
            await asyncio.sleep(0.02)

    began = time.monotonic()
    writer.write(sent)
    dripping = asyncio.create_task(drip())
    answer = bytearray()
    try:
        async with asyncio.timeout(3):
            with contextlib.suppress(ConnectionResetError):  # the end, too, where a byte came that nobody read
                while piece := await reader.read(1 << 16):
                    answer += piece
    finally:
        dripping.cancel()
        writer.close()
    assert answer.count(b"200 OK") == sent.count(b"\r\n\r\n")
    assert 0.25 < time.monotonic() - began < 1


async def test_a_slow_body_and_a_slow_answer_are_not_cut(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the head's limit passes within the body."""
    monkeypatch.setattr(TimedProtocol, "head_s", 0.1)
    body = b'{"messages":[{"role":"user","content":"hello"}]}'
    reader, writer = await asyncio.open_connection(served.client.base_url.host, served.client.base_url.port)
    head = b"POST /agent/stream/fleet HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])
    await asyncio.sleep(0.25)
    writer.write(body[5:])
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert b'"type":"done"' in answer

"""Posting over real HTTP on loopback: an answer is whole, in time and no longer than asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sane.errors import UnavailableError
from sane.transports.http_post import post

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


async def answer_of(answer: Callable[[asyncio.StreamWriter], Awaitable[None]], timeout_s: float = 5) -> bytes:
    """Return what `post` takes of an answer, 10 bytes at most."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nbody")
        await answer(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        return await asyncio.to_thread(post, "the other end", url, b"body", {}, timeout_s, 10)


async def test_no_more_is_read_than_asked_for() -> None:
    async def long(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"12345" * 20)

    assert await answer_of(long) == b"1234512345"


async def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _ in range(9):
            writer.write(b"x")
            await asyncio.sleep(0.2)

    async with asyncio.timeout(1.5):
        with pytest.raises(UnavailableError, match="no whole answer in 0.5 s"):
            await answer_of(drip, 0.5)

"""How streams end where giving their places back takes a moment, as with a busy Redis or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from sane.core.breaker import Breaker
from sane.engine.shared_state import Memory
from sane.engine.stream_agents import Item, Message, Text
from sane.engine.stream_hub import StreamHub, StreamLimits
from sane.engine.streams import Stream

LIMITS = StreamLimits(most_streams=1, timeout_s=30, resume_s=0.05)
QUESTION = [Message("user", "hello")]


class _Busy(Memory):
    """Give a place back only once `free` is set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(Breaker(threshold=3, reset_ms=1_000), directory / "used")
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def free_slot(self, stream: str) -> None:
        self.asked.set()
        await self.free.wait()
        await super().free_slot(stream)


class _Talker:
    """Speak for ever, or end at once where it is `brief`."""

    name = "talker"

    def __init__(self, *, brief: bool = False) -> None:
        self.brief = brief

    def prepare(self) -> None: ...

    async def close(self) -> None: ...

    async def stream(self, messages: Sequence[Message], *, is_late: object = None) -> AsyncGenerator[Item, None]:
        yield Text("hello")
        while not self.brief:
            await asyncio.sleep(0.01)
            yield Text("hello")


@pytest.fixture
async def shared(tmp_path: Path) -> _Busy:
    return _Busy(tmp_path)


@pytest.fixture
async def hub(shared: _Busy) -> AsyncIterator[StreamHub]:
    hub = StreamHub(shared, LIMITS)
    hub.start()
    yield hub
    shared.free.set()
    await hub.close()


async def read_one(stream: Stream) -> None:
    """Read one line, as a client does that then goes away."""
    async with aclosing(stream.read(0, 1)) as lines:
        await anext(lines)


async def read_to_the_end(stream: Stream) -> bytes:
    """Return the last line."""
    last = b""
    async with asyncio.timeout(5), aclosing(stream.read(0, 1)) as lines:
        async for line in lines:
            last = line or last
    return last


@pytest.mark.parametrize("brief", [False, True], ids=["cancelled", "ended by itself"])
async def test_a_client_that_goes_while_the_place_is_given_back_keeps_no_place(
    hub: StreamHub, shared: _Busy, brief: bool
) -> None:
    stream = await hub.open(_Talker(brief=brief), QUESTION)
    await read_one(stream)
    async with asyncio.timeout(5):
        await shared.asked.wait()
    await read_one(stream)
    await asyncio.sleep(LIMITS.resume_s)  # timers keep their order: the check behind the client's going was before this
    shared.free.set()
    assert (b'"done"' if brief else b"nobody read the stream any more") in await read_to_the_end(stream)
    assert (hub.active, await shared.count_slots()) == (0, 0)
    await hub.open(_Talker(brief=True), QUESTION)


async def test_a_stop_while_a_place_is_given_back_waits_for_it(hub: StreamHub, shared: _Busy) -> None:
    stream = await hub.open(_Talker(brief=True), QUESTION)
    async with asyncio.timeout(5):
        await shared.asked.wait()
        closing = asyncio.create_task(hub.close())
        await asyncio.sleep(0)
        shared.free.set()
        await closing
    assert b'"done"' in await read_to_the_end(stream)
    assert (hub.active, await shared.count_slots()) == (0, 0)


async def test_a_stop_before_a_stream_has_begun_gives_its_place_back(hub: StreamHub, shared: _Busy) -> None:
    shared.free.set()
    stream = await hub.open(_Talker(), QUESTION)
    await hub.close()
    assert b"the server is being stopped" in await read_to_the_end(stream)
    assert await shared.count_slots() == 0

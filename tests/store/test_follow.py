"""Following the log: every stored event once and in order, whatever appends it, however slow the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from sane.core.events import Event
from sane.store.base import Store
from sane.store.followers import QUEUE_EVENTS

if TYPE_CHECKING:
    from tests.store.conftest import OpenAnother

BOUND_S = 10


def message(text: str = "hello", deployment: str = "d1", key: str = "web") -> Event:
    return Event("message", 5, key, deployment, data={"text": text})


def output(text: str, deployment: str = "d1") -> Event:
    return Event("output", 6, "web", deployment, "web1", {"step": "copy", "text": text})


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(BOUND_S):
        return [await anext(events) for _ in range(count)]


async def nothing_comes(events: AsyncIterator[Event], sign: Store, end: Event) -> None:
    """Prove that nothing else was due: the next thing that comes is what is appended now."""
    await sign.append([end])
    (got,) = await take(events, 1)
    assert (got.kind, got.data) == (end.kind, end.data)


async def test_what_is_there_and_what_comes_is_one_stream(store: Store) -> None:
    await store.append([message("1"), message("2")])
    events = store.follow(1)
    assert [event.seq for event in await take(events, 1)] == [2]
    waiting = asyncio.create_task(take(events, 2))
    await store.append([message("3")])
    await store.append([message("4")])
    assert [event.seq for event in await waiting] == [3, 4]
    await events.aclose()


async def test_without_a_number_it_starts_now(store: Store) -> None:
    await store.append([message("old")])
    events = store.follow()
    waiting = asyncio.create_task(take(events, 1))
    position = 1
    while not waiting.done():  # the follower starts when it starts: append until it has
        await store.append([message("new")])
        position += 1
        await asyncio.sleep(0.01)
    (first,) = await waiting
    assert first.data["text"] == "new"
    assert 1 < first.seq <= position
    await events.aclose()


async def test_events_of_other_processes_arrive_without_gap_or_double(open_another: OpenAnother) -> None:
    reader, one, other = [await open_another() for _ in range(3)]
    events = reader.follow(0)
    waiting = asyncio.create_task(take(events, 300))

    async def write(store: Store) -> None:
        for number in range(100):
            await store.append([message(str(number))] * (1 + number % 2))

    await asyncio.gather(write(one), write(other))
    assert [event.seq for event in await waiting] == list(range(1, 301))
    await events.aclose()


async def test_an_event_of_another_process_arrives_at_once(open_another: OpenAnother) -> None:
    """At once: sooner than the check that makes good for lost notifications, which comes every 5 s."""
    reader, writer = await open_another(), await open_another()
    events = reader.follow(0)
    await writer.append([message()])
    await take(events, 1)
    for _ in range(3):
        waiting = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0.05)  # let the follower go to sleep: only a notification can wake it
        await writer.append([message()])
        async with asyncio.timeout(2):
            await waiting
    await events.aclose()


async def test_the_filter_holds_for_stored_and_published_events(store: Store) -> None:
    events = store.follow(0, deployment="d2", kinds=("message", "output"))
    waiting = asyncio.create_task(take(events, 3))
    await asyncio.sleep(0)
    started = Event("step_started", 5, "web", "d2", data={"step": "copy"})
    await store.append([message("no"), message("a", "d2"), output("no"), output("yes", "d2"), started])
    await store.append([message("b", "d2")])
    assert [event.data["text"] for event in await waiting] == ["a", "yes", "b"]
    await nothing_comes(events, store, message("end", "d2"))
    await events.aclose()


async def test_published_events_come_at_their_place(store: Store) -> None:
    events = store.follow(0)
    waiting = asyncio.create_task(take(events, 6))
    await asyncio.sleep(0)
    await store.append([message("1")])
    await store.append([output("between 1 and 2")])
    await store.append([message("2")])
    await store.append([message("3")])
    await store.append([output("after 3")])
    await store.append([message("4")])
    texts = [event.data["text"] for event in await waiting]
    assert texts == ["1", "between 1 and 2", "2", "3", "after 3", "4"]
    await events.aclose()


async def test_a_slow_reader_loses_output_and_is_told_but_no_stored_event(store: Store) -> None:
    events = store.follow(0)
    await store.append([message("first")])
    assert [event.seq for event in await take(events, 1)] == [1]
    for number in range(QUEUE_EVENTS + 25):
        await store.append([output(str(number))])
    await store.append([message(str(number)) for number in range(2000)])
    notice, *rest = await take(events, 1 + QUEUE_EVENTS + 2000)
    assert (notice.kind, notice.data, notice.seq) == ("dropped", {"count": 25}, 0)
    chunks, stored = rest[:QUEUE_EVENTS], rest[QUEUE_EVENTS:]
    assert [event.data["text"] for event in chunks] == [str(n) for n in range(25, QUEUE_EVENTS + 25)]
    assert [event.seq for event in stored] == list(range(2, 2002))
    await nothing_comes(events, store, message("end"))
    await events.aclose()


async def test_closing_the_store_ends_every_follower(store: Store) -> None:
    async def read_all() -> list[int]:
        return [event.seq async for event in store.follow(0)]

    waiting = [asyncio.create_task(read_all()) for _ in range(3)]
    await store.append([message()])
    events = store.follow(0)
    await take(events, 1)
    await store.close()
    async with asyncio.timeout(BOUND_S):
        assert await asyncio.gather(*waiting) == [[1], [1], [1]]
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_follower_that_is_cancelled_leaves_nothing_behind(store: Any) -> None:
    events = store.follow(0)
    await store.append([message()])
    await take(events, 1)
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0)
    assert len(store._followers) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(store._followers) == 0
    await store.append([message()])
    assert [event.seq for event in await take(store.follow(1), 1)] == [2]

"""Answers of agents as numbered events, which a client can leave and come back to.

A stream is a task of its own: it asks the agent, numbers what comes (`start`, `content` …, then `done` or `error`) and
keeps it. Readers take events by number at their own pace. Memory is bounded: a stream keeps at most KEPT_BYTES that a
reader has not taken, and then lets the agent wait. When the last reader has been gone for `resume_s`, the agent is
cancelled and the place is free.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sane.errors import STATUS, ConflictError, SaneError

KEPT_BYTES = 256 * 1024
MOST_TEXT_CHARS = 32 * 1024  # longer pieces are split, so that no event is much larger than the others


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Hold one numbered event, and the NDJSON line that clients get of it."""

    seq: int
    type: str
    line: bytes

    @property
    def is_last(self) -> bool:
        """Return whether nothing follows it."""
        return self.type in ("done", "error")


class Stream:
    """Keep the events of one answer. `left` is called whenever a reader leaves."""

    def __init__(self, id: str, agent: str, owner: str, left: Callable[[Stream], None]) -> None:
        self.id, self.agent, self.owner = id, agent, owner
        self.started_s = time.monotonic()
        self.ended = False
        self.is_mirrored = True  # whether other processes have every event so far
        self.task: asyncio.Task[dict[str, Any]] | None = None  # the answer, to be cancelled
        self._left = left
        self._events: deque[StreamEvent] = deque()
        self._kept_bytes = 0
        self._last = 0
        self._taken: dict[object, int] = {}  # reader -> the number of the last event it has taken
        self._changed = asyncio.Event()

    @property
    def kept_bytes(self) -> int:
        """Return how many bytes of events are kept."""
        return self._kept_bytes

    @property
    def has_reader(self) -> bool:
        """Return whether anybody reads it here."""
        return bool(self._taken)

    async def put(self, type: str, data: Mapping[str, Any]) -> StreamEvent:
        """Number and keep an event, once there is room for it."""
        while self._kept_bytes > KEPT_BYTES and not self._drop_taken():
            await self._wait()
        return self.add(type, data)

    def add(self, type: str, data: Mapping[str, Any]) -> StreamEvent:
        """Number and keep an event now; the one that ends a stream needs no room."""
        self._last += 1
        body = json.dumps({"seq": self._last, "type": type, **data}, ensure_ascii=True, separators=(",", ":"))
        event = StreamEvent(self._last, type, body.encode() + b"\n")
        self._events.append(event)
        self._kept_bytes += len(event.line)
        self.ended = event.is_last
        self._wake()
        return event

    def check(self, after: int) -> None:
        """Raise ConflictError for a number that is no longer kept, or was never given."""
        first = self._events[0].seq if self._events else self._last + 1
        if not first - 1 <= after <= self._last:
            kept = f"has events {first} to {self._last}, none" if self._events else "keeps no event"
            raise ConflictError(f"stream '{self.id}' {kept} behind {after}", hint="Ask anew: what was between is gone.")

    async def read(self, after: int, wait_s: float) -> AsyncGenerator[bytes | None, None]:
        """Yield the lines above `after` until the last; None whenever `wait_s` passed without one. See `check`."""
        self.check(after)
        reader = object()
        self._taken[reader] = after
        try:
            while not (self.ended and after == self._last):
                if after == self._last:
                    if not await self._wait(wait_s):
                        yield None
                    continue
                event = self._events[after + 1 - self._events[0].seq]
                after = event.seq
                yield event.line
                self._taken[reader] = after  # its sender came back for more: it is on its way
                if self._kept_bytes > KEPT_BYTES and self._drop_taken():
                    self._wake()
        finally:
            del self._taken[reader]
            self._left(self)

    def _drop_taken(self) -> bool:
        """Drop the oldest events that every reader has, as far as there is need; return whether there is room now."""
        floor = min(self._taken.values(), default=0)
        while self._kept_bytes > KEPT_BYTES and self._events and self._events[0].seq <= floor:
            self._kept_bytes -= len(self._events.popleft().line)
        return self._kept_bytes <= KEPT_BYTES

    async def _wait(self, timeout_s: float | None = None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 can swallow a cancellation
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def describe(error: BaseException) -> dict[str, Any]:
    """Return the fields of an `error` event; of a defect only that it is one."""
    if not isinstance(error, SaneError):
        return {"code": "internal", "message": "sane itself failed; its log says how", "hint": "", "retryable": False}
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retryable": STATUS[error.code][2],
    }

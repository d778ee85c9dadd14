"""Subscribers of the log in this process: woken by what is appended, handed what is only published.

A subscriber reads stored events from the log itself, at its own pace, by number: it can be slow, but it can't lose or
repeat one. Published events wait in a queue of its own with a bound; each remembers how far the log was, which is its
place among the stored ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator

from sane.core.events import Event

QUEUE_EVENTS = 1000


class Follower:
    """Hold what one subscriber has not seen yet of the published events, and wake it."""

    def __init__(self, key: str, deployment: str, kinds: Collection[str]) -> None:
        self.wakened = asyncio.Event()
        self._wanted = (key, deployment, frozenset(kinds))
        self._queue: deque[tuple[int, Event]] = deque()
        self._dropped = 0

    def wants(self, event: Event) -> bool:
        """Return whether an event passes the subscriber's filter."""
        key, deployment, kinds = self._wanted
        return (
            (not key or event.key == key)
            and (not deployment or event.deployment == deployment)
            and (not kinds or event.kind in kinds)
        )

    def offer(self, event: Event, position: int) -> None:
        """Queue a published event behind the stored event `position`; the oldest is dropped when the queue is full."""
        if len(self._queue) >= QUEUE_EVENTS:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append((position, event))

    def take_until(self, position: int) -> Iterator[Event]:
        """Yield what was published before the log went past `position`, first of all what was dropped."""
        while self._queue and self._queue[0][0] <= position:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                yield Event("dropped", self._queue[0][1].at_ms, *self._wanted[:2], data={"count": count})
                continue  # the queue may have moved while the reader had the notice
            yield self._queue.popleft()[1]


class Followers:
    """Hold the subscribers of one store, and how far its log is known to be."""

    def __init__(self) -> None:
        self.closed = False
        self.position = 0
        self._followers: set[Follower] = set()

    def __len__(self) -> int:
        return len(self._followers)

    def add(self, follower: Follower) -> None:
        """Let a subscriber take part."""
        self._followers.add(follower)

    def remove(self, follower: Follower) -> None:
        """Forget a subscriber."""
        self._followers.discard(follower)

    def publish(self, events: Collection[Event]) -> None:
        """Queue events that are not stored for the subscribers that want them."""
        for follower in self._followers:
            wanted = [event for event in events if follower.wants(event)]
            for event in wanted:
                follower.offer(event, self.position)
            if wanted:
                follower.wakened.set()

    def wake(self, position: int = 0) -> None:
        """Say that the log has grown, to `position` when it is known."""
        self.position = max(self.position, position)
        for follower in self._followers:
            follower.wakened.set()

    def close(self) -> None:
        """End every subscription."""
        self.closed = True
        self.wake()

"""What the processes of one service share: places of streams, breakers, signatures that were used.

In one process it is memory (and one small file, so that a restart does not forget a signature); across processes it is
Redis (`sane.engine.shared_redis`) or PostgreSQL (`sane.engine.shared_postgres`). Time is that of whoever keeps it, so
that processes with different clocks agree.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sane.core.breaker import Breaker, Permit
from sane.engine.breakers import IsLate, never_late, outcome_of
from sane.errors import StoreError, UnavailableError

log = logging.getLogger("sane.breakers")

T = TypeVar("T")
Change = Callable[[Breaker, int], tuple[Breaker, T]]

MOST_TRIES = 100
PAUSE_S = 0.005
LONGEST_RETRY_S = 30.0  # a probe is out: it may come back at any moment


class Shared(ABC):
    """Keep places, breakers and used signatures. Every method raises UnavailableError when they can't be reached.

    `name` is `memory`, `redis` or `postgres`. `breaker` is a closed one with the settings that all breakers have.
    """

    name = ""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @abstractmethod
    async def take_slot(self, stream: str, limit: int, ttl_ms: int) -> bool:
        """Take one of `limit` places for a stream until `ttl_ms` from now; False when all are taken."""

    @abstractmethod
    async def renew_slots(self, streams: Iterable[str], ttl_ms: int) -> None:
        """Hold the streams' places for `ttl_ms` more. One that expired is taken again, so that the count stays true."""

    @abstractmethod
    async def free_slot(self, stream: str) -> None:
        """Give a place back."""

    @abstractmethod
    async def count_slots(self) -> int:
        """Return how many places are taken, by all processes."""

    @abstractmethod
    async def use_once(self, key: str, ttl_ms: int) -> bool:
        """Return whether `key` is used for the first time within `ttl_ms`."""

    @abstractmethod
    async def sweep(self) -> None:
        """Delete what has expired."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""

    @abstractmethod
    async def _load(self, name: str) -> tuple[str, int]:
        """Return a breaker's text ("" when there is none yet) and the time in milliseconds."""

    @abstractmethod
    async def _swap(self, name: str, old: str, new: str) -> bool:
        """Replace a breaker's text if it still is `old`."""

    async def change_breaker(self, name: str, change: Change[T]) -> T:
        """Apply `change(breaker, now_ms)` to a breaker, once, in an order that all processes see; return its answer."""
        async with self._locks[name]:
            for _ in range(MOST_TRIES):
                old, now_ms = await self._load(name)
                before = self._decode(old)
                after, answer = change(before, now_ms)
                if after == before or await self._swap(name, old, encode(after)):
                    return answer
                await asyncio.sleep(random.uniform(0, PAUSE_S))  # another process was quicker
        raise UnavailableError(f"the breaker '{name}' is changed by too many at once", retry_after_s=1)

    async def read_breaker(self, name: str) -> Breaker:
        """Return a breaker as it is."""
        return self._decode((await self._load(name))[0])

    async def is_healthy(self) -> bool:
        """Return whether it can be reached now."""
        try:
            await self.count_slots()
        except UnavailableError:
            return False
        return True

    def _decode(self, text: str) -> Breaker:
        if not text:
            return self._breaker
        state, failures, since_ms, era = json.loads(text)
        return replace(self._breaker, state=state, failures=failures, since_ms=since_ms, era=era)


def encode(breaker: Breaker) -> str:
    """Return a breaker's state as text; its settings are those of each process."""
    return json.dumps([breaker.state, breaker.failures, breaker.since_ms, breaker.era])


class Memory(Shared):
    """Keep everything in this process, and used signatures in `file`, too."""

    name = "memory"

    def __init__(self, breaker: Breaker, file: Path) -> None:
        super().__init__(breaker)
        self._until_ms: dict[str, int] = {}
        self._breakers: dict[str, str] = {}
        self._file = file
        self._database: sqlite3.Connection | None = None

    async def take_slot(self, stream: str, limit: int, ttl_ms: int) -> bool:
        """Take a place."""
        if await self.count_slots() >= limit:
            return False
        self._until_ms[stream] = now_ms() + ttl_ms
        return True

    async def renew_slots(self, streams: Iterable[str], ttl_ms: int) -> None:
        """Hold places for longer."""
        self._until_ms.update(dict.fromkeys(streams, now_ms() + ttl_ms))

    async def free_slot(self, stream: str) -> None:
        """Give a place back."""
        self._until_ms.pop(stream, None)

    async def count_slots(self) -> int:
        """Return how many places are taken."""
        return len(self._until_ms)  # nobody else can have died holding one

    async def use_once(self, key: str, ttl_ms: int) -> bool:
        """Return whether `key` is used for the first time."""
        try:
            database = self._open()
            wall_ms = time.time_ns() // 1_000_000
            database.execute("DELETE FROM used WHERE until_ms <= ?", (wall_ms,))
            done = database.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (key, wall_ms + ttl_ms))
            return done.rowcount == 1
        except sqlite3.Error as error:
            raise StoreError(f"{self._file} can't be written: {error}", hint="Free space, or check its mode.") from None

    async def sweep(self) -> None:
        """Do nothing: what expired is deleted as it is met."""

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    async def _load(self, name: str) -> tuple[str, int]:
        return self._breakers.get(name, ""), now_ms()

    async def _swap(self, name: str, old: str, new: str) -> bool:
        if self._breakers.get(name, "") != old:
            return False
        self._breakers[name] = new
        return True

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = sqlite3.connect(self._file, timeout=5, isolation_level=None, check_same_thread=False)
            # Without a sync per write: a killed process loses nothing, a machine that loses power is not replayed to.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(
                "CREATE TABLE IF NOT EXISTS used (key TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID"
            )
            database.execute("CREATE INDEX IF NOT EXISTS used_until ON used (until_ms)")
            self._file.chmod(0o600)
            self._database = database
        return self._database


def now_ms() -> int:
    """Return this process's monotonic time in milliseconds."""
    return time.monotonic_ns() // 1_000_000


class SharedBreakers:
    """Guard the calls of models, as `sane.engine.breakers.Breakers`, by breakers that processes share.

    They are called `model:NAME`, apart from those of the service.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.names: set[str] = set()

    @asynccontextmanager
    async def guard(self, name: str, *, is_late: IsLate = never_late) -> AsyncGenerator[None]:
        """Allow one call for the length of a block; see `Breakers.guard`."""
        name = f"model:{name}"
        self.names.add(name)
        permit = await take_permit(self._shared, name)
        outcome = "release"
        try:
            yield
            outcome = "succeed"
        except (Exception, asyncio.CancelledError) as error:
            outcome = outcome_of(error, is_late)
            raise
        finally:
            await asyncio.shield(self._settle(name, permit, outcome))

    async def _settle(self, name: str, permit: Permit, outcome: str) -> None:
        """Tell the breaker; where it can't be reached, the call's own outcome stands, and a probe ends by its limit."""
        try:
            await settle_permit(self._shared, name, permit, outcome)
        except UnavailableError as error:
            log.warning("the outcome of a call behind '%s' was not recorded: %s", name, error.message)


async def take_permit(shared: Shared, name: str) -> Permit:
    """Return the permit for one call. Raises UnavailableError, with when to ask again, while the breaker is open."""

    def ask(breaker: Breaker, now_ms: int) -> tuple[Breaker, tuple[Permit | None, int]]:
        after, permit = breaker.ask(now_ms)
        return after, (permit, after.retry_after_ms(now_ms))

    permit, wait_ms = await shared.change_breaker(name, ask)
    if permit is None:
        raise UnavailableError(
            f"the breaker '{name}' is open: too many calls failed in a row",
            retry_after_s=min(LONGEST_RETRY_S, max(1.0, wait_ms / 1000)),
            hint=f"Try again later, or reset it: POST /system/circuit-breaker/reset/{name}.",
        )
    return permit


async def settle_permit(shared: Shared, name: str, permit: Permit, outcome: str) -> None:
    """Tell a breaker how a call ended: `succeed`, `fail`, or `release` for one that was cancelled."""

    def settle(breaker: Breaker, now_ms: int) -> tuple[Breaker, None]:
        return getattr(breaker, outcome)(permit, now_ms), None

    await shared.change_breaker(name, settle)

"""Places, breakers, used signatures and the events of streams in Redis, for several processes or machines.

Each change is one script that Redis runs whole. A place has an end: a process that is killed gives its places back by
not renewing them. The events of a stream are a Redis stream whose entry ids are the events' numbers, so any process can
resume any stream behind a number, without a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from sane.core.breaker import Breaker
from sane.core.rollout.hints import install_hint
from sane.engine.shared_state import Shared
from sane.errors import ConflictError, NotFoundError, UnavailableError, UsageError

try:
    import redis.asyncio as redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ConstantBackoff
    from redis.exceptions import RedisError
except ImportError as error:
    raise UsageError("Redis needs its client", hint=install_hint("redis")) from error

Client = Any  # redis-py's annotations are unions of its blocking and its asynchronous answers
PREFIX = "sane:"
TIMEOUT_S = 2.0
MOST_CONNECTIONS = 64
MOST_EVENTS = 5000
READER_TTL_MS = 15_000

NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
TAKE = (
    NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)
RENEW = (
    NOW
    + """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
)
COUNT = NOW + "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) return redis.call('ZCARD', KEYS[1])"
LOAD = NOW + "return {redis.call('GET', KEYS[1]) or '', now}"
SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisShared(Shared):
    """Keep what is shared in Redis."""

    name = "redis"

    def __init__(self, breaker: Breaker, url: str) -> None:
        super().__init__(breaker)
        self._redis = connect(url)
        self._place = place_of(url)
        self._scripts = {text: self._redis.register_script(text) for text in (TAKE, RENEW, COUNT, LOAD, SWAP)}

    async def take_slot(self, stream: str, limit: int, ttl_ms: int) -> bool:
        """Take a place."""
        return await self._run(TAKE, "slots", stream, limit, ttl_ms) == 1

    async def renew_slots(self, streams: Iterable[str], ttl_ms: int) -> None:
        """Hold places for longer."""
        names = list(streams)
        if names:
            await self._run(RENEW, "slots", ttl_ms, *names)

    async def free_slot(self, stream: str) -> None:
        """Give a place back."""
        await self._answer(self._redis.zrem(PREFIX + "slots", stream))

    async def count_slots(self) -> int:
        """Return how many places are taken."""
        return int(await self._run(COUNT, "slots"))

    async def use_once(self, key: str, ttl_ms: int) -> bool:
        """Return whether `key` is used for the first time."""
        return bool(await self._answer(self._redis.set(f"{PREFIX}used:{key}", "1", nx=True, px=ttl_ms)))

    async def sweep(self) -> None:
        """Do nothing: Redis deletes what has expired."""

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _load(self, name: str) -> tuple[str, int]:
        text, now = await self._run(LOAD, f"breaker:{name}")
        return text, int(now)

    async def _swap(self, name: str, old: str, new: str) -> bool:
        return await self._run(SWAP, f"breaker:{name}", old, new) == 1

    async def _run(self, script: str, key: str, *args: object) -> Any:
        return await self._answer(self._scripts[script](keys=[PREFIX + key], args=list(args)))

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        return await answer_of(asked, self._place)


class RedisRelay:
    """Carry the events of streams between processes. Raises UnavailableError when Redis can't be reached."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._place = place_of(url)

    async def add(self, stream: str, owner: str, seq: int, line: bytes, is_last: bool, ttl_ms: int) -> None:
        """Append the event with number `seq` (from 1) to a stream that is kept for `ttl_ms` from now."""
        fields = {"owner": owner, "line": line, "last": "1" if is_last else ""}
        key = key_of(stream)
        pipe = self._redis.pipeline(transaction=True)
        pipe.xadd(key, fields, id=f"{seq}-0", maxlen=MOST_EVENTS)
        pipe.pexpire(key, ttl_ms)
        await answer_of(pipe.execute(), self._place)

    async def check(self, stream: str, owner: str, after: int) -> None:
        """Raise NotFoundError for a stream that is not there or not theirs, ConflictError for a number that is gone."""
        first: Any = await answer_of(self._redis.xrange(key_of(stream), count=1), self._place)
        if not first or first[0][1]["owner"] != owner:
            raise NotFoundError(f"there is no stream '{stream}'", hint="It ended too long ago; ask anew.")
        last: Any = await answer_of(self._redis.xrevrange(key_of(stream), count=1), self._place)
        if not number_of(first[0][0]) <= after + 1 <= number_of(last[0][0]) + 1:
            raise ConflictError(f"no event behind {after} is kept", hint="Ask anew: what was between is gone.")

    async def read(self, stream: str, after: int, wait_s: float) -> AsyncGenerator[bytes | None, None]:
        """Yield the lines of a stream above `after` until its last; None whenever `wait_s` passed without one."""
        key = key_of(stream)
        while True:
            await self._show_reader(stream)
            asked = self._redis.xread({key: f"{after}-0"}, count=100, block=max(1, round(wait_s * 1000)))
            found: Any = await answer_of(asked, self._place, wait_s + TIMEOUT_S)
            if not found:
                if not await answer_of(self._redis.exists(key), self._place):
                    raise UnavailableError("the process that answered is gone", retry_after_s=1, hint="Ask anew.")
                yield None
                continue
            for entry, fields in found[0][1]:
                after = number_of(entry)
                yield fields["line"].encode()
                if fields["last"]:
                    return

    async def renew(self, streams: Sequence[str], ttl_ms: int) -> None:
        """Keep the streams for `ttl_ms` more."""
        pipe = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipe.pexpire(key_of(stream), ttl_ms)
        if streams:
            await answer_of(pipe.execute(), self._place)

    async def has_reader(self, stream: str) -> bool:
        """Return whether another process read the stream within the last 15 s."""
        return bool(await answer_of(self._redis.exists(f"{PREFIX}reader:{stream}"), self._place))

    async def _show_reader(self, stream: str) -> None:
        await answer_of(self._redis.set(f"{PREFIX}reader:{stream}", "1", px=READER_TTL_MS), self._place)

    async def is_healthy(self) -> bool:
        """Return whether it can be reached now."""
        try:
            await answer_of(self._redis.ping(), self._place)
        except UnavailableError:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def key_of(stream: str) -> str:
    """Return where the events of a stream are."""
    return f"{PREFIX}stream:{stream}"


def number_of(entry: str) -> int:
    """Return the event's number that an entry's id says."""
    return int(entry.partition("-")[0])


def place_of(url: str) -> str:
    """Return how messages call a server: its URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def connect(url: str) -> Client:
    """Return a client of a `redis://`, `rediss://` or `unix://` URL; nothing is sent yet. Raises UsageError."""
    try:
        pool: Any = redis.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            decode_responses=True,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=None,  # a blocking read may wait; `answer_of` has the deadline of everything else
            max_connections=MOST_CONNECTIONS,
            timeout=TIMEOUT_S,
            retry=Retry(ConstantBackoff(0.02), 1),
        )
    except (ValueError, TypeError):
        hint = "Write redis://HOST:PORT/DB."
        raise UsageError("REDIS_URL and REDIS_PUBSUB_URL must be URLs of Redis", hint=hint) from None
    return redis.Redis(connection_pool=pool)


async def answer_of(asked: Awaitable[Any], place: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Return Redis's answer. Raises UnavailableError when there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except (RedisError, OSError, TimeoutError) as error:
        raise UnavailableError(
            f"Redis at {place} can't be used: {type(error).__name__}: {error}",
            retry_after_s=5,
            hint="See that it runs: redis-cli ping.",
        ) from error

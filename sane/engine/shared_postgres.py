"""Places, breakers and used signatures in PostgreSQL, for several processes or machines.

Rows have an end: a process that is killed gives its places back by not renewing them. Time is the server's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sane.core.breaker import Breaker
from sane.core.rollout.hints import install_hint
from sane.engine.shared_state import Shared
from sane.errors import UnavailableError, UsageError

try:
    import asyncpg
except ImportError as error:
    raise UsageError("PostgreSQL needs asyncpg", hint=install_hint("postgres")) from error

TIMEOUT_S = 3.0
MOST_CONNECTIONS = 4
LOCK = 0x73616E66  # one number that all processes of the service agree on, beside the event log's

TABLES = """
CREATE TABLE IF NOT EXISTS sane_slots (stream text PRIMARY KEY, until_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS sane_breakers (name text PRIMARY KEY, state text NOT NULL);
CREATE TABLE IF NOT EXISTS sane_used (key text PRIMARY KEY, until_ms bigint NOT NULL);
CREATE INDEX IF NOT EXISTS sane_used_until ON sane_used (until_ms);
"""
NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class PostgresShared(Shared):
    """Keep what is shared in PostgreSQL."""

    name = "postgres"

    def __init__(self, breaker: Breaker, pool: Any) -> None:
        super().__init__(breaker)
        self._pool = pool

    async def take_slot(self, stream: str, limit: int, ttl_ms: int) -> bool:
        """Take a place."""
        # The lock is taken by a statement before the one that counts, which thereby sees what the last holder wrote.
        insert = (
            f"INSERT INTO sane_slots SELECT $1, {NOW} + $3::bigint"
            f" WHERE (SELECT count(*) FROM sane_slots WHERE until_ms > {NOW}) < $2"
            " ON CONFLICT (stream) DO UPDATE SET until_ms = excluded.until_ms RETURNING 1"
        )
        return bool(await self._run(insert, stream, limit, ttl_ms, before=f"SELECT pg_advisory_xact_lock({LOCK})"))

    async def renew_slots(self, streams: Iterable[str], ttl_ms: int) -> None:
        """Hold places for longer."""
        renew = (
            f"INSERT INTO sane_slots SELECT name, {NOW} + $2::bigint FROM unnest($1::text[]) AS name"
            " ON CONFLICT (stream) DO UPDATE SET until_ms = excluded.until_ms"
        )
        names = sorted(streams)
        if names:
            await self._run(renew, names, ttl_ms)

    async def free_slot(self, stream: str) -> None:
        """Give a place back."""
        await self._run("DELETE FROM sane_slots WHERE stream = $1", stream)

    async def count_slots(self) -> int:
        """Return how many places are taken."""
        return int((await self._run(f"SELECT count(*) FROM sane_slots WHERE until_ms > {NOW}"))[0][0])

    async def use_once(self, key: str, ttl_ms: int) -> bool:
        """Return whether `key` is used for the first time."""
        use = (
            f"INSERT INTO sane_used AS known VALUES ($1, {NOW} + $2::bigint) ON CONFLICT (key)"
            f" DO UPDATE SET until_ms = excluded.until_ms WHERE known.until_ms <= {NOW} RETURNING 1"
        )
        return bool(await self._run(use, key, ttl_ms))

    async def sweep(self) -> None:
        """Delete what has expired."""
        await self._run(f"DELETE FROM sane_slots WHERE until_ms <= {NOW}")
        await self._run(f"DELETE FROM sane_used WHERE until_ms <= {NOW}")

    async def close(self) -> None:
        """Close the connections."""
        self._pool.terminate()

    async def _load(self, name: str) -> tuple[str, int]:
        rows = await self._run(f"SELECT (SELECT state FROM sane_breakers WHERE name = $1), {NOW}", name)
        return rows[0][0] or "", int(rows[0][1])

    async def _swap(self, name: str, old: str, new: str) -> bool:
        if old:
            done = await self._run(
                "UPDATE sane_breakers SET state = $3 WHERE name = $1 AND state = $2 RETURNING 1", name, old, new
            )
        else:
            done = await self._run(
                "INSERT INTO sane_breakers VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1", name, new
            )
        return bool(done)

    async def _run(self, sql: str, *args: object, before: str = "") -> list[Any]:
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                if not before:
                    return await connection.fetch(sql, *args)
                async with connection.transaction():
                    await connection.execute(before)
                    return await connection.fetch(sql, *args)
        except FAILURES as error:
            raise unreachable(error) from error


FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def unreachable(error: BaseException) -> UnavailableError:
    """Return what a failure of the database means."""
    return UnavailableError(
        f"the database of DATABASE_URL can't be used: {type(error).__name__}: {error}",
        retry_after_s=5,
        hint="See that PostgreSQL runs and takes connections.",
    )


async def open_postgres_shared(breaker: Breaker, url: str) -> PostgresShared:
    """Connect to a `postgresql://` URL and make the tables that are absent. Raises UnavailableError, UsageError."""
    try:
        pool: Any = await asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            url, min_size=0, max_size=MOST_CONNECTIONS, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S
        )
    except (ValueError, asyncpg.InterfaceError):
        raise UsageError(
            "DATABASE_URL must start with postgresql://", hint="Write postgresql://USER@HOST/NAME."
        ) from None
    except FAILURES as error:
        raise unreachable(error) from error
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            await connection.execute(TABLES)
    except FAILURES as error:
        pool.terminate()
        raise unreachable(error) from error
    return PostgresShared(breaker, pool)

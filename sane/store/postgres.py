"""The event log in a PostgreSQL database that several machines share.

Writers queue on the counter's row, so numbers have no gap and become visible in order; LISTEN wakes the followers.
The tables live in the schema that the connection's search_path names first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import re
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from sane.core.rollout.hints import install_hint
from sane.errors import SaneError, StoreError, UnavailableError, UsageError
from sane.store.logstore import LogStore
from sane.store.migrations import migrate
from sane.store.script import MakeScript, Query, Script

try:
    import asyncpg
except ImportError as error:
    raise UsageError("PostgreSQL needs asyncpg", hint=install_hint("postgres")) from error

# Its pool writes a traceback each time a lost connection can't be made anew; who calls the store is told what is wrong.
logging.getLogger("asyncpg").addHandler(logging.NullHandler())

T = TypeVar("T")
Connection = Any  # asyncpg's connection, or the pool's stand-in for one: asyncpg ships no types
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 30
CLOSE_TIMEOUT_S = 5
MAX_CONNECTIONS = 4
BATCH_JOBS = 256
QUEUE_JOBS = 10_000
RELISTEN_S = 0.5
READ_AGAIN_S = (0.0, 0.1, 0.5, 2.0)
CHECK_S = 5.0  # a lost notification (a pooler, a failover) costs a follower no more than this
CHANNEL = "sane_events"
MIGRATION_LOCK = 0x73616E65  # "sane"; any number that all sane processes agree on


@functools.lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """Return a statement with $1, $2, … for its question marks; scripts write none inside a literal."""
    count = itertools.count(1)
    return re.sub(r"\?", lambda _: f"${next(count)}", sql)


async def run_script(connection: Connection, script: Script[T]) -> T:
    """Drive a script to its end and return what it returns."""
    try:
        query: Query = next(script)
        while True:
            rows = await connection.fetch(numbered(query.sql), *query.args)
            query = script.send(rows)
    except StopIteration as end:
        return end.value
    finally:
        script.close()


# A connection that the server ends in the middle of a call raises InternalClientError (asyncpg 0.32, seen in tests).
CLIENT_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, *CLIENT_ERRORS, OSError)


def is_lost(error: BaseException | None) -> bool:
    """Return whether an error says that the connection went away, or could not be made."""
    return isinstance(error, LOST) and not isinstance(error, TimeoutError)


def explain(error: BaseException, name: str) -> SaneError:
    """Return what a database error means and what to do about it."""
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return StoreError(
            f"the event log {name} can't be written: {error}; nothing of it was stored",
            hint="Free space (or connections) on the database server, then do it again.",
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        return StoreError(
            f"the event log {name} refused the connection: {error}",
            hint="Check user, password and database in SANE_DATABASE_URL.",
        )
    if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
        return StoreError(f"the event log {name} failed: {error}")
    return StoreError(
        f"the event log {name} can't be reached: {str(error) or type(error).__name__};"
        " whether the last events were stored is not known",
        hint="See that the server runs, then read the log before appending again.",
    )


# asyncpg raises its own tree, and lets errors of the socket and of the deadline through.
FAILURES = (asyncpg.PostgresError, *CLIENT_ERRORS, OSError, asyncio.TimeoutError)


class Waiting(NamedTuple):
    """Hold a script that waits for the next commit, and the future of its caller."""

    make: MakeScript[Any]
    future: asyncio.Future[Any]

    def end(self, result: object, error: BaseException | None) -> None:
        """Answer the caller, unless it has gone."""
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def end_all(batch: list[Waiting], error: BaseException) -> None:
    """Answer every caller with an error."""
    for waiting in batch:
        waiting.end(None, error)


class PostgresStore(LogStore):
    """Keep the log in a PostgreSQL database."""

    def __init__(self, name: str, url: str, pool: Any, timeout_s: float) -> None:
        """Prepare one; a transaction that takes longer than `timeout_s` is cut off."""
        super().__init__(name)
        self._url = url
        self._pool = pool
        self._timeout_s = timeout_s
        self._watcher: asyncio.Task[None] | None = None
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def _write(self, make: MakeScript[T]) -> T:
        self._refuse_when_closed()
        if len(self._waiting) >= QUEUE_JOBS:
            raise UnavailableError(f"{QUEUE_JOBS} transactions wait for the event log {self.name}")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(make, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._commit_waiting())
        return await future

    async def _commit_waiting(self) -> None:
        """Commit what waits, together: tasks that queue on the counter's row one by one take five times as long."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_JOBS], self._waiting[BATCH_JOBS:]
            try:
                split = await self._commit_or_refuse(batch)
                for waiting in split:
                    await self._commit_or_refuse([waiting])
            except BaseException as error:  # this task was cancelled: nobody may wait for ever
                end_all(batch, error)
                raise

    async def _commit_or_refuse(self, batch: list[Waiting]) -> list[Waiting]:
        """Answer every caller, or return those that have to be tried each alone: the database refused them together."""
        try:
            await self._commit(batch)
        except FAILURES as error:
            if len(batch) > 1 and not is_lost(error) and not isinstance(error, TimeoutError):
                return batch
            end_all(batch, explain(error, self.name))  # perhaps it was stored: never tried again from here
        except Exception as error:
            end_all(batch, error)
        return []

    async def _commit(self, batch: list[Waiting]) -> None:
        """Run scripts in one transaction, several behind a savepoint each: a refusal undoes only its own events."""
        ends: list[tuple[object, BaseException | None]] = []
        async with self._connection() as connection, connection.transaction():
            if len(batch) == 1:
                ends.append((await run_script(connection, batch[0].make()), None))
            else:
                ends = [await self._try(connection, waiting.make) for waiting in batch]
            await connection.execute(f"NOTIFY {CHANNEL}")
        for waiting, (result, error) in zip(batch, ends, strict=True):
            waiting.end(result, error)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        """Give a connection, and cut it off when its time is over: asyncpg's own limits wait for the server's yes.

        A server that is stopped, or behind a network that swallows all, never says it.
        """
        connection = await self._pool.acquire(timeout=self._timeout_s)
        cut = asyncio.get_running_loop().call_later(self._timeout_s, connection.terminate)
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            cut.cancel()
            await self._pool.release(connection, timeout=CLOSE_TIMEOUT_S)

    async def _try(self, connection: Connection, make: MakeScript[T]) -> tuple[T | None, BaseException | None]:
        try:
            async with connection.transaction():
                return await run_script(connection, make()), None
        except FAILURES:
            raise
        except Exception as error:
            return None, error

    async def _read(self, make: MakeScript[T]) -> T:
        """Run a script that only reads; after a lost connection again on new ones, until a restart may be over."""
        for pause_s in READ_AGAIN_S:
            try:
                return await self._read_once(make)
            except StoreError as error:
                if self._followers.closed or not is_lost(error.__cause__):
                    raise
                await asyncio.sleep(pause_s)
        return await self._read_once(make)

    async def _read_once(self, make: MakeScript[T]) -> T:
        self._refuse_when_closed()
        try:
            async with self._connection() as connection:
                return await run_script(connection, make())
        except FAILURES as error:
            raise explain(error, self.name) from error

    def _watch(self) -> None:
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Wake the followers at each notification, for as long as there are any; reconnect when it must."""
        while len(self._followers):
            connection: Connection = None
            try:
                connection = await connect(self._url)
                await self._wake_by(connection)
            except (
                Exception
            ):  # whatever it is, no follower may go deaf: each is woken, reads, and is told what is wrong
                self._followers.wake()
                await asyncio.sleep(RELISTEN_S)
            finally:
                if connection is not None:
                    connection.terminate()

    async def _wake_by(self, connection: Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())  # pyright: ignore[reportUnknownLambdaType]
        await connection.add_listener(CHANNEL, lambda *_: self._followers.wake())  # pyright: ignore[reportUnknownLambdaType]
        while len(self._followers) and not lost.is_set():
            self._followers.wake()  # first for what came before the listener, then for what it may have missed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await lost.wait()
            await connection.execute("SELECT 1")

    async def _release(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=CLOSE_TIMEOUT_S)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pool.close()
        except FAILURES:
            self._pool.terminate()


async def connect(url: str) -> Connection:
    """Return one connection of its own."""
    opened: Any = asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return await opened


def name_of(url: str) -> str:
    """Return how messages call a database: its URL without user, password and options."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"postgresql://{place}{parts.path}"


async def open_postgres(url: str, timeout_s: float = COMMAND_TIMEOUT_S) -> PostgresStore:
    """Open the log in a database, migrated; `timeout_s` is for each transaction.

    Raises StoreError when it can't be reached, or is of a newer sane.
    """
    name = name_of(url)
    pool: Any = None
    try:
        pool = await asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            url, min_size=1, max_size=MAX_CONNECTIONS, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S
        )
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await run_script(connection, migrate(name))
    except FAILURES as error:
        if pool is not None:
            pool.terminate()
        raise explain(error, name) from error
    except BaseException:
        if pool is not None:
            pool.terminate()
        raise
    return PostgresStore(name, url, pool, timeout_s)

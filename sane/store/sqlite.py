"""The event log in one SQLite file: write-ahead log, every commit on disk before it is acknowledged.

One thread owns the connection, so no commit holds up the event loop. What many tasks append while a commit is
under way goes into the next one together, each behind a savepoint: a refusal undoes only its own events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from sane.errors import SaneError, StoreError, UnavailableError
from sane.store.logstore import LogStore
from sane.store.migrations import migrate
from sane.store.script import MakeScript, Script
from sane.transports.threaded import make_future

T = TypeVar("T")
BUSY_TIMEOUT_MS = 10_000
HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
BATCH_JOBS = 256
QUEUE_JOBS = 10_000
WATCH_INTERVAL_S = 0.02  # PRAGMA data_version takes 2 µs (measured): 50 a second cost nothing
CACHED_STATEMENTS = 256


def run_script(connection: sqlite3.Connection, script: Script[T]) -> T:
    """Drive a script to its end and return what it returns."""
    rows: list[Any] = []
    try:
        query = next(script)
        while True:
            rows = connection.execute(query.sql, query.args).fetchall()
            query = script.send(rows)
    except StopIteration as end:
        return end.value
    finally:
        script.close()


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 where it gave none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def explain(error: sqlite3.Error, path: Path) -> SaneError:
    """Return what a database error means and what to do about it."""
    code = code_of(error)
    if code in HELD:
        return UnavailableError(
            f"the event log {path} was held by another process for {BUSY_TIMEOUT_MS / 1000:g} s",
            hint="Look for a sane process that hangs while it writes.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"the event log {path} is damaged: {error}",
            hint=f"Put a copy of it back, or save what can be read with `sqlite3 {path} .recover`;"
            f" to start an empty log, move {path.name}, {path.name}-wal and {path.name}-shm away together.",
        )
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StoreError(
            f"the event log {path} can't be written: {error}; nothing of it was stored",
            hint="Free space on that disk (or lift the file size limit), then do it again.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"the event log {path} can't be written: {error}",
            hint="Check who owns it and its directory, or set SANE_STATE_DIR to a directory of your own.",
        )
    return StoreError(f"the event log {path} failed: {error}")


class Job:
    """One script, and the future that gets its result."""

    def __init__(
        self, make: MakeScript[Any], writes: bool, done: Callable[[object, BaseException | None], None]
    ) -> None:
        self.make = make
        self.writes = writes
        self.done = done
        self.result: object = None
        self.error: BaseException | None = None


class Journal:
    """Own the connection in one thread and run jobs there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.Queue[Job | None] = queue.Queue(QUEUE_JOBS)
        self._connection: sqlite3.Connection = cast(sqlite3.Connection, None)
        self._thread = threading.Thread(target=self._serve, name="sane-store", daemon=True)

    def start(self, opened: Job) -> None:
        """Open the file in the thread; `opened` is told how that went."""
        self._opened = opened
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises UnavailableError when 10,000 are waiting."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise UnavailableError(f"{QUEUE_JOBS} transactions wait for the event log {self._path}") from None

    def stop(self, timeout_s: float) -> None:
        """Finish the queued jobs and end the thread."""
        self._jobs.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        try:
            self._connection = connect(self._path)
        except (sqlite3.Error, OSError, SaneError) as error:
            self._opened.done(None, explain(error, self._path) if isinstance(error, sqlite3.Error) else error)
            return
        self._opened.done(None, None)
        running = True
        while running:
            batch: list[Job] = []
            job = self._jobs.get()
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH_JOBS or self._jobs.empty():
                    break
                job = self._jobs.get_nowait()
            running = job is not None
            self._run_batch(batch)
        self._connection.close()

    def _run_batch(self, batch: list[Job]) -> None:
        try:
            self._commit_or_split([job for job in batch if job.writes])
            for job in batch:
                if not job.writes:
                    self._run_reader(job)
        except BaseException as error:  # nobody may wait for ever, and the thread must go on
            for job in batch:
                job.error = job.error or error
        for job in batch:
            job.done(job.result, job.error)

    def _commit_or_split(self, jobs: list[Job]) -> None:
        """Commit jobs together; when the database refused, each alone: one too large must not fail the others."""
        if jobs and not self._commit(jobs) and len(jobs) > 1:
            for job in jobs:
                job.result = job.error = None
                self._commit([job])

    def _commit(self, jobs: list[Job]) -> bool:
        """Run jobs in one transaction; return False when the database refused them, which is then every job's error.

        Where another process holds the file all have waited for it, and each alone would wait as long again: True.
        """
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                execute("SAVEPOINT job")
                try:
                    job.result = run_script(self._connection, job.make())
                except sqlite3.Error:
                    raise
                except BaseException as error:
                    job.error = error
                    execute("ROLLBACK TO job")
                execute("RELEASE job")
            execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already
                execute("ROLLBACK")
            for job in jobs:
                job.result, job.error = None, explain(error, self._path)
            return code_of(error) in HELD
        return True

    def _run_reader(self, job: Job) -> None:
        try:
            job.result = run_script(self._connection, job.make())
        except sqlite3.Error as error:
            job.error = explain(error, self._path)
        except BaseException as error:
            job.error = error


def connect(path: Path) -> sqlite3.Connection:
    """Open the file (made 0600 in a directory made 0700), set it up and migrate it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=CACHED_STATEMENTS)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _set_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        run_script(connection, migrate(str(path), integer="INTEGER"))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _set_wal(connection: sqlite3.Connection) -> None:
    # Two processes that make the file at once: SQLite answers "busy" here without waiting for busy_timeout.
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class SqliteStore(LogStore):
    """Keep the log in a SQLite file."""

    def __init__(self, path: Path, journal: Journal) -> None:
        super().__init__(str(path))
        self._path = path
        self._journal = journal
        self._watcher: asyncio.Task[None] | None = None

    async def _write(self, make: MakeScript[T]) -> T:
        return await self._submit(make, True)

    async def _read(self, make: MakeScript[T]) -> T:
        return await self._submit(make, False)

    async def _submit(self, make: MakeScript[T], writes: bool) -> T:
        self._refuse_when_closed()
        future, done = make_future()
        self._journal.submit(Job(make, writes, done))
        return cast(T, await future)

    def _watch(self) -> None:
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch_file())

    async def _watch_file(self) -> None:
        """Wake the followers whenever another connection has committed, for as long as there are any."""
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        seen = None
        try:
            while len(self._followers):
                try:
                    version = connection.execute("PRAGMA data_version").fetchone()[0]
                except sqlite3.Error:
                    version = None  # whoever follows reads the log and is told what is wrong with it
                if version != seen or version is None:
                    seen = version
                    self._followers.wake()
                await asyncio.sleep(WATCH_INTERVAL_S)
        finally:
            connection.close()

    async def _release(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._journal.stop, BUSY_TIMEOUT_MS / 1000)


async def open_sqlite(path: Path) -> SqliteStore:
    """Open the log in a file. Raises StoreError when that can't be done."""
    future, done = make_future()
    journal = Journal(path)
    journal.start(Job(lambda: iter(()), False, done))  # type: ignore[arg-type]
    try:
        await future
    except OSError as error:
        raise StoreError(
            f"the event log {path} can't be opened: {error.strerror}",
            hint="Check the directory, or set SANE_STATE_DIR to a directory of your own.",
        ) from None
    return SqliteStore(path, journal)

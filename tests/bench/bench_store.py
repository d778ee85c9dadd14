"""Measure the event log against raw sqlite3 in the same run, and how soon a follower sees an event.

    .venv/bin/python tests/bench/bench_store.py [POSTGRES_URL]

Prints one JSON object. Times are in milliseconds; every raw commit is as durable as ours (WAL, synchronous FULL).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sane.core.events import Event
from sane.store import open_store
from sane.store.base import Store

ROUNDS = 5
APPENDS = 200
TASKS = 50
BATCH = 100
DATA = {"text": "x" * 200}


def event() -> Event:
    return Event("message", 1, "web", "web-1", "web1", DATA)


def raw_appends(connection: sqlite3.Connection, size: int) -> list[float]:
    """Return the time of each durable transaction of `size` rows, by hand."""
    times: list[float] = []
    row = (1, "message", "web", "web-1", "web1", json.dumps(DATA))
    sql = "INSERT INTO events (at_ms, kind, key, deployment, host, data) VALUES (?, ?, ?, ?, ?, ?)"
    for _ in range(max(10, APPENDS // size)):
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(sql, [row] * size)
        connection.execute("COMMIT")
        times.append(time.perf_counter() - start)
    return times


async def our_appends(store: Store, size: int) -> list[float]:
    """Return the time of each append of `size` events."""
    times: list[float] = []
    for _ in range(max(10, APPENDS // size)):
        start = time.perf_counter()
        await store.append([event() for _ in range(size)])
        times.append(time.perf_counter() - start)
    return times


async def at_once(store: Store) -> float:
    """Return appends a second when 50 tasks append one event at a time."""

    async def append() -> None:
        for _ in range(20):
            await store.append([event()])

    start = time.perf_counter()
    await asyncio.gather(*(append() for _ in range(TASKS)))
    return TASKS * 20 / (time.perf_counter() - start)


async def latencies(writer: Store, reader: Store) -> list[float]:
    """Return the times from the call of append to the arrival at a follower; ours to write, `reader` to follow."""
    times: list[float] = []
    events = reader.follow((await writer.append([event()]))[0].seq - 1)
    await anext(events)
    for _ in range(100):
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.003)
        start = time.perf_counter()
        await writer.append([event()])
        await waiting
        times.append(time.perf_counter() - start)
    await events.aclose()
    return times


def median_ms(times: list[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(times) * 1e3, 3)


def raw_database(path: Path) -> sqlite3.Connection:
    """Return a plain table of events with the same settings."""
    connection = sqlite3.connect(path, isolation_level=None)
    for sql in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, at_ms, kind, key, deployment, host, data)",
        "CREATE INDEX by_deployment ON events (deployment, seq)",
        "CREATE INDEX by_key ON events (key, seq)",
    ):
        connection.execute(sql)
    return connection


async def measure(directory: Path, url: str | None, found: Callable[[str, float], None]) -> None:
    """Measure one store and report each figure."""
    store, other = await open_store(url, directory), await open_store(url, directory)
    ours: dict[int, list[float]] = {1: [], BATCH: []}
    raw: dict[int, list[float]] = {1: [], BATCH: []}
    connection = raw_database(directory / "raw.db")
    for _ in range(ROUNDS):
        for size in ours:
            raw[size] += raw_appends(connection, size)
            ours[size] += await our_appends(store, size)
    for size, name in ((1, "one"), (BATCH, "batch_of_100")):
        found(f"append_{name}_ms", median_ms(ours[size]))
        found(f"raw_sqlite_{name}_ms", median_ms(raw[size]))
        found(f"ratio_{name}", round(statistics.median(ours[size]) / statistics.median(raw[size]), 2))
    found("appends_per_s_of_50_tasks", round(statistics.median([await at_once(store) for _ in range(3)])))
    found("follow_same_process_p50_ms", median_ms(await latencies(store, store)))
    found("follow_other_process_p50_ms", median_ms(await latencies(store, other)))
    connection.close()
    await store.close()
    await other.close()


def main() -> None:
    """Measure SQLite, and PostgreSQL when its URL is given (to an empty database)."""
    figures: dict[str, Any] = {}
    for name, url in (("sqlite", None), ("postgresql", sys.argv[1] if len(sys.argv) > 1 else "")):
        if url == "":
            continue
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            figures[name] = {}
            asyncio.run(measure(Path(directory), url, figures[name].__setitem__))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""Killed writers, full disks, damaged files, newer tables, lost servers: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sane.core.events import Event
from sane.errors import StoreError, UnavailableError
from sane.store import open_store, sqlite
from sane.store.base import Store
from sane.store.migrations import MIGRATIONS, migrate
from tests.store.conftest import postgres_server

if TYPE_CHECKING:
    from tests.store.conftest import OpenAnother

ROOT = Path(__file__).parents[2]
WRITER = Path(__file__).with_name("writer.py")
KILL_ROUNDS = 4
BOUND_S = 20


def message(text: str = "hello") -> Event:
    return Event("message", 5, "web", "d1", data={"text": text})


async def kill_a_writer(store: Store, state_dir: Path, url: str | None, delay_s: float) -> dict[int, str]:
    """Start a writer, kill it at a random moment, and return what it acknowledged: first number -> text."""
    command = [sys.executable, str(WRITER), str(state_dir), *([url] if url else [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND_S):
            lines = [await process.stdout.readline()]
            await asyncio.sleep(delay_s)
            process.kill()
            lines += (await process.stdout.read()).splitlines(keepends=True)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return {int(seq): text for seq, text in whole}


async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_gap(
    store: Store, store_url: str | None, tmp_path: Path
) -> None:
    acknowledged: dict[int, str] = {}
    for _ in range(KILL_ROUNDS):
        seen = await kill_a_writer(store, tmp_path / "state", store_url, random.uniform(0, 0.05))
        assert seen
        assert not seen.keys() & acknowledged.keys()
        acknowledged |= seen
    events: list[Event] = []
    while page := await store.read(len(events), limit=10_000):
        events += page
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for seq, text in acknowledged.items():
        assert [(e.data["text"], e.data["part"]) for e in events[seq - 1 : seq + 2]] == [(text, n) for n in range(3)]
    assert len(events) % 3 == 0  # no transaction was stored in part
    assert (await store.append([message()]))[0].seq == len(events) + 1


async def test_a_disk_without_room_is_named_and_nothing_is_half_written(tmp_path: Path) -> None:
    store = await open_store(None, tmp_path)
    await store.append([message("before")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(StoreError, match=r"sane\.db can't be written: .*nothing of it was stored") as caught:
            await store.append([message("x" * 1000)] * 500)
        assert "Free space" in caught.value.hint
        small = await store.append([message("small")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert small[0].seq == 2
    assert (await store.append([message("after")]))[0].seq == 3
    assert [event.data["text"] for event in await store.read()] == ["before", "small", "after"]
    await store.close()


async def test_one_append_too_large_for_the_disk_does_not_fail_those_beside_it(tmp_path: Path) -> None:
    store = await open_store(None, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        calls = [store.append([message("a")]), store.append([message("x" * 1000)] * 500), store.append([message("b")])]
        results = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [type(result).__name__ for result in results] == ["list", "StoreError", "list"]
    assert [(event.seq, event.data["text"]) for event in await store.read()] == [(1, "a"), (2, "b")]
    await store.close()


async def test_one_transaction_that_postgresql_refuses_does_not_fail_those_beside_it(
    postgres_schema_url: str, tmp_path: Path
) -> None:
    store = await open_store(postgres_schema_url, tmp_path)
    name = random.randbytes(5000).hex()  # more than an index entry may have
    hosts = [{"name": name, "digest": "own"}, {"name": "b", "digest": "other"}]
    data = {"revision": 1, "version": "1", "hosts": hosts, "policy": {}}
    created = Event("deployment_created", 1, "web", "d9", data=data)
    calls = [store.append([message("a")]), store.create_deployment(created), store.append([message("b")])]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["list", "StoreError", "list"]
    assert [(event.seq, event.data["text"]) for event in await store.read()] == [(1, "a"), (2, "b")]
    await store.close()


@pytest.mark.parametrize("damage", ["header", "page"])
async def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    store = await open_store(None, tmp_path)
    for number in range(30):
        await store.append([message("x" * 2000 + str(number))])
    await store.close()
    path = tmp_path / "sane.db"
    content = bytearray(path.read_bytes())
    spoilt = slice(0, 100) if damage == "header" else slice(4096, len(content))
    content[spoilt] = os.urandom(len(content[spoilt]))
    path.write_bytes(content)

    async def read_again() -> None:
        store = await open_store(None, tmp_path)
        try:
            await store.read()
        finally:
            await store.close()

    with pytest.raises(StoreError, match=r"sane\.db is damaged") as caught:
        await read_again()
    assert ".recover" in caught.value.hint
    assert f"move {path.name}" in caught.value.hint


async def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/sane\.db can't be opened") as caught:
        await open_store(None, tmp_path / "file")
    assert "SANE_STATE_DIR" in caught.value.hint


async def test_what_it_makes_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = await open_store(None, tmp_path / "a" / "state")
        await store.append([message()])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "state").iterdir()}
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700
    assert modes == {"sane.db": 0o600, "sane.db-wal": 0o600, "sane.db-shm": 0o600}
    await store.close()
    assert [path.name for path in (tmp_path / "a" / "state").iterdir()] == ["sane.db"]


async def test_a_writer_that_hangs_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 200)
    store = await open_store(None, tmp_path)
    other = sqlite3.connect(tmp_path / "sane.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match=r"held by another process for 0\.2 s"):
        await store.append([message()])
    assert await store.read() == []  # reading goes on meanwhile
    other.execute("ROLLBACK")
    other.close()
    assert (await store.append([message()]))[0].seq == 1
    await store.close()


async def test_writers_that_wait_together_for_one_that_hangs_wait_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 300)
    store = await open_store(None, tmp_path)
    other = sqlite3.connect(tmp_path / "sane.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(2):  # two commits that wait; one each would be 6 s
        calls = [store.append([message(str(number))]) for number in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {UnavailableError}
    other.execute("ROLLBACK")
    other.close()
    assert (await store.append([message()]))[0].seq == 1
    await store.close()


async def test_tables_of_a_newer_sane_are_refused(store: Any, open_another: OpenAnother) -> None:
    def age() -> Any:
        yield from migrate("x", [*MIGRATIONS, ("CREATE TABLE later (a BIGINT)",)])

    await store._write(age)
    await store.close()
    newer, known = len(MIGRATIONS) + 1, len(MIGRATIONS)
    with pytest.raises(StoreError, match=f"has version {newer} of the tables; .* up to version {known}") as caught:
        await open_another()
    assert "newer sane" in caught.value.hint


async def test_a_migration_is_applied_once_and_keeps_the_log(store: Any) -> None:
    later = [*MIGRATIONS, ("CREATE TABLE later (a BIGINT)", "INSERT INTO later (a) VALUES (1)")]
    await store.append([message()])
    before = len(MIGRATIONS)
    assert await store._write(lambda: migrate("x", later)) == (before, before + 1)
    assert await store._write(lambda: migrate("x", later)) == (before + 1, before + 1)
    assert len(await store.read()) == 1


async def test_many_that_open_an_empty_store_at_once_all_work(open_another: OpenAnother) -> None:
    stores = await asyncio.gather(*(open_another() for _ in range(6)))
    stored = await asyncio.gather(*(store.append([message()]) for store in stores))
    assert sorted(events[0].seq for events in stored) == list(range(1, 7))


async def test_no_server_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await open_store(f"postgresql://bob:hunter2@/app?host={tmp_path}", tmp_path)
    assert caught.value.message.startswith("the event log postgresql:///app can't be reached")
    with pytest.raises(StoreError) as caught:
        await open_store("postgresql://bob:hunter2@127.0.0.1:1/app", tmp_path)
    assert "postgresql://127.0.0.1:1/app can't be reached" in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint


async def test_a_wrong_database_is_named(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="refused the connection") as caught:
        await open_store(postgres_url.replace("/postgres?", "/absent?"), tmp_path)
    assert "SANE_DATABASE_URL" in caught.value.hint


async def test_a_follower_survives_the_loss_of_its_connections(
    postgres_url: str, postgres_schema_url: str, tmp_path: Path
) -> None:
    """The server ends every connection: what waits reconnects; what is appended then arrives once."""
    import asyncpg

    reader, writer = await open_store(postgres_schema_url, tmp_path), await open_store(postgres_schema_url, tmp_path)
    events = reader.follow(0)
    await writer.append([message("1")])
    async with asyncio.timeout(BOUND_S):
        assert (await anext(events)).seq == 1
        waiting = asyncio.ensure_future(anext(events))
        admin = await asyncpg.connect(postgres_url)
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'sane'"
        )
        await admin.execute(sql)
        await admin.close()
        stored: list[Event] = []
        while not stored:
            with contextlib.suppress(StoreError):
                stored = await writer.append([message("2")], expect=1)
        assert (await waiting).seq == 2
    for store in (reader, writer):
        await store.close()


def test_the_sqlite_path_imports_no_other_database() -> None:
    code = (
        "import sys; import sane.store.sqlite;"
        " print(*({'asyncpg', 'sqlalchemy', 'pydantic', 'click'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert (run.stdout.split(), run.returncode) == ([], 0)


@pytest.mark.timeout(60)
async def test_a_server_that_stops_answering_holds_nobody_longer_than_its_time() -> None:
    from sane.store.postgres import open_postgres

    with postgres_server() as server:
        store = await open_postgres(server.url, timeout_s=1.0)
        try:
            await store.append([message()])
            with server.held():
                async with asyncio.timeout(15):
                    with pytest.raises(StoreError, match="can't be reached"):
                        await store.append([message("not now")])
                reading = asyncio.create_task(store.read())
                await asyncio.sleep(0)
                reading.cancel()
                async with asyncio.timeout(5):
                    await asyncio.wait([reading])
            async with asyncio.timeout(15):
                assert (await store.read())[0].data["text"] == "hello"
        finally:
            async with asyncio.timeout(15):
                await store.close()

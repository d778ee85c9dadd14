"""Processes of this machine under asyncio: what is opened is closed, whatever the process does."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.errors import LostError, UsageError
from sane.transports.blocking import run_blocking
from sane.transports.local_machine import AsyncChannel, LocalMachine
from sane.transports.local_machine_blocking import BlockingMachine
from tests.processes import is_running


@pytest.mark.parametrize(
    "script",
    [
        "exec yes",  # more than anybody reads: the pipe is never at its end
        "exit 0",  # has gone before
        "sleep 3 & exit 0",  # a child holds the pipe
        "trap '' HUP; exec sleep 3",  # the end of its input does not end it
    ],
)
def test_a_closed_channel_leaves_nothing_open(script: str, monkeypatch: pytest.MonkeyPatch):
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def open_and_close() -> None:
        channel = await LocalMachine().spawn(["sh", "-c", script])
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await channel.close()

    gc.collect()  # what earlier tests left is not this one's
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(open_and_close())
        gc.collect()
    assert [str(w.message) for w in warned if "transport" in str(w.message)] == []
    assert unraisable == []


def close_async(argv: list[str]) -> None:
    async def run() -> None:
        await (await LocalMachine().spawn(argv)).close()

    asyncio.run(run())


def close_blocking(argv: list[str]) -> None:
    async def run() -> None:
        await (await BlockingMachine().spawn(argv)).close()

    run_blocking(run())


@pytest.mark.parametrize("close", [close_async, close_blocking])
def test_what_a_program_still_writes_is_taken_when_its_channel_closes(
    tmp_path: Path, close: Callable[[list[str]], None]
) -> None:
    """A tmux client that is owed output when its reader goes ends only by a signal: 2 of 100 calls took 0.5 s more."""
    script = f"cat >/dev/null; head -c 300000 /dev/zero && : >{tmp_path}/done"
    close(["sh", "-c", script])
    assert (tmp_path / "done").exists()


def test_a_program_that_outlasts_its_time_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch):
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def run() -> None:
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError):
                await LocalMachine().execute(["sh", "-c", "sleep 20 & exec sleep 20"], timeout_s=0.2)

    asyncio.run(run())
    gc.collect()
    assert unraisable == []


SPAWN = """import sys, time
from sane.transports.blocking import run_blocking
from sane.transports.local_machine_blocking import BlockingMachine
channel = run_blocking(BlockingMachine().spawn(["sh", "-c", "echo; exec sleep 60"]))
run_blocking(channel.read(10))
print(channel._pid, flush=True)
time.sleep(60)"""
SPAWN_ASYNC = """import asyncio
from sane.transports.local_machine import AsyncChannel, LocalMachine
async def main():
    channel = await LocalMachine().spawn(["sh", "-c", "echo; exec sleep 60"])
    await channel.read(10)
    print(channel._pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone signals the end of a pipe")
@pytest.mark.parametrize("program", [SPAWN, SPAWN_ASYNC], ids=["blocking", "asyncio"])
def test_a_channels_program_ends_with_whoever_started_it(program: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    assert is_running(child)
    owner.kill()
    owner.communicate()
    until = time.monotonic() + 5
    try:
        while is_running(child):
            assert time.monotonic() < until, "it outlived a killed owner by 5 s"
            time.sleep(0.01)
    finally:
        if is_running(child):
            os.kill(child, signal.SIGKILL)


QUIET = "sleep 0.8; : >{path}"  # longer than what has said something is waited for


@pytest.mark.parametrize("close", [close_async, close_blocking])
def test_a_program_that_has_said_nothing_yet_is_not_killed_in_its_start(
    tmp_path: Path, close: Callable[[list[str]], None]
) -> None:
    """A `tmux -C` killed then takes its server down."""
    close(["sh", "-c", QUIET.format(path=tmp_path / "done")])
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("turns", range(6))
async def test_nor_where_its_start_or_its_close_is_cancelled(tmp_path: Path, turns: int) -> None:
    opened: list[AsyncChannel] = []

    async def open_and_close() -> None:
        channel = await LocalMachine().spawn(["sh", "-c", QUIET.format(path=tmp_path / "done")])
        opened.append(channel)
        try:
            await channel.read(10)
        finally:
            await channel.close()

    task = asyncio.create_task(open_and_close())
    for _ in range(turns):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task}, timeout=5)
    until = time.monotonic() + 5
    while opened and not (tmp_path / "done").exists():
        assert time.monotonic() < until, "it was killed"
        await asyncio.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone signals the end of a pipe")
@pytest.mark.parametrize("program", [SPAWN, SPAWN_ASYNC], ids=["blocking", "asyncio"])
def test_nor_where_whoever_started_it_is_killed(program: str, tmp_path: Path) -> None:
    program = program.replace("echo; exec sleep 60", QUIET.format(path=tmp_path / "done"))
    program = re.sub(r".*\.read\(10\).*\n", "", program)
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    owner.stdout.readline()
    owner.kill()
    owner.communicate()
    until = time.monotonic() + 5
    while not (tmp_path / "done").exists():
        assert time.monotonic() < until, "it was killed"
        time.sleep(0.01)


async def test_bytes_of_many_writers_come_in_order_and_whole(tmp_path: Path) -> None:
    """Also those of one that was cancelled: half a command would become one with the next."""
    channel = await LocalMachine().spawn(["sh", "-c", f"sleep 0.3; cat >{tmp_path}/taken; echo end"])
    parts = [bytes([65 + n]) * 100_000 + b"\n" for n in range(5)]
    tasks = [asyncio.create_task(channel.write(part)) for part in parts]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks, timeout=10)
    assert [task.cancelled() for task in tasks] == [False, True, False, False, False]
    await channel.close()
    assert (tmp_path / "taken").read_bytes() == b"".join(parts)


async def test_what_was_not_sent_when_a_channel_closes_is_said_to_be_lost() -> None:
    channel = await LocalMachine().spawn(["sh", "-c", "echo; exec sleep 20"])
    await channel.read(10)
    writing = asyncio.create_task(channel.write(bytes(1 << 20)))
    await asyncio.sleep(0)
    await channel.close()
    with pytest.raises(LostError, match="before it had taken all"):
        await writing


async def test_a_program_that_takes_nothing_more_says_so() -> None:
    channel = await LocalMachine().spawn(["sh", "-c", "exec <&-; echo; sleep 5"])
    await channel.read(10)
    with pytest.raises(LostError, match="has gone"):
        await channel.write(b"x")
    await channel.close()
    await channel.close()
    with pytest.raises(LostError, match="has gone"):
        await channel.write(b"x")


async def test_a_reader_is_woken_by_the_close() -> None:
    channel = await LocalMachine().spawn(["sh", "-c", "echo; trap '' HUP; exec sleep 20"])
    assert await channel.read(10) == b"\n"
    reading = asyncio.create_task(channel.read(30))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await channel.close()
        assert await reading == b""
        assert await channel.read(1) == b""


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "x" * (1 << 22)], ids=["NUL", "half a pair", "4 MB"])
def test_a_word_that_no_program_can_be_given_is_its_callers_fault(word: str):
    async def give(machine: LocalMachine | BlockingMachine, way: str) -> None:
        with pytest.raises(UsageError):
            await getattr(machine, way)(["sh", "-c", "exit 0", word])

    for way in ("execute", "spawn"):
        asyncio.run(give(LocalMachine(), way))
        run_blocking(give(BlockingMachine(), way))

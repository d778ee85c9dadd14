"""Processes of this machine under asyncio: what is opened is closed, whatever the process does."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.errors import UsageError
from sane.transports.blocking import run_blocking
from sane.transports.local_machine import LocalMachine
from sane.transports.local_machine_blocking import BlockingMachine
from tests.transports.sshd import is_running


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
channel = run_blocking(BlockingMachine().spawn(["sleep", "60"]))
print(channel._pid, flush=True)
time.sleep(60)"""
SPAWN_ASYNC = """import asyncio
from sane.transports.local_machine import LocalMachine
async def main():
    channel = await LocalMachine().spawn(["sleep", "60"])
    print(channel._process.pid, flush=True)
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


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "x" * (1 << 22)], ids=["NUL", "half a pair", "4 MB"])
def test_a_word_that_no_program_can_be_given_is_its_callers_fault(word: str):
    async def give(machine: LocalMachine | BlockingMachine, way: str) -> None:
        with pytest.raises(UsageError):
            await getattr(machine, way)(["sh", "-c", "exit 0", word])

    for way in ("execute", "spawn"):
        asyncio.run(give(LocalMachine(), way))
        run_blocking(give(BlockingMachine(), way))

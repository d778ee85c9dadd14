"""Processes of this machine under asyncio: what is opened is closed, whatever the process does."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings

import pytest

from sane.transports.local_machine import LocalMachine


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

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(open_and_close())
        gc.collect()
    assert [str(w.message) for w in warned if "transport" in str(w.message)] == []
    assert unraisable == []


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

"""Blocking work under asyncio: a thread of its own for each call, ended by a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from sane.transports.base import OnOutput

T = TypeVar("T")


async def call_in_thread(work: Callable[[int, OnOutput | None], T], on_output: OnOutput | None) -> T:
    """Return what `work` returns, run in a new thread; what it says goes to `on_output` in the loop, in order.

    Cancelling makes the descriptor that `work` gets readable, and waits until it has returned; a second cancellation
    does not wait. (asyncio's own pool has as few as five threads, so one slow host would hold up the others.)
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    tell, told = socket.socketpair()
    failed: list[Exception] = []

    def pass_on(chunk: bytes) -> None:
        if on_output is None or failed:
            return
        try:
            on_output(chunk)
        except Exception as error:  # the loop would only log it
            failed.append(error)
            with contextlib.suppress(OSError):
                tell.send(b"x")

    def say(chunk: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody listens
            loop.call_soon_threadsafe(pass_on, chunk)

    def settle(result: T | None, error: BaseException | None) -> None:
        tell.close()
        if done.done():
            return
        error = failed[0] if failed else error
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType]

    def body() -> None:
        result, error = None, None
        try:
            result = work(told.fileno(), say if on_output is not None else None)
        except BaseException as raised:
            error = raised
        told.close()
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, daemon=True, name="sane-blocking").start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            tell.send(b"x")
        with contextlib.suppress(Exception):
            await asyncio.shield(done)
        raise

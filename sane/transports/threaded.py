"""Blocking work under asyncio: a thread of its own for each call, ended by a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def call_in_thread(work: Callable[[int], T]) -> T:
    """Return what `work` returns, run in a new thread.

    Cancelling makes the descriptor that `work` gets readable, and waits until it has returned; a second cancellation
    does not wait. (asyncio's own pool has as few as five threads, so one slow host would hold up the others.)
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    tell, told = socket.socketpair()

    def settle(result: T | None, error: BaseException | None) -> None:
        tell.close()
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType]

    def body() -> None:
        result, error = None, None
        try:
            result = work(told.fileno())
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


def call_in_loop(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a function, callable from any thread, that calls `function` in the running loop, in order."""
    loop = asyncio.get_running_loop()

    def call(chunk: bytes) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function, chunk)

    return call

"""Blocking work under asyncio: a thread of its own for each call, ended by a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sane.transports.base import OnOutput

T = TypeVar("T")


def make_future(
    failed: Sequence[Exception] = (),
) -> tuple[asyncio.Future[Any], Callable[[Any, BaseException | None], None]]:
    """Return a future of this loop and a function, callable from any thread, that ends it with a result or an error.

    What the loop put into `failed` meanwhile comes before both.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def end(result: Any, error: BaseException | None) -> None:
        if future.done():  # the caller was cancelled; what it asked for has happened all the same
            return
        error = failed[0] if failed else error
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def done(result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone, and the caller with it
            loop.call_soon_threadsafe(end, result, error)

    return future, done


async def call_in_thread(work: Callable[[int, OnOutput | None], T], on_output: OnOutput | None) -> T:
    """Return what `work` returns, run in a new thread; what it says goes to `on_output` in the loop, in order.

    Cancelling makes the descriptor that `work` gets readable, and waits until it has returned; a second cancellation
    does not wait. (asyncio's own pool has as few as five threads, so one slow host would hold up the others.)
    """
    loop = asyncio.get_running_loop()
    failed: list[Exception] = []
    future, done = make_future(failed)
    tell, told = socket.socketpair()
    future.add_done_callback(lambda _: tell.close())

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

    def body() -> None:
        result, error = None, None
        try:
            result = work(told.fileno(), say if on_output is not None else None)
        except BaseException as raised:
            error = raised
        told.close()
        done(result, error)

    threading.Thread(target=body, daemon=True, name="sane-blocking").start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            tell.send(b"x")
        with contextlib.suppress(Exception):
            await asyncio.shield(future)
        raise

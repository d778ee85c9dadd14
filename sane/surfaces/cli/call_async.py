"""Call one verb under asyncio, for targets that are reached over SSH. Imported only for those."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from sane.engine.context import AsyncContext
from sane.errors import InterruptedRunError
from sane.surfaces.context import report_on_stderr
from sane.verbs.registry import Verb

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
T = TypeVar("T")


def call_with_asyncio(verb: Verb, values: Mapping[str, object]) -> object:
    """Return a verb's answer; hosts are those of the inventory $SANE_INVENTORY names and of ~/.ssh/config."""
    return asyncio.run(with_context(lambda context: verb.function(context, **values)))


async def with_context(work: Callable[[AsyncContext], Awaitable[T]]) -> T:
    """Return what `work` returns with a context over the hosts of $SANE_INVENTORY, which is closed then."""
    inventory = None
    if os.environ.get("SANE_INVENTORY"):
        from sane.operations.files import load_inventory

        inventory = load_inventory(os.environ["SANE_INVENTORY"])
    context = AsyncContext(inventory, report=report_on_stderr)
    try:
        return await work(context)
    finally:
        await context.close()


class EndedError(InterruptedRunError):
    """Report that a signal ended this process's work; what ran on a target was stopped there."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"{signal.Signals(number).name} ended this call",
            hint="What ran was stopped on its target. Call it again, with more time.",
        )
        self.status = 128 + number


async def until_signal(work: Awaitable[T]) -> T:
    """Return what `work` returns; SIGTERM or SIGHUP cancels it, and raises EndedError once it has stopped."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    told: list[int] = []

    def end(number: int) -> None:
        told.append(number)
        task.cancel()

    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise EndedError(told[0]) from None
        task.cancel()
        raise

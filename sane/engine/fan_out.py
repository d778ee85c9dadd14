"""One question to many hosts at once: every host has an outcome of its own, and a dead one holds nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sane.core.command import Command
from sane.core.target import Target
from sane.errors import SaneError, TransportError
from sane.transports.base import Transport
from sane.transports.context import Context

Question = TypeVar("Question")
Answer = TypeVar("Answer")
PARALLEL = 64  # handshakes past that only wait for each other (docs/benchmarks.md)


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """Hold what one host answered, or in which phase (connect, banner, login, command) it failed and why."""

    host: str
    exit_code: int | None
    output: bytes
    stderr: bytes
    duration_ms: float
    timed_out: bool = False
    phase: str = ""
    error: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the command ended with 0 there."""
        return self.exit_code == 0 and not self.error


async def fan_out(
    context: Context,
    targets: Sequence[tuple[str, Target]],
    command: Command,
    *,
    parallel: int = PARALLEL,
    on_answer: Callable[[HostAnswer], None] = lambda _: None,
) -> list[HostAnswer]:
    """Run a command on every target, `parallel` at once, and return the answers in the order of the targets.

    `on_answer` gets each as it comes. Never raises for what a host does.
    """
    return await ask_all(
        targets, lambda one: _ask(context, one[0], one[1], command), parallel=parallel, on_answer=on_answer
    )


async def ask_all(
    questions: Iterable[Question],
    ask: Callable[[Question], Awaitable[Answer]],
    *,
    parallel: int = PARALLEL,
    on_answer: Callable[[Answer], None] = lambda _: None,
) -> list[Answer]:
    """Ask every question, `parallel` at once, and return the answers in the order of the questions.

    `ask` answers for what a host does. Where it raises all the same, none is left at work on what the caller closes.
    """
    places = asyncio.Semaphore(parallel)

    async def one(question: Question) -> Answer:
        async with places:
            answer = await ask(question)
        on_answer(answer)
        return answer

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
    except ExceptionGroup as defects:
        raise defects.exceptions[0] from None
    return [task.result() for task in tasks]


async def _ask(context: Context, name: str, target: Target, command: Command) -> HostAnswer:
    began = time.monotonic()
    transport: Transport | None = None
    try:
        transport = await context.transport(target)
        result = await transport.run(command)
    except SaneError as error:
        phase = error.phase if isinstance(error, TransportError) else "command"
        elapsed_ms = (time.monotonic() - began) * 1000
        return HostAnswer(name, None, b"", b"", elapsed_ms, phase=phase, error=error.message, hint=error.hint)
    return HostAnswer(
        name, result.exit_code, result.output, result.stderr, result.duration_ms, timed_out=result.timed_out
    )

"""One command on many hosts at once: every host has an outcome of its own, and a dead one holds nobody up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sane.core.command import Command
from sane.core.target import Target
from sane.errors import SaneError, TransportError
from sane.transports.base import Transport
from sane.transports.context import Context

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
    places = asyncio.Semaphore(parallel)

    async def one(name: str, target: Target) -> HostAnswer:
        async with places:
            answer = await _ask(context, name, target, command)
        on_answer(answer)
        return answer

    return await asyncio.gather(*(one(name, target) for name, target in targets))


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

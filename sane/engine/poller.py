"""Poll hosts, each on its own clock: one round trip a poll over connections that stay open.

A host is asked again one interval after it was asked, never while an answer is outstanding. A probe gives its place
back as soon as it is clear that it only waits, so that a thousand dead hosts delay no live one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sane.core.command import Command
from sane.core.health import Facts
from sane.core.target import Target
from sane.core.watch.sample_reading import document_of, sample_of, silent_sample
from sane.core.watch.samples import Sample
from sane.core.workflow.gates import Gate, evaluate
from sane.engine.probes import read_and_judge
from sane.errors import SaneError
from sane.transports.base import Transport
from sane.transports.context import Context

PARALLEL = 64
PLACE_S = 0.5  # what takes longer than that waits for its host, and waiting needs no place
POLL_TIMEOUT_S = 10.0
STOP_S = 0.5  # a host that does not answer does not confirm the end of a command either, for 5 s


@dataclass(frozen=True, slots=True)
class PolledHost:
    """Say where a host is and what it is asked: its health file, and a command that must end with 0 ("": none)."""

    name: str
    target: Target
    health_path: str
    zone: str = ""
    group: str = ""
    version: str = ""
    gates: tuple[Gate, ...] = ()
    probe: str = ""
    max_bytes: int = 64 << 10


class Poller:
    """Ask hosts again and again and hand each sample over. At most one is on its way a host."""

    def __init__(
        self,
        context: Context,
        hosts: Sequence[PolledHost],
        *,
        interval_ms: int,
        now_ms: Callable[[], int],
        once: bool = False,
    ) -> None:
        self.hosts = tuple(hosts)
        self._context = context
        self._interval_ms = interval_ms
        self._now_ms = now_ms
        self._once = once
        self._queue: asyncio.Queue[Sample] = asyncio.Queue(maxsize=max(1, len(hosts)))
        self._places = asyncio.Semaphore(PARALLEL)
        self._tasks: list[asyncio.Task[None]] = []
        self._wake: asyncio.Event | None = None

    def start(self, wake: asyncio.Event) -> None:
        """Begin to ask; `wake` is set whenever there is a sample to take."""
        self._wake = wake
        for number, host in enumerate(self.hosts):
            offset_s = self._interval_ms / 1000 * number / len(self.hosts)
            self._tasks.append(asyncio.create_task(self._ask_on(host, offset_s)))
            self._tasks[-1].add_done_callback(lambda _: wake.set())

    def take(self) -> list[Sample]:
        """Return the samples that came since the last call, in the order in which they came.

        Raises what ended the polling of a host: a defect, for what a host does is a sample.
        """
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        taken: list[Sample] = []
        while not self._queue.empty():
            taken.append(self._queue.get_nowait())
        return taken

    async def stop(self) -> None:
        """Ask no more; what hosts were asked last ends by itself where it does not end within `STOP_S`."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)

    async def _ask_on(self, host: PolledHost, offset_s: float) -> None:
        """Ask one host for as long as it takes: at once, then each interval, the hosts spread over it."""
        loop = asyncio.get_running_loop()
        due_s, first = loop.time(), True
        while True:
            await self._queue.put(await self._ask_once(host))
            if self._wake is not None:
                self._wake.set()
            if self._once:
                return
            due_s += self._interval_ms / 1000 + (offset_s if first else 0.0)
            first = False
            due_s = max(due_s, loop.time())  # what was missed while it did not answer is not made up for
            await asyncio.sleep(due_s - loop.time())

    async def _ask_once(self, host: PolledHost) -> Sample:
        async with self._places:
            asking = asyncio.create_task(poll_host(self._context, host, self._now_ms))
            try:
                await asyncio.wait({asking}, timeout=PLACE_S)
            except asyncio.CancelledError:
                asking.cancel()
                raise
        return await asking


async def poll_host(context: Context, host: PolledHost, now_ms: Callable[[], int]) -> Sample:
    """Return what one host says now; one that can't be asked in time is a silent sample, never an error."""
    facts = Facts(max_bytes=host.max_bytes, fresh=False)
    try:
        async with asyncio.timeout(POLL_TIMEOUT_S):
            transport = await context.transport(host.target)
            verdict, reading = await read_and_judge(transport, host.health_path, host.max_bytes, {}, lambda _: facts)
            probe_ok = await _probe(transport, host.probe)
    except (SaneError, TimeoutError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # nobody asks any more, and the host did not confirm that it heard
            raise asyncio.CancelledError from None
        return silent_sample(host.name, now_ms(), zone=host.zone, group=host.group)
    document = document_of(reading)
    gate = next((g.expression for g in host.gates if evaluate(g, document).outcome == "fail"), "")
    return sample_of(
        host.name,
        now_ms(),
        reading,
        verdict,
        gate=gate if verdict.verdict == "pass" else "",
        probe_ok=probe_ok,
        zone=host.zone,
        group=host.group,
    )


async def _probe(transport: Transport, command: str) -> bool | None:
    if not command:
        return None
    result = await transport.run(Command(command, timeout_s=POLL_TIMEOUT_S, output_limit_bytes=4096))
    return result.exit_code == 0 and not result.timed_out

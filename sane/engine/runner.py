"""The reconcile loop: read the log, decide, write the intent down, do it, write down what came of it.

    decide    actions = reconcile(state, now)                   pure, sane.core.rollout.controller
    intend    append(events of the actions, expect=seq, lease)  refused when the log moved on or the lease is lost
    do        one task an effect; the performer touches the host
    record    append(what came of it)

One loop drives one deployment. Operators and other processes write requests into the same log; the loop follows it.
Whatever kills the loop, the log holds each intent, and the next controller resumes from it: an operation that was
begun is inspected on its host, never begun again (sane.core.host.detached).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Never, Protocol

from sane.core.events import Event
from sane.core.rollout.controller import (
    Action,
    Effect,
    JudgeGates,
    RolloutState,
    WaitUntil,
    apply,
    event_of,
    reconcile,
    unfinished,
)
from sane.engine.log_away import follow_on, keep_lease
from sane.errors import ConflictError, NotFoundError, SaneError
from sane.store.base import Lease, Store

LEASE_TTL_MS = 30_000
READ_PAGE = 1000
RELEASE_TIMEOUT_S = 5.0  # where the log is away, the lease ends by itself


class Performer(Protocol):
    """Touch hosts for the loop."""

    async def perform(self, action: Effect | JudgeGates, state: RolloutState, *, resumed: bool) -> Event:
        """Carry an effect out and return the event that says what came of it; never raises for what a host did.

        `resumed`: an earlier controller wrote the intent down and may have begun it.
        """
        ...


def steady_clock() -> Callable[[], int]:
    """Return a clock of epoch milliseconds that never steps back: the time now, and the monotonic time since."""
    start = time.time_ns() - time.monotonic_ns()
    return lambda: (start + time.monotonic_ns()) // 1_000_000


def wall_clock() -> int:
    """Return epoch milliseconds by the machine's clock: what other processes judge the end of a lease by.

    `steady_clock` stands still while a machine is suspended; a lease renewed by it had ended for everybody else.
    """
    return time.time_ns() // 1_000_000


def way_on(deployment: str) -> str:
    """Return what to do about a run that was interrupted."""
    return f"sane resume {deployment} goes on where it stopped."


class Runner:
    """Drive one deployment to its end, or to where it waits for a person."""

    def __init__(
        self,
        store: Store,
        deployment: str,
        key: str,
        owner: str,
        performer: Performer,
        *,
        now_ms: Callable[[], int],
        lease_ttl_ms: int = LEASE_TTL_MS,
        wait_for_people: bool = True,
        before: Callable[[RolloutState], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare a run. `before` is awaited under the lease, before anything is decided."""
        self._store = store
        self._deployment = deployment
        self._key = key
        self._owner = owner
        self._performer = performer
        self._now_ms = now_ms
        self._lease_ttl_ms = lease_ttl_ms
        self._wait_for_people = wait_for_people
        self._before = before
        self._lease: Lease | None = None
        self.holds_lease = False  # still true behind the end where the lease could not be given up
        self._state: RolloutState | None = None
        self._seq = 0
        self._wake = asyncio.Event()
        self._notes: list[Event] = []
        self._tasks: dict[asyncio.Task[Event], str] = {}

    @property
    def state(self) -> RolloutState:
        """Return the state as far as the log was read."""
        if self._state is None:
            raise NotFoundError(f"there is no deployment '{self._deployment}'")
        return self._state

    @property
    def lease(self) -> Lease:
        """Return the lease held on the deployment key."""
        if self._lease is None:
            raise ConflictError(f"the lease on {self._key} is not held")
        return self._lease

    def in_flight(self) -> list[str]:
        """Return the names of the hosts that something is being done on."""
        return sorted(set(filter(None, self._tasks.values())))

    def note(self, event: Event) -> None:
        """Queue an event that only informs (a step began, output came); it is appended with the next ones."""
        self._notes.append(event)
        self._wake.set()

    async def run(self) -> RolloutState:
        """Take the lease, drive the deployment, release the lease, and return the last state.

        Returns early, with nothing under way, where the deployment waits for a person and `wait_for_people` is False.
        Raises ConflictError when another controller holds the lease or takes it, InterruptedRunError where the log was
        away until the end of the lease.
        """
        self._lease = await self._store.take_lease(self._key, self._owner, self._lease_ttl_ms, wall_clock())
        self.holds_lease = True
        renewing = asyncio.create_task(self._keep_lease())
        following = asyncio.create_task(self._follow())
        driving = asyncio.create_task(self._drive())
        try:
            ended, _ = await asyncio.wait({renewing, following, driving}, return_when=asyncio.FIRST_COMPLETED)
            if not driving.done():
                ended.pop().result()  # raises: the lease is lost, or nobody listens to requests any more
            return driving.result()
        finally:
            await _end(driving, following, renewing, *self._tasks)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await self._store.release_lease(self.lease, wall_clock())
                self.holds_lease = False

    async def _drive(self) -> RolloutState:
        await self._catch_up()
        if self._before is not None:
            await self._before(self.state)
            await self._catch_up()
        await self._resume()
        while True:
            wake_at_ms = await self._decide()
            if self.state.terminal and not self._tasks:
                await self._append_notes()
                return self.state
            if self._waits_for_a_person() and not self._wait_for_people:
                await self._append_notes()
                return self.state
            await self._wait(wake_at_ms)
            await self._record()

    def _waits_for_a_person(self) -> bool:
        asked = self.state.request is not None
        return self.state.status in ("awaiting_promotion", "paused") and not (self._tasks or asked)

    async def _decide(self) -> int | None:
        """Append and start what the state asks for until it asks for nothing more; return when to look again."""
        while True:
            actions = reconcile(self.state, self._now_ms())
            events = [e for e in (event_of(a, self.state, self._now_ms()) for a in actions) if e is not None]
            if not events:
                return min((a.at_ms for a in actions if isinstance(a, WaitUntil)), default=None)
            if await self._append(events):
                for action in actions:
                    self._start(action, resumed=False)

    def _start(self, action: Action, *, resumed: bool) -> None:
        if isinstance(action, Effect | JudgeGates):
            task = asyncio.create_task(self._performer.perform(action, self.state, resumed=resumed))
            self._tasks[task] = action.host if isinstance(action, Effect) else ""
            task.add_done_callback(lambda _: self._wake.set())

    async def _resume(self) -> None:
        """Say that the lease is ours, and take over the operations that an earlier controller did not finish."""
        if self.state.terminal:
            return
        taken = {"owner": self.lease.owner, "token": self.lease.token}
        event = Event("lease_taken", self._now_ms(), key=self._key, deployment=self._deployment, data=taken)
        while not await self._append([event]):
            pass
        for action in unfinished(self.state):
            self._start(action, resumed=True)

    async def _wait(self, wake_at_ms: int | None) -> None:
        timeout_s = None if wake_at_ms is None else max(0.0, (wake_at_ms - self._now_ms()) / 1000)
        if not self._tasks and wake_at_ms is None:
            timeout_s = 60.0  # nothing is due: a person's request wakes us; look again anyhow
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 can swallow a cancellation
                await self._wake.wait()
        self._wake.clear()

    async def _record(self) -> None:
        """Append what came of the effects that ended, or only read on; raises the defect of one behind that."""
        facts: list[Event] = []
        defect: BaseException | None = None
        for task in [task for task in self._tasks if task.done()]:
            del self._tasks[task]
            try:
                facts.append(task.result())
            except (Exception, asyncio.CancelledError) as error:
                defect = error
        seen = self._seq
        while (facts or self._notes) and not await self._append(facts):
            pass
        if defect is not None:
            raise defect
        if self._seq == seen:  # else it was appended to the log as we knew it: nobody has added to it since
            await self._catch_up()

    async def _append_notes(self) -> None:
        while self._notes and not await self._append([]):
            pass

    async def _append(self, events: Sequence[Event]) -> bool:
        """Append the queued notes and `events`, and fold them; False when the log had moved on (and was read)."""
        notes, self._notes = self._notes, []
        durable = [*(n for n in notes if n.durable), *events]
        published = [n for n in notes if not n.durable]
        if published:
            await self._store.append(published)
        if not durable:
            return True
        try:
            stored = await self._store.append(durable, expect=self._seq, lease=self.lease)
        except ConflictError:
            self._notes = [*(n for n in notes if n.durable), *self._notes]
            if not await self._catch_up():
                raise
            return False
        self._fold(stored)
        return True

    async def _catch_up(self) -> bool:
        """Read and fold what others appended; return whether there was anything."""
        moved = False
        while events := await self._store.read(self._seq, deployment=self._deployment, limit=READ_PAGE):
            self._fold(events)
            moved = True
        return moved

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self._state = apply(self._state, event)
            self._seq = event.seq

    async def _follow(self) -> None:
        """Be woken by requests, for ever."""
        kinds = ("operator_request",)
        async for event in follow_on(
            self._store, self._seq, deployment=self._deployment, kinds=kinds, on_absence=self._say_later
        ):
            if event.seq > self._seq:
                self._wake.set()

    def _say_later(self, error: SaneError) -> None:
        """Queue a message without waking the loop: it would read the log that is away, and end with it."""
        text = f"requests were not heard for a moment: {error.message}"
        if all(note.data.get("text") != text for note in self._notes):
            data = {"text": text}
            self._notes.append(Event("message", self._now_ms(), self._key, self._deployment, data=data))

    async def _keep_lease(self) -> Never:
        hint = way_on(self._deployment)
        await keep_lease(self._store, self.lease, self._lease_ttl_ms, wall_clock, self._renewed, hint)

    def _renewed(self, lease: Lease) -> None:
        self._lease = lease


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

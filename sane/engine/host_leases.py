"""The leases that a controller holds on the hosts it changes: taken in order, renewed while a part runs, given up.

Two controllers that share nothing but the hosts must not each take half of them and both give up. So the first host, by
name, that is to change decides: its lease is asked for before any other, and who is refused there asks nowhere else.
Hosts that need no change are not asked for one, and nothing is written on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sane.core.command import Command, CommandResult
from sane.core.host.lease import HostLease, parse_host_lease, release_host_lease, take_and_look
from sane.core.host.record import HostFacts, parse_look
from sane.core.rollout.controller import RolloutState
from sane.core.rollout.hints import hint_for
from sane.engine.ending import end_within
from sane.errors import ConflictError, RemoteError, SaneError

HOST_LEASE_S = 120  # renewed every third of it while a part runs
RELEASE_TIMEOUT_S = 5.0

RunOnHost = Callable[[str, Command], Awaitable[CommandResult]]


@dataclass(slots=True)
class _Held:
    lease: HostLease
    asked_s: float  # by our monotonic clock


class HostLeases:
    """Hold one deployment key's leases on its hosts for one controller.

    `run` runs a command on a host. `rank` gives the token of the lease in the store at the time it is asked.
    """

    def __init__(self, key: str, owner: str, rank: Callable[[], int], run: RunOnHost) -> None:
        self._key = key
        self._owner = owner
        self._rank = rank
        self._run = run
        self._held: dict[str, _Held] = {}
        self._looking: set[str] = set()
        self._to_change: set[str] = set()
        self._all_looked = asyncio.Event()
        self._first_asked = asyncio.Event()
        self._refused: ConflictError | None = None

    def token(self, host: str) -> int:
        """Return the token of the lease held on a host."""
        return self._held[host].lease.token

    @asynccontextmanager
    async def looking(self, host: str) -> AsyncGenerator[None]:
        """Keep every `take_in_order` waiting while it is found out whether this host is to change."""
        self._looking.add(host)
        await asyncio.sleep(0)  # all that begin together are here before any of them can be done
        try:
            yield
        finally:
            self._looking.discard(host)
            if not self._looking:
                self._all_looked.set()

    def mark(self, host: str) -> None:
        """Note, while looking, that a host is to change."""
        self._to_change.add(host)

    async def take_in_order(self, host: str) -> HostFacts:
        """Take the lease on a marked host, the first one by name before all others; return what the host has under it.

        Raises ConflictError where another controller holds it, and once the first was refused.
        """
        await self._all_looked.wait()
        if host != min(self._to_change):
            await self._first_asked.wait()
            if self._refused is not None:
                raise self._refused
            return await self.take(host)
        try:
            return await self.take(host)
        except ConflictError as error:
            self._refused = error
            raise
        finally:
            self._first_asked.set()

    async def take(self, host: str) -> HostFacts:
        """Take or renew the lease on a host, and return what the host has under it.

        Raises ConflictError naming who holds it, RemoteError, TransportError.
        """
        asked_s = time.monotonic()
        answer = await self._run(host, take_and_look(self._key, self._owner, HOST_LEASE_S, self._rank()))
        lease = parse_host_lease(answer.output, self._owner)
        if lease is None:
            said = (answer.stderr or answer.output).decode("utf-8", "replace").strip()[-300:]
            problem = said or f"exit code {answer.exit_code}"
            raise RemoteError(f"the host gave no lease: {problem}", hint=hint_for(None, said))
        if not lease.taken:
            raise ConflictError(
                f"{lease.owner} holds the lease on {self._key} there for {lease.remaining_s} s more",
                hint="Wait for its end, or end that controller.",
            )
        self._held[host] = _Held(lease, asked_s)
        return parse_look(answer.output)

    @asynccontextmanager
    async def held(self, host: str) -> AsyncGenerator[None]:
        """Hold the lease on a host while something is changed there. Raises as `take` does."""
        held = self._held.get(host)
        if held is None or time.monotonic() - held.asked_s > HOST_LEASE_S / 3:
            await self.take(host)
        renewing = asyncio.create_task(self._renew(host))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, host: str) -> None:
        while True:
            await asyncio.sleep(HOST_LEASE_S / 3)
            # Whatever goes wrong, the next turn tries again; the token fences us off in any case.
            with contextlib.suppress(SaneError):
                await self.take(host)

    async def release(self, left: Iterable[str] = ()) -> None:
        """Give all up within 5 s, and those that earlier controllers of our store may have left on the hosts `left`.

        On a host that can't be reached it expires.
        """
        try:
            rank = self._rank()
        except ConflictError:  # we were never in charge
            return
        release = release_host_lease(self._key, self._owner, rank)
        await end_within(RELEASE_TIMEOUT_S, *(self._run(host, release) for host in {*self._held, *left}))


def may_be_held(state: RolloutState) -> list[str]:
    """Return the hosts on which a controller of a deployment may have taken a lease until it was in this state."""
    return [
        host.spec.name
        for number, host in enumerate(state.hosts)
        if host.part
        and not state.same >> number & 1
        and not (host.part == "preflight" and host.outcome == "unreachable")
    ]

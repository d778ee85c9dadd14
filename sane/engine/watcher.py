"""The loop of a watch: samples in, changes into the log, episodes driven, until something is true or time is up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Never

from sane.core.events import Event
from sane.core.watch.detect import HostWatch, observe_sample, resume_watch
from sane.core.watch.episodes import Finding
from sane.core.watch.policy import WatchPolicy
from sane.core.watch.samples import Sample, sample_from_json, signature_of
from sane.core.watch.until import Condition, fleet_document
from sane.engine.escalate import Escalator
from sane.engine.log_away import follow_on, keep_lease
from sane.engine.poller import Poller
from sane.engine.runner import RELEASE_TIMEOUT_S, wall_clock
from sane.store.base import Lease, Store

LEASE_TTL_MS = 30_000
IDLE_S = 60.0
DRAIN_S = 120.0  # `once` waits so long for what it began
FINISH_S = 1.0  # a watch whose time is up; what takes longer is in the log, and the next watch takes it up


@dataclass(frozen=True, slots=True)
class Announced:
    """Hold what a deployment says of the hosts: the version they should have, and which are being changed now."""

    versions: Mapping[str, str]
    in_maintenance: frozenset[str] = frozenset()


class Watcher:
    """Watch one fleet under the lease of its key; `on_sample` gets every sample, changed or not."""

    def __init__(
        self,
        store: Store,
        key: str,
        owner: str,
        poller: Poller,
        escalator: Escalator,
        *,
        policy: WatchPolicy,
        now_ms: Callable[[], int],
        wake: asyncio.Event,
        announced: Callable[[], Announced],
        on_sample: Callable[[Sample, HostWatch], None],
        lease_ttl_ms: int = LEASE_TTL_MS,
    ) -> None:
        self._store = store
        self._key = key
        self._owner = owner
        self._poller = poller
        self._escalator = escalator
        self._policy = policy
        self._now_ms = now_ms
        self._wake = wake
        self._announced = announced
        self._on_sample = on_sample
        self._lease_ttl_ms = lease_ttl_ms
        self.holds_lease = False  # still true behind the end where the lease could not be given up
        self._watches: dict[str, HostWatch] = {}
        self._samples: dict[str, Sample] = {}
        self._logged: dict[str, Sample] = {}
        self._moved = False

    def document(self) -> dict[str, Any]:
        """Return what is known of the fleet, as conditions and reports see it."""
        seen = [(self._samples[h.name], self._watches[h.name]) for h in self._poller.hosts if h.name in self._samples]
        open_episodes = [e for e in self._escalator.state.episodes.values() if e.phase != "closed"]
        return fleet_document(seen, len(open_episodes))

    async def run(self, *, until: Condition | None = None, for_ms: int | None = None, once: bool = False) -> bool:
        """Watch until the condition holds (True), the time is up, or once every host was asked (False).

        Raises ConflictError when somebody else watches under this key, or takes it over; InterruptedRunError where the
        log was away until the end of its lease.
        """
        lease = await self._store.take_lease(self._key, self._owner, self._lease_ttl_ms, wall_clock())
        self._escalator.lease, self.holds_lease = lease, True
        renewing = asyncio.create_task(self._keep_lease(lease))
        following = asyncio.create_task(self._follow())
        driving = asyncio.create_task(self._drive(until, for_ms, once))
        try:
            await asyncio.wait({renewing, following, driving}, return_when=asyncio.FIRST_COMPLETED)
            for task in (driving, renewing, following):
                if task.done():
                    return bool(task.result())
            return False
        finally:
            for task in (renewing, following, driving):
                task.cancel()
            await asyncio.gather(renewing, following, driving, return_exceptions=True)
            await self._poller.stop()
            with contextlib.suppress(Exception):
                await self._escalator.stop()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await self._store.release_lease(self._escalator.lease or lease, wall_clock())
                self.holds_lease = False

    async def _drive(self, until: Condition | None, for_ms: int | None, once: bool) -> bool:
        end_ms = None if for_ms is None else self._now_ms() + for_ms
        await self._escalator.catch_up(self._resume_sample)
        await self._escalator.record((), self._resume_watches())
        self._poller.start(self._wake)
        while True:
            if self._moved:
                self._moved = False
                await self._escalator.catch_up()
            await self._observe(self._poller.take())
            due_ms = await self._escalator.settle()
            all_seen = len(self._samples) == len(self._poller.hosts)
            if until is not None and all_seen and until(self.document()):
                return True
            if once and all_seen:
                await self._drain()
                return False
            if end_ms is not None and self._now_ms() >= end_ms:
                await self._escalator.finish(FINISH_S)
                return False
            await self._sleep(due_ms, end_ms)

    async def _drain(self) -> None:
        """Finish what is under way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._escalator.is_busy:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._escalator.settle()

    async def _sleep(self, due_ms: int | None, end_ms: int | None) -> None:
        times = [at_ms for at_ms in (due_ms, end_ms) if at_ms is not None]
        timeout_s = min(IDLE_S, max(0.0, (min(times) - self._now_ms()) / 1000)) if times else IDLE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()

    async def _observe(self, samples: list[Sample]) -> None:
        if not samples:
            return
        announced = self._announced()
        changed: list[Event] = []
        findings: list[Finding] = []
        for sample in samples:
            expected = announced.versions.get(sample.host, "")
            watch = self._watches.get(sample.host) or HostWatch(sample.host, sample.zone)
            watch, found = observe_sample(
                watch,
                sample,
                policy=self._policy,
                expected_version=expected,
                in_maintenance=sample.host in announced.in_maintenance,
            )
            self._watches[sample.host], self._samples[sample.host] = watch, sample
            findings += found
            if self._differs(sample, expected):
                self._logged[sample.host] = sample
                data = {**sample.as_json(), "verdict": sample.verdict}
                changed.append(Event("host_sampled", sample.at_ms, host=sample.host, data=data))
            self._on_sample(sample, watch)
        await self._escalator.record(changed, findings)

    def _differs(self, sample: Sample, expected: str) -> bool:
        last = self._logged.get(sample.host)
        if last is None:
            return True
        limit_ms = self._policy.stale_limit_ms
        before = signature_of(last, stale_after_ms=limit_ms, expected_version=expected)
        return before != signature_of(sample, stale_after_ms=limit_ms, expected_version=expected)

    def _resume_sample(self, event: Event) -> None:
        self._logged[event.host] = sample_from_json(event.data)

    def _resume_watches(self) -> list[Finding]:
        """Take up the hosts that the log says are bad; those that nobody watches any more are over."""
        hosts = {host.name: host for host in self._poller.hosts}
        self._logged = {name: sample for name, sample in self._logged.items() if name in hosts}
        faults: dict[str, set[str]] = {}
        gone: list[Finding] = []
        for episode in self._escalator.state.episodes.values():
            for name in episode.hosts:
                if name in hosts:
                    faults.setdefault(name, set()).add(episode.fault)
                else:
                    gone.append(Finding(name, episode.zone, episode.fault, self._now_ms(), "", cleared=True))
        for name, found in faults.items():
            self._watches[name] = resume_watch(name, hosts[name].zone, found)
        return gone

    async def _follow(self) -> bool:
        kinds = ("plan_approved", "plan_refused")
        async for _ in follow_on(self._store, 0, key=self._key, kinds=kinds):
            self._moved = True  # the driver reads it: two readers at once would fold an event twice
            self._wake.set()
        return False

    async def _keep_lease(self, lease: Lease) -> Never:
        hint = "sane watch with the same words goes on where it stopped."
        await keep_lease(self._store, lease, self._lease_ttl_ms, wall_clock, self._renewed, hint)

    def _renewed(self, lease: Lease) -> None:
        self._escalator.lease = lease

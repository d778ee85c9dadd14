"""Watch a fleet: what every surface calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sane.core.events import Event
from sane.core.paths import state_dir
from sane.core.watch.config import WatchConfig
from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.core.watch.until import compile_until
from sane.engine.alerts import Alerts
from sane.engine.breakers import LocalBreakers
from sane.engine.context import AsyncContext
from sane.engine.ending import end_within
from sane.engine.escalate import Escalator
from sane.engine.models import ModelChain
from sane.engine.planner import Classifier, primitive_rules
from sane.engine.poller import Poller
from sane.engine.presence import present
from sane.engine.runner import steady_clock
from sane.engine.watcher import Watcher
from sane.errors import UsageError
from sane.operations.announced import Announcer
from sane.operations.deployments import bury_dead_driver, owner_name
from sane.operations.plan_run import PlanRunner
from sane.operations.watch_desk import WatchDesk, planner_of
from sane.operations.watch_fleet import (
    Fleet,
    WatchRequest,
    find_fleet,
    polled_hosts,
    targets_of,
    with_age,
    with_rungs,
    zone_sizes,
)
from sane.store.base import Store

CLOSE_S = 1.0  # a host that stopped confirms no end of its connection


class WatchView(Protocol):
    """Show a watch as it goes."""

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        """Take in what a host said; it may be what it said before."""
        ...

    def happened(self, event: Event) -> None:
        """Take in an event of the log, old ones at the start included."""
        ...

    def say(self, text: str) -> None:
        """Show a line."""
        ...


@dataclass(frozen=True, slots=True)
class WatchOutcome:
    """Hold how a watch ended: whether `until` became true, and what was known of the fleet."""

    is_true: bool
    document: Mapping[str, Any]


async def run_watch(store: Store, asked: WatchRequest, config: WatchConfig, view: WatchView) -> WatchOutcome:
    """Watch until `until` holds, the time is up, or for ever.

    Raises UsageError for what can't be watched, ConflictError while another process watches the same.
    """
    condition = compile_until(asked.until) if asked.until else None
    fleet = await find_fleet(store, asked)
    config = with_rungs(with_age(config, fleet), fleet)
    watch = _Watch(store, fleet, config, view)
    owner = owner_name()
    watcher = watch.watcher(owner, once=asked.once)
    async with watch.opened():
        with present(state_dir(os.environ), owner, lambda: watcher.holds_lease):
            is_true = await watcher.run(until=condition, for_ms=asked.for_ms, once=asked.once)
        return WatchOutcome(is_true, watcher.document())


class _Watch:
    """Put the parts of one watch together."""

    def __init__(self, store: Store, fleet: Fleet, config: WatchConfig, view: WatchView) -> None:
        self._store, self._fleet, self._config, self._view = store, fleet, config, view
        self._context, self._now_ms = AsyncContext(fleet.inventory), steady_clock()
        self._announcer = Announcer(store, fleet.deployment_key, view.say)
        self._seen = _Seen(view)
        breakers = LocalBreakers(self._now_ms)
        self._planner = ModelChain(config.chain(config.planner_model), breakers, os.environ)
        self._cheap = ModelChain(config.chain(config.poller_model), breakers, os.environ)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Know what is announced for the length of a block; at its end close what is open, within `CLOSE_S`."""
        await bury_dead_driver(self._store, self._fleet.watch_key)
        await self._announcer.refresh()
        refreshing = asyncio.create_task(self._announcer.keep_fresh())
        try:
            yield
        finally:
            refreshing.cancel()
            await end_within(CLOSE_S, refreshing, self._context.close(), self._planner.close(), self._cheap.close())

    def watcher(self, owner: str, *, once: bool) -> Watcher:
        """Return the loop of the watch."""
        now_ms, config, wake = self._now_ms, self._config, asyncio.Event()
        hosts = polled_hosts(self._fleet, config)
        poller = Poller(self._context, hosts, interval_ms=config.watch.interval_ms, now_ms=now_ms, once=once)
        desk = self._desk()
        escalator = Escalator(
            self._store,
            self._fleet.watch_key,
            desk,
            policy=config.escalation,
            zone_sizes=zone_sizes(hosts),
            now_ms=now_ms,
            on_event=self._view.happened,
            wake=wake,
        )
        desk.state = lambda: escalator.state
        return Watcher(
            self._store,
            self._fleet.watch_key,
            owner,
            poller,
            escalator,
            policy=config.watch,
            now_ms=now_ms,
            wake=wake,
            announced=lambda: self._announcer.current,
            on_sample=self._seen.sampled,
        )

    def _desk(self) -> WatchDesk:
        config, key, targets = self._config, self._fleet.deployment_key, targets_of(self._fleet)
        texts = {name: str(target) for name, target in targets.items()}
        desk = WatchDesk(
            config,
            self._context,
            targets,
            planner_of(config, self._planner, self._context, texts, deploys=bool(key)),
            Classifier(self._cheap) if self._cheap.names else None,
            Alerts(config.alerts, os.environ, self._view.say),
            primitive_rules(),
            now_ms=self._now_ms,
            versions=self._seen.versions,
        )
        desk.runner = PlanRunner(self._store, self._context, texts, key, notify=desk.alert, say=self._view.say)
        return desk


class _Seen:
    """Remember the version that each host last reported, and show samples."""

    def __init__(self, view: WatchView) -> None:
        self._view = view
        self._versions: dict[str, str] = {}

    def sampled(self, sample: Sample, watch: HostWatch) -> None:
        self._versions[sample.host] = sample.version
        self._view.sampled(sample, watch)

    def versions(self, hosts: Sequence[str]) -> list[str]:
        return [self._versions.get(host, "") for host in hosts]


def with_options(config: WatchConfig, *, interval_ms: int | None, max_age_ms: int | None) -> WatchConfig:
    """Return the configuration with what a command line says put first."""
    watch = config.watch
    if interval_ms is not None:
        if interval_ms < 100:
            raise UsageError("the interval is shorter than 100ms", hint="A poll takes longer than that on most hosts.")
        watch = replace(watch, interval_ms=interval_ms)
    if max_age_ms is not None:
        watch = replace(watch, stale_after_ms=max_age_ms)
    return replace(config, watch=watch)

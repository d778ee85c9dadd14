"""Watch a fleet: what every surface calls."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sane.core.events import Event
from sane.core.fleet.inventory import Host, Inventory
from sane.core.paths import state_dir
from sane.core.target import Target, parse_target
from sane.core.watch.config import NEVER_STALE_MS, WatchConfig
from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.core.watch.until import compile_until
from sane.core.workflow.binding import Binding
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.engine.alerts import Alerts
from sane.engine.breakers import LocalBreakers
from sane.engine.context import AsyncContext
from sane.engine.escalate import Escalator
from sane.engine.models import ModelChain
from sane.engine.planner import (
    Classifier,
    ModelPlanner,
    Planner,
    RulePlanner,
    primitive_rules,
    readable_verbs,
    tool_of,
)
from sane.engine.poller import PolledHost, Poller
from sane.engine.presence import present
from sane.engine.runner import steady_clock
from sane.engine.watcher import Watcher
from sane.errors import UsageError
from sane.operations.announced import Announcer
from sane.operations.deployments import bury_dead_driver, find_deployment, load_deployment, owner_name, plan_of
from sane.operations.files import load_inventory
from sane.operations.plan_run import PlanRunner
from sane.operations.watch_desk import WatchDesk
from sane.store.base import Store
from sane.transports.context import Context

CLOSE_S = 1.0  # a host that stopped confirms no end of its connection


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Say what to watch: the hosts of an inventory, or (with `key`) those of what is deployed under a key.

    `until` is JMESPath over the fleet document; `for_ms` ends the watch; `once` asks every host a single time.
    """

    inventory: Path | None = None
    key: str = ""
    group: str = "all"
    until: str = ""
    for_ms: int | None = None
    once: bool = False


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


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hold what is watched: the hosts, how their health is read, and under which key the log has it."""

    inventory: Inventory
    hosts: tuple[Host, ...]
    workflow: Workflow
    deployment_key: str
    watch_key: str
    given: Mapping[str, Any]


async def run_watch(store: Store, asked: WatchRequest, config: WatchConfig, view: WatchView) -> WatchOutcome:
    """Watch until `until` holds, the time is up, or for ever.

    Raises UsageError for what can't be watched, ConflictError while another process watches the same.
    """
    condition = compile_until(asked.until) if asked.until else None
    fleet = await find_fleet(store, asked)
    config = with_age(config, fleet)
    now_ms, wake = steady_clock(), asyncio.Event()
    context = AsyncContext(fleet.inventory)
    targets = {host.name: _target(host) for host in fleet.hosts}
    poller = Poller(
        context,
        [_polled(host, fleet, targets, config) for host in fleet.hosts],
        interval_ms=config.watch.interval_ms,
        now_ms=now_ms,
        once=asked.once,
    )
    announcer = Announcer(store, fleet.deployment_key)
    seen = _Seen(view)
    breakers = LocalBreakers(now_ms)
    models = (
        ModelChain(config.chain(config.planner_model), breakers, os.environ),
        ModelChain(config.chain(config.poller_model), breakers, os.environ),
    )
    desk = _desk(config, context, targets, view, seen, models, now_ms, deploys=bool(fleet.deployment_key))
    texts = {name: str(target) for name, target in targets.items()}
    desk.runner = PlanRunner(store, context, texts, fleet.deployment_key, notify=desk.alert, say=view.say)
    zones: dict[str, int] = {}
    for host in poller.hosts:
        zones[host.zone] = zones.get(host.zone, 0) + 1
    escalator = Escalator(
        store,
        fleet.watch_key,
        desk,
        policy=config.escalation,
        zone_sizes=zones,
        now_ms=now_ms,
        on_event=view.happened,
        wake=wake,
    )
    desk.state = lambda: escalator.state
    owner = owner_name()
    watcher = Watcher(
        store,
        fleet.watch_key,
        owner,
        poller,
        escalator,
        policy=config.watch,
        now_ms=now_ms,
        wake=wake,
        announced=lambda: announcer.current,
        on_sample=seen.sampled,
    )
    await bury_dead_driver(store, fleet.watch_key)
    await announcer.refresh()
    refreshing = asyncio.create_task(announcer.keep_fresh())
    try:
        with present(state_dir(os.environ), owner):
            is_true = await watcher.run(until=condition, for_ms=asked.for_ms, once=asked.once)
        return WatchOutcome(is_true, watcher.document())
    finally:
        refreshing.cancel()
        await _within(CLOSE_S, refreshing, context.close(), *(chain.close() for chain in models))


async def _within(limit_s: float, *ending: Awaitable[Any]) -> None:
    """Wait for what ends, whatever comes of it, and for no longer than that."""
    tasks = [asyncio.ensure_future(one) for one in ending]
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def find_fleet(store: Store, asked: WatchRequest) -> Fleet:
    """Return what to watch. Raises UsageError without an inventory or a key, NotFoundError for unknown ones."""
    inventory = load_inventory(asked.inventory) if asked.inventory else None
    workflow, given = Workflow(name="watch", key="watch", health=HealthFile()), dict[str, Any]()
    name = _slug(asked.key)
    if asked.key:
        state, first = await load_deployment(store, (await find_deployment(store, asked.key)).id)
        plan = plan_of(first, state)
        workflow, given, name = plan.workflow, dict(plan.given), state.key
        if inventory is None:
            deployed = {spec.spec.name for spec in state.hosts}
            inventory = plan.inventory
            hosts = tuple(h for h in inventory.select(asked.group) if h.name in deployed)
            return _fleet(inventory, hosts, workflow, state.key, f"watch/{name}", asked, given)
    if inventory is None or asked.inventory is None:
        raise UsageError(
            "nothing says what to watch", hint="Give an inventory (-i hosts.yaml) or a deployment (--key)."
        )
    if not asked.key:
        place = hashlib.sha256(str(asked.inventory.resolve()).encode()).hexdigest()[:6]
        name = f"{_slug(asked.inventory.stem)}-{place}"
    return _fleet(inventory, inventory.select(asked.group), workflow, asked.key, f"watch/{name}", asked, given)


def _fleet(
    inventory: Inventory,
    hosts: tuple[Host, ...],
    workflow: Workflow,
    key: str,
    watch_key: str,
    asked: WatchRequest,
    given: Mapping[str, Any],
) -> Fleet:
    if not hosts:
        raise UsageError(f"'{asked.group}' means no host that is watched")
    if not workflow.health.path:
        raise UsageError(f"the workflow of '{key}' names no health file", hint="There is nothing to watch.")
    watch_key += "" if asked.group == "all" else f"/{_slug(asked.group)}"
    return Fleet(inventory, hosts, workflow, key, watch_key, given)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:100]


def _target(host: Host) -> Target:
    return parse_target(host.target) if host.target else Target(host.name, None)


def _polled(host: Host, fleet: Fleet, targets: Mapping[str, Target], config: WatchConfig) -> PolledHost:
    binding = Binding(fleet.workflow, host, host.version or "", given=fleet.given)
    zone = host.vars.get("zone")
    group = host.groups[0] if host.groups else ""
    return PolledHost(
        host.name,
        targets[host.name],
        binding.health_path(),
        str(zone) if isinstance(zone, str | int) else group,
        group,
        gates=fleet.workflow.health.gates,
        probe=config.probe,
        max_bytes=fleet.workflow.health.max_bytes,
    )


def _desk(
    config: WatchConfig,
    context: AsyncContext,
    targets: Mapping[str, Target],
    view: WatchView,
    seen: _Seen,
    models: tuple[ModelChain, ModelChain],
    now_ms: Callable[[], int],
    *,
    deploys: bool,
) -> WatchDesk:
    planner, cheap = models
    texts = {name: str(target) for name, target in targets.items()}
    return WatchDesk(
        config,
        context,
        targets,
        planner_of(config, planner, context, texts, deploys=deploys),
        Classifier(cheap) if cheap.names else None,
        Alerts(config.alerts, os.environ, view.say),
        primitive_rules(),
        now_ms=now_ms,
        versions=seen.versions,
    )


def planner_of(
    config: WatchConfig, chain: ModelChain, context: Context, targets: Mapping[str, str], *, deploys: bool = True
) -> Planner:
    """Return the configured planner; without a model, the rules. Raises UsageError for a tool that is none."""
    rules = RulePlanner(config.limits.tier, deploys=deploys)
    if not chain.names:
        return rules
    tools = [tool_of(verb, context, targets) for verb in readable_verbs(config.planner_tools)]
    return ModelPlanner(chain, tools, rules if config.planner_fallback else None)


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


def with_age(config: WatchConfig, fleet: Fleet) -> WatchConfig:
    """Return the configuration with the age that the deployed workflow names, where nobody named another.

    A workflow that names none writes its health file once: then no age is too old.
    """
    if not fleet.deployment_key or config.watch.stale_after_ms:
        return config
    age_ms = fleet.workflow.health.max_age_ms or NEVER_STALE_MS
    return replace(config, watch=replace(config.watch, stale_after_ms=age_ms))


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

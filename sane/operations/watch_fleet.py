"""What a watch looks at: the hosts of an inventory, or those of what is deployed under a key."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sane.core.fleet.inventory import Host, Inventory
from sane.core.fleet.place import target_of
from sane.core.names import distinct_name
from sane.core.target import Target
from sane.core.watch.config import NEVER_STALE_MS, WatchConfig
from sane.core.watch.plan import OPERATION_VERBS, reaches
from sane.core.workflow.binding import Binding
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.engine.poller import PolledHost
from sane.errors import UsageError
from sane.operations.deployments import find_deployment, load_deployment, plan_of
from sane.operations.files import load_inventory
from sane.store.base import Store


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


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hold what is watched: the hosts, how their health is read, and under which key the log has it."""

    inventory: Inventory
    hosts: tuple[Host, ...]
    workflow: Workflow
    deployment_key: str
    watch_key: str
    given: Mapping[str, Any]


async def find_fleet(store: Store, asked: WatchRequest) -> Fleet:
    """Return what to watch. Raises UsageError without an inventory or a key, NotFoundError for unknown ones."""
    inventory = load_inventory(asked.inventory) if asked.inventory else None
    workflow, given, name = Workflow(name="watch", key="watch", health=HealthFile()), dict[str, Any](), ""
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
    return distinct_name(text, r"[^A-Za-z0-9._-]+", "-")


def polled_hosts(fleet: Fleet, config: WatchConfig) -> tuple[PolledHost, ...]:
    """Return what each host of the fleet is asked, and where."""
    return tuple(_polled(host, fleet, config.probe) for host in fleet.hosts)


def targets_of(fleet: Fleet) -> Mapping[str, Target]:
    """Return where each host of the fleet is."""
    return {host.name: target_of(host) for host in fleet.hosts}


def zone_sizes(hosts: Sequence[PolledHost]) -> Mapping[str, int]:
    """Return how many hosts each zone has; those without one are counted under ""."""
    return Counter(host.zone for host in hosts)


def _polled(host: Host, fleet: Fleet, probe: str) -> PolledHost:
    binding = Binding(fleet.workflow, host, host.version or "", given=fleet.given)
    zone = host.vars.get("zone")
    group = host.groups[0] if host.groups else ""
    return PolledHost(
        host.name,
        target_of(host),
        binding.health_path(),
        str(zone) if isinstance(zone, str | int) else group,
        group,
        gates=fleet.workflow.health.gates,
        probe=probe,
        max_bytes=fleet.workflow.health.max_bytes,
    )


def with_age(config: WatchConfig, fleet: Fleet) -> WatchConfig:
    """Return the configuration with the age that the deployed workflow names, where nobody named another.

    A workflow that names none writes its health file once: then no age is too old.
    """
    if not fleet.deployment_key or config.watch.stale_after_ms:
        return config
    age_ms = fleet.workflow.health.max_age_ms or NEVER_STALE_MS
    return replace(config, watch=replace(config.watch, stale_after_ms=age_ms))


def with_rungs(config: WatchConfig, fleet: Fleet) -> WatchConfig:
    """Return the configuration with whether the rules may roll back: something is deployed, and the tier is enough."""
    may = bool(fleet.deployment_key) and reaches(config.limits.tier, OPERATION_VERBS["rollback"].tier)
    return replace(config, escalation=replace(config.escalation, may_roll_back=may))

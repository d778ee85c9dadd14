"""Ask hosts themselves what they have, and rebuild a lost log from their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sane.core.fleet.inventory import Host, Inventory
from sane.core.fleet.place import environment_of, target_of
from sane.core.host.adoption import FoundDeployment, events_of, find_deployments, what_host_has
from sane.core.host.truth import HostTruth, parse_truth, read_truth
from sane.engine.context import AsyncContext, open_context
from sane.engine.fan_out import ask_all
from sane.engine.plan import Source
from sane.errors import SaneError, StoreError
from sane.operations.files import load_inventory
from sane.operations.inputs import parts_of, read_source, workflow_from
from sane.store.base import Store


@dataclass(frozen=True, slots=True)
class HostAnswered:
    """Hold what a host said of itself, or why it did not."""

    host: str
    truth: HostTruth | None
    error: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the answer without what deployments were made of."""
        if self.truth is None:
            return {"host": self.host, "error": self.error, "hint": self.hint}
        keys = [
            {
                "key": k.key,
                "current": asdict(k.current) if k.current else None,
                "history": [asdict(r) for r in k.history],
            }
            for k in self.truth.keys
        ]
        lists = {name: [asdict(x) for x in getattr(self.truth, name)] for name in ("leases", "operations", "guards")}
        return {"host": self.host, "now_s": self.truth.now_s, "keys": keys, **lists}


async def ask_hosts(context: AsyncContext, hosts: Sequence[Host], *, sources: bool = False) -> list[HostAnswered]:
    """Return what each host has, in their order; a host that can't be asked says why. Writes nothing anywhere."""
    return await ask_all(hosts, lambda host: _ask(context, host, sources=sources))


async def _ask(context: AsyncContext, host: Host, *, sources: bool) -> HostAnswered:
    command = read_truth(sources=sources)
    try:
        transport = await context.transport(target_of(host))
        result = await transport.run(replace(command, env={**command.env, **environment_of(host)}))
    except SaneError as error:
        return HostAnswered(host.name, None, error.message, error.hint)
    truth = parse_truth(result.output)
    if result.exit_code != 0 or not truth.now_s:
        said = (result.stderr or result.output).decode("utf-8", "replace").strip()[-300:]
        return HostAnswered(host.name, None, f"the host did not answer: {said or f'exit {result.exit_code}'}")
    return HostAnswered(host.name, truth)


async def whatis(names: Sequence[str], inventory_path: Path | None) -> list[HostAnswered]:
    """Return what hosts have; `names` are patterns of the inventory, without one names that ssh knows."""
    inventory = load_inventory(inventory_path) if inventory_path else None
    hosts = [Host(name, name) for name in names] if inventory is None else _selected(inventory, names)
    context = open_context(inventory)
    try:
        return await ask_hosts(context, hosts)
    finally:
        await context.close()


def _selected(inventory: Inventory, patterns: Sequence[str]) -> list[Host]:
    chosen = {host.name for pattern in patterns for host in inventory.select(pattern)}
    return [host for host in inventory.hosts if host.name in chosen]


@dataclass(frozen=True, slots=True)
class Adoption:
    """Say what became of each deployment that hosts know, and which hosts could not be asked.

    `waiting` are those that may be known to a host that could not be asked, and the later ones of their keys.
    """

    adopted: list[dict[str, Any]]
    existing: list[str]
    conflicts: list[dict[str, Any]]
    unreachable: list[dict[str, str]]
    waiting: list[dict[str, Any]]


async def adopt(store: Store, inventory_path: Path, pattern: str = "all") -> Adoption:
    """Put the deployments that hosts recorded into the log where it lacks them; what is there is left alone."""
    inventory_source = read_source(inventory_path)
    inventory = load_inventory(inventory_path)
    hosts = inventory.select(pattern)
    context = open_context(inventory)
    try:
        answers = await ask_hosts(context, hosts, sources=True)
    finally:
        await context.close()
    truths = {answer.host: answer.truth for answer in answers if answer.truth is not None}
    failed = [{"host": a.host, "error": a.error} for a in answers if a.truth is None]
    result = Adoption([], [], [], failed, [])
    found = find_deployments(hosts, truths)
    for deployment in found:
        await _adopt_one(store, deployment, inventory_source, truths, result)
    return result


async def _adopt_one(
    store: Store,
    found: FoundDeployment,
    inventory_source: Source,
    truths: Mapping[str, HostTruth],
    result: Adoption,
) -> None:
    about: dict[str, Any] = {"deployment": found.id, "key": found.key, "revision": found.revision}
    about |= {"version": found.version, "hosts": [part.host.name for part in found.parts]}
    if await store.list_deployments(deployment=found.id, limit=1):
        result.existing.append(found.id)
        return
    if result.unreachable and await _may_be_whole_later(store, found, result):
        result.waiting.append(about)
        return
    if found.source is None:
        result.conflicts.append({**about, "reason": "no host has what it was made of"})
        return
    inventory = {"path": inventory_source.path, "text": inventory_source.text}
    try:
        kept = found.source["workflow"]
        workflow = workflow_from(Source(str(kept["path"]), str(kept["text"])))
        source = {name: found.source[name] for name in ("workflow", "via", "given")} | {"inventory": inventory}
        source |= {"bundles": found.source.get("bundles", {})}
        events = events_of(
            found, source | {"policy": found.source["policy"]}, parts_of(workflow), bool(workflow.canary_gates)
        )
        await store.append([events[0], *_now(found, truths), *events[1:]])
    except StoreError:
        raise
    except (SaneError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = error.message if isinstance(error, SaneError) else f"what it was made of is damaged: {error!r}"
        result.conflicts.append({**about, "reason": reason})
        return
    result.adopted.append({**about, "status": "cancelled" if found.shortfall else "successful"})


async def _may_be_whole_later(store: Store, found: FoundDeployment, result: Adoption) -> bool:
    """Return whether a deployment is better left until every host can be asked: adopted with a part of its hosts it
    would lose its mark for good, and a later one of its key would take its number's turn."""
    behind = any(entry["key"] == found.key for entry in result.waiting)
    return behind or (found.lacking > 0 and found.revision >= await store.next_revision(found.key))


def _now(found: FoundDeployment, truths: Mapping[str, HostTruth]) -> list[Any]:
    """Return the events about hosts whose current record is of this deployment."""
    current = {(n, k.key): k.current for n, truth in truths.items() for k in truth.keys}
    return [
        what_host_has(found, part) for part in found.parts if current.get((part.host.name, found.key)) == part.record
    ]

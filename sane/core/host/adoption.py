"""Make a lost log anew from what hosts recorded: which deployments there were, and what each host got in them.

A deployment is adopted as successful when every host it had either recorded it, or has that version from before (it was
skipped by digest), and each recorded that its health was proven with it. One that took a host back, that was not proven
on one, or that not all of its hosts know, is adopted as cancelled: it is part of the history, and nothing rolls back to
it unasked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sane.core.events import Event
from sane.core.fleet.inventory import Host
from sane.core.host.record import HostRecord
from sane.core.host.source import unpack_source
from sane.core.host.truth import HostTruth
from sane.core.rollout.controller import policy_from_json
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create
from sane.core.rollout.state import HostSpec
from sane.core.strict_json import whole
from sane.errors import SaneError


@dataclass(frozen=True, slots=True)
class HostPart:
    """Say what a deployment brought to a host, and what that host had before."""

    host: Host
    record: HostRecord
    before: HostRecord | None
    recorded: bool  # False: the deployment found it there


@dataclass(frozen=True, slots=True)
class FoundDeployment:
    """Hold one deployment as its hosts have it; `source` None is on no host, or damaged."""

    key: str
    id: str
    revision: int
    version: str
    at: int
    parts: tuple[HostPart, ...]
    source: Mapping[str, Any] | None

    @property
    def lacking(self) -> int:
        """Return how many of its hosts do not know it."""
        return max(0, whole((self.source or {}).get("hosts", 0)) - len(self.parts))

    @property
    def shortfall(self) -> str:
        """Return why it can't count as successful, "" when it can."""
        back = [part.host.name for part in self.parts if part.record.reverted]
        if back:
            return f"{len(back)} of {len(self.parts)} hosts went back"
        if self.lacking:
            return f"{len(self.parts)} of its {len(self.parts) + self.lacking} hosts know it"
        if unproven := [part.host.name for part in self.parts if not part.record.proven]:
            return f"{len(unproven)} of {len(self.parts)} hosts were never proven healthy with it"
        return ""


def find_deployments(hosts: Sequence[Host], truths: Mapping[str, HostTruth]) -> list[FoundDeployment]:
    """Return the deployments that hosts recorded, by key and revision; of two with one number the newer comes first."""
    histories = {
        (key.key, host.name): key.history or ((key.current,) if key.current else ())
        for host in hosts
        for key in (truths[host.name].keys if host.name in truths else ())
    }
    sources = {name: packed for t in truths.values() for k in t.keys for name, packed in k.sources.items()}
    names = {(key, r.deployment): r for (key, _), records in histories.items() for r in records}
    found = [_found(key, id, hosts, histories, sources) for key, id in names]
    return sorted(found, key=lambda d: (d.key, d.revision, -d.at))


def _found(
    key: str,
    id: str,
    hosts: Sequence[Host],
    histories: Mapping[tuple[str, str], Sequence[HostRecord]],
    sources: Mapping[str, bytes],
) -> FoundDeployment:
    own = [r for (k, _), records in histories.items() if k == key for r in records if r.deployment == id]
    revision, at = max(r.revision for r in own), min(r.at for r in own)
    source = next((s for r in own if (s := unpack_source(r.source, sources.get(r.source, b""))) is not None), None)
    version = str((source or {}).get("version") or Counter(r.version for r in own).most_common(1)[0][0])
    parts: list[HostPart] = []
    for host in hosts:
        records = histories.get((key, host.name), ())
        mine = [number for number, r in enumerate(records) if r.deployment == id]
        earlier = [number for number, r in enumerate(records) if r.revision < revision and r.deployment != id]
        before = records[earlier[-1]] if earlier else None
        if mine:
            parts.append(HostPart(host, records[mine[-1]], before, True))
        elif before is not None and before.version == (host.version or version):
            parts.append(HostPart(host, before, before, False))
    return FoundDeployment(key, id, revision, version, at, tuple(parts), source)


def events_of(found: FoundDeployment, source: Mapping[str, Any], parts: Sequence[str], gates: bool) -> list[Event]:
    """Return the events that put a deployment into the log, ended. Raises SaneError for a policy that is none."""
    at_ms = found.at * 1000
    specs = [
        HostSpec(p.host.name, p.host.groups[0] if p.host.groups else "", *_wanted(found, p), task="keep")
        for p in found.parts
    ]
    reason = "adopted from the records of its hosts"
    named = (found.id, found.key, found.revision, found.version)
    made = create(*named, specs, _policy(source), at_ms, parts=parts, gates=gates, reason=reason)
    entries = [
        {**entry, "status": _status(part), **_previous(part)}
        for entry, part in zip(made.data["hosts"], found.parts, strict=True)
    ]
    data = {**made.data, "hosts": entries, "adopted": True, "source": dict(source)}

    def event(kind: str, **more: Any) -> Event:
        return Event(kind, at_ms, key=found.key, deployment=found.id, data=more)

    if why := found.shortfall:
        asked = event("operator_request", request="cancel", reason=f"adopted: {why}")
        ended = event("deployment_transition", **{"from": "pending", "to": "cancelled", "reason": f"adopted: {why}"})
        return [replace(made, data=data), asked, ended]
    running = event("deployment_transition", **{"from": "pending", "to": "running", "reason": reason})
    ended = event("deployment_transition", **{"from": "running", "to": "successful", "reason": reason})
    return [replace(made, data=data), running, ended]


def _policy(source: Mapping[str, Any]) -> RolloutPolicy:
    try:
        return policy_from_json(source["policy"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SaneError(f"its policy can't be read: {error}") from None


def _wanted(found: FoundDeployment, part: HostPart) -> tuple[str, str]:
    """Return the version and digest that the host was to have; of one that went back the digest is not known."""
    if part.record.reverted:
        return part.host.version or found.version, ""
    return part.record.version, part.record.digest


def _status(part: HostPart) -> str:
    return "reverted" if part.record.reverted else "healthy" if part.recorded else "unchanged"


def _previous(part: HostPart) -> dict[str, str]:
    before = part.before
    return {"previous_version": before.version, "previous_digest": before.digest} if before else {}


def what_host_has(found: FoundDeployment, part: HostPart) -> Event:
    """Return the event that tells the views what a host has now."""
    data = {"operation": f"{found.id}/{part.host.name}/adopt/1", "action": "adopt", "outcome": "ok"}
    data |= {"previous_version": part.record.version, "previous_digest": part.record.digest}
    at_ms = found.at * 1000
    return Event("action_finished", at_ms, key=found.key, deployment=found.id, host=part.host.name, data=data)

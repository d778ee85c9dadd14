"""The tables that are made of the log: deployments, and what each host has of each deployment key.

They are kept event by event inside the transaction that appends, and `rebuild` makes the same rows from the log alone.
Nothing else writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sane.core.events import Event
from sane.store.base import DeploymentRow, HostRow
from sane.store.script import Query, Script, fetch, reserve

EVENT_COLUMNS = "seq, at_ms, kind, key, deployment, host, data"
DEPLOYMENT_COLUMNS = (
    "id, key, revision, version, digest, status, reason, stable, created_at_ms, updated_at_ms, created_seq,"
    " idempotency_key, request_digest"
)
# Its last event is looked up, not kept: most events say nothing else about a deployment.
READ_DEPLOYMENT = DEPLOYMENT_COLUMNS.replace(
    "created_seq", "(SELECT max(events.seq) FROM events WHERE events.deployment = deployments.id)"
)
HOST_COLUMNS = (
    "key, host, deployment, status, version, digest, proven_by, previous_version, previous_digest, updated_at_ms, seq"
)
HOST_NAMES = tuple(HOST_COLUMNS.split(", "))
# A host in one of these states was proven to have what the deployment brings.
PROVEN = frozenset({"healthy", "unchanged"})
REBUILD_PAGE = 500


def event_of(row: Sequence[Any]) -> Event:
    """Return the event of a row of EVENT_COLUMNS."""
    seq, at_ms, kind, key, deployment, host, data = row
    return Event(kind, at_ms, key, deployment, host, json.loads(data), seq)


def deployment_of(row: Sequence[Any]) -> DeploymentRow:
    """Return the deployment of a row of READ_DEPLOYMENT."""
    values = list(row)
    values[7] = bool(values[7])
    return DeploymentRow(*values)


def host_of(row: Sequence[Any]) -> HostRow:
    """Return the host of a row of HOST_COLUMNS."""
    return HostRow(*row)


def apply_to_views(event: Event) -> Script[None]:
    """Bring the tables from the event before to this one."""
    if event.kind == "deployment_created":
        yield from _insert_deployment(event)
    elif event.kind == "deployment_transition":
        to = text_of(event, "to")
        yield Query(
            "UPDATE deployments SET status = ?, reason = ?, stable = CASE WHEN ? THEN 1 ELSE stable END,"
            " updated_at_ms = ? WHERE id = ?",
            (to, text_of(event, "reason"), to == "successful", event.at_ms, event.deployment),
        )
    elif event.host and (event.kind == "host_transition" or (event.kind == "action_finished" and tells_found(event))):
        yield from _change_host(event)


def tells_found(event: Event) -> bool:
    """Return whether an action found out what a host has."""
    return bool(text_of(event, "previous_version") or text_of(event, "previous_digest"))


def text_of(event: Event, name: str) -> str:
    """Return a field of an event's data as text that any database takes, "" when it is absent or null."""
    value = event.data.get(name)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
    return text.replace("\0", "").encode(errors="replace").decode()


def _insert_deployment(event: Event) -> Script[None]:
    version, digest, targets = wanted_by(event)
    row = (
        event.deployment,
        event.key,
        event.data["revision"],
        version,
        digest,
        "pending",
        text_of(event, "reason"),
        0,
        event.at_ms,
        event.at_ms,
        event.seq,
        text_of(event, "idempotency_key"),
        text_of(event, "request_digest"),
    )
    yield Query(f"INSERT INTO deployments ({DEPLOYMENT_COLUMNS}) VALUES ({marks(len(row))})", row)
    for target in targets:
        yield Query("INSERT INTO targets (deployment, host, version, digest) VALUES (?, ?, ?, ?)", (row[0], *target))


def wanted_by(event: Event) -> tuple[str, str, list[tuple[str, str, str]]]:
    """Return a new deployment's version and digest, and (host, version, digest) of each host that gets another one."""
    version, digest = text_of(event, "version"), text_of(event, "digest")
    hosts: Sequence[Any] = event.data["hosts"]
    specs: list[Mapping[str, Any]] = [host for host in hosts if isinstance(host, Mapping) and "name" in host]
    wanted = {str(h["name"]): (str(h.get("version") or version), str(h.get("digest") or digest)) for h in specs}
    digests = {pair[1] for pair in wanted.values()}
    if not digest and len(digests) == 1 and len(wanted) == len(hosts):
        digest = digests.pop()
    return version, digest, [(name, *pair) for name, pair in wanted.items() if pair != (version, digest)]


def _wanted_of(event: Event) -> Script[tuple[str, str]]:
    rows = yield from fetch(
        "SELECT coalesce(targets.version, deployments.version), coalesce(targets.digest, deployments.digest)"
        " FROM deployments LEFT JOIN targets ON targets.deployment = deployments.id AND targets.host = ?"
        " WHERE deployments.id = ?",
        event.host,
        event.deployment,
    )
    return (rows[0][0], rows[0][1]) if rows else ("", "")


def _change_host(event: Event) -> Script[None]:
    rows = yield from fetch(f"SELECT {HOST_COLUMNS} FROM hosts WHERE key = ? AND host = ?", event.key, event.host)
    before = host_of(rows[0]) if rows else HostRow(event.key, event.host, "", "", "", "", "", "", "", 0, 0)
    if event.kind == "action_finished":
        after = find_host(before, event)
    else:
        wanted = (yield from _wanted_of(event)) if text_of(event, "to") in PROVEN else ("", "")
        after = move_host(before, event, *wanted)
    row = tuple(getattr(after, name) for name in HOST_NAMES)
    yield Query(
        f"INSERT INTO hosts ({HOST_COLUMNS}) VALUES ({marks(len(row))}) ON CONFLICT (key, host) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in HOST_NAMES[2:]),
        row,
    )


def find_host(before: HostRow, event: Event) -> HostRow:
    """Return a host after an action found what it has (`previous_*` in its data): that is believed over the log."""
    found = text_of(event, "previous_version"), text_of(event, "previous_digest")
    after = replace(before, updated_at_ms=event.at_ms, seq=event.seq)
    return (
        after
        if found == (before.version, before.digest)
        else replace(after, version=found[0], digest=found[1], proven_by="", previous_version="", previous_digest="")
    )


def move_host(before: HostRow, event: Event, version: str, digest: str) -> HostRow:
    """Return a host after a transition of a deployment that is to bring it `version` and `digest`."""
    status = text_of(event, "to")
    after = replace(before, deployment=event.deployment, status=status, updated_at_ms=event.at_ms, seq=event.seq)
    if status in PROVEN:
        after = replace(after, version=version, digest=digest, proven_by=event.deployment)
        moved = before.proven_by != event.deployment and (before.version, before.digest) != (version, digest)
        return replace(after, previous_version=before.version, previous_digest=before.digest) if moved else after
    if status == "reverted" and before.proven_by == event.deployment:
        # Nobody brought what it has now: should this deployment prove it again, the version of now is the previous one.
        version, digest = before.previous_version, before.previous_digest
        return replace(after, version=version, digest=digest, proven_by="", previous_version="", previous_digest="")
    return after


def marks(count: int) -> str:
    """Return `?, ?, …` for so many arguments."""
    return ", ".join("?" * count)


def rebuild() -> Script[None]:
    """Empty the tables and apply every event of the log; appenders wait until it is done."""
    end = yield from reserve(0)
    for table in ("deployments", "targets", "hosts"):
        yield Query(f"DELETE FROM {table}")
    after = 0
    while True:
        rows = yield from fetch(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
            after,
            end,
            REBUILD_PAGE,
        )
        for row in rows:
            yield from apply_to_views(event_of(row))
        if len(rows) < REBUILD_PAGE:
            return
        after = rows[-1][0]


def list_deployments(key: str, deployment: str, limit: int, idempotency_key: str = "") -> Script[list[DeploymentRow]]:
    """Return deployments, newest first; "" means any."""
    given = {"key": key, "id": deployment, "idempotency_key": idempotency_key}
    asked = {name: value for name, value in given.items() if value}
    where = [f"{name} = ?" for name in asked]
    if idempotency_key:
        where.append("idempotency_key <> ''")  # the condition of its index, which the value of a ? can't prove
    rows = yield from fetch(
        f"SELECT {READ_DEPLOYMENT} FROM deployments {'WHERE ' + ' AND '.join(where) if where else ''}"
        " ORDER BY created_seq DESC LIMIT ?",
        *asked.values(),
        limit,
    )
    return [deployment_of(row) for row in rows]


def list_hosts(key: str) -> Script[list[HostRow]]:
    """Return the hosts of a key by name."""
    rows = yield from fetch(f"SELECT {HOST_COLUMNS} FROM hosts WHERE key = ? ORDER BY host", key)
    return [host_of(row) for row in rows]

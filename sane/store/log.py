"""The scripts of the log: append with compare-and-set, create a deployment, read."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sane.core.events import Event
from sane.errors import ConflictError, UsageError
from sane.store.base import Lease
from sane.store.leases import check_lease
from sane.store.script import Query, Script, fetch, reserve
from sane.store.views import EVENT_COLUMNS, apply_to_views, event_of, marks, text_of

MAX_EVENT_BYTES = 1 << 20  # full outputs belong in files; this bounds what one reader must hold
MAX_NAME_BYTES = 1000  # two of them fit the 2,704 bytes of an index entry of PostgreSQL
ROWS_PER_INSERT = 100  # of 7 columns each: below the 999 arguments that older SQLite builds allow


def encode(event: Event) -> tuple[object, ...]:
    """Return what the log stores of an event, without its number. Raises UsageError for what no database could keep."""
    try:
        data = json.dumps(dict(event.data), allow_nan=False, separators=(",", ":"))
        names = (event.key, event.deployment, event.host, text_of(event, "idempotency_key"))
        longest = max(len(name.encode()) for name in names)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"event '{event.kind}' can't be stored: {error}") from None
    if longest > MAX_NAME_BYTES:
        raise UsageError(f"event '{event.kind}' has a name of {longest} bytes; the log takes {MAX_NAME_BYTES}")
    if "\0" in "".join(names):
        raise UsageError(f"event '{event.kind}' can't be stored: a name in it has a NUL byte")
    if len(data) > MAX_EVENT_BYTES:
        raise UsageError(
            f"event '{event.kind}' has {len(data)} bytes of data; the log takes {MAX_EVENT_BYTES}",
            hint="Keep full outputs in a file beside the log and name it in the event.",
        )
    return (event.at_ms, event.kind, event.key, event.deployment, event.host, data)


def append(events: Sequence[Event], expect: int | None, lease: Lease | None) -> Script[list[Event]]:
    """Append durable events and return them numbered."""
    rows = [encode(event) for event in events]
    first = yield from reserve(len(events))
    if lease is not None:
        yield from check_lease(lease)
    if expect is not None:
        yield from _check_expected(events, expect)
    numbered = [event.numbered(first + place) for place, event in enumerate(events)]
    for start in range(0, len(rows), ROWS_PER_INSERT):
        part = rows[start : start + ROWS_PER_INSERT]
        args = [value for place, row in enumerate(part) for value in (first + start + place, *row)]
        values = ", ".join([f"({marks(7)})"] * len(part))
        yield Query(f"INSERT INTO events ({EVENT_COLUMNS}) VALUES {values}", tuple(args))
    for event in numbered:
        if event.kind == "deployment_created":
            yield from _check_created(event)
        yield from apply_to_views(event)
    return numbered


def scope_of(events: Sequence[Event]) -> tuple[str, str]:
    """Return what `expect` is about: the deployment of the events, else their key, else ("", "") for the whole log."""
    deployments = {event.deployment for event in events}
    keys = {event.key for event in events}
    if len(deployments) > 1 or len(keys) > 1:
        raise UsageError("events that are appended with an expectation must be of one deployment")
    deployment, key = deployments.pop(), keys.pop()
    return ("deployment", deployment) if deployment else ("key", key) if key else ("", "")


def _check_expected(events: Sequence[Event], expect: int) -> Script[None]:
    column, value = scope_of(events)
    if column:
        rows = yield from fetch(f"SELECT max(seq) FROM events WHERE {column} = ?", value)
    else:
        rows = yield from fetch("SELECT max(seq) FROM events")
    last = rows[0][0] or 0
    if last != expect:
        what = f"{column} '{value}'" if column else "the log"
        raise ConflictError(
            f"{what} moved on: its last event is {last}, the caller had seen {expect}",
            hint=f"Read the events after {expect} and decide again.",
        )


def _check_created(event: Event) -> Script[None]:
    if not event.deployment or not event.key:
        raise UsageError("a deployment needs an id and a key")
    rows = yield from fetch("SELECT key, revision FROM deployments WHERE id = ?", event.deployment)
    if rows:
        raise ConflictError(f"deployment '{event.deployment}' exists already: revision {rows[0][1]} of '{rows[0][0]}'")
    revision = yield from next_revision(event.key)
    given = event.data["revision"]
    # What is adopted from the records of hosts keeps its number, so that numbers between may be missing.
    fits = given == revision or (event.data.get("adopted") is True and isinstance(given, int) and given > revision)
    if not fits or isinstance(given, bool):
        raise ConflictError(
            f"the next revision of '{event.key}' is {revision}, not {event.data['revision']!r}",
            hint="Somebody else deployed it meanwhile; look at that deployment, then deploy again.",
        )


def next_revision(key: str) -> Script[int]:
    """Return the revision that the key's next deployment must have."""
    rows = yield from fetch("SELECT max(revision) FROM deployments WHERE key = ?", key)
    return int(rows[0][0] or 0) + 1


def create_deployment(event: Event, lease: Lease | None) -> Script[Event]:
    """Append a `deployment_created` event, or return the one of the same idempotency key."""
    yield from reserve(0)
    idempotency_key = text_of(event, "idempotency_key")
    if idempotency_key:
        rows = yield from fetch(
            "SELECT id, request_digest FROM deployments WHERE key = ? AND idempotency_key = ?",
            event.key,
            idempotency_key,
        )
        if rows:
            return (yield from _created_before(event, rows[0][0], rows[0][1]))
    return (yield from append([event], None, lease))[0]


def _created_before(event: Event, deployment: str, request_digest: str) -> Script[Event]:
    if request_digest != text_of(event, "request_digest"):
        raise ConflictError(
            f"idempotency key '{text_of(event, 'idempotency_key')}' was used for another request: '{deployment}'",
            hint="Send the same request as then, or use a new idempotency key.",
        )
    rows = yield from fetch(
        f"SELECT {EVENT_COLUMNS} FROM events WHERE deployment = ? AND kind = 'deployment_created'", deployment
    )
    return event_of(rows[0])


def read(after: int, key: str, deployment: str, kinds: Collection[str], limit: int) -> Script[list[Event]]:
    """Return up to `limit` events above `after`, in order."""
    where, args = ["seq > ?"], list[object]([after])
    for column, value in (("key", key), ("deployment", deployment)):
        if value:
            where.append(f"{column} = ?")
            args.append(value)
    if kinds:
        where.append(f"kind IN ({marks(len(kinds))})")
        args.extend(sorted(kinds))
    rows = yield from fetch(
        f"SELECT {EVENT_COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?",
        *args,
        limit,
    )
    return [event_of(row) for row in rows]


def find_end() -> Script[int]:
    """Return the number of the last event, 0 when there is none."""
    rows = yield from fetch("SELECT last_seq FROM log_counter")
    return int(rows[0][0])


def read_page(
    after: int, key: str, deployment: str, kinds: Collection[str], limit: int
) -> Script[tuple[list[Event], int]]:
    """Return a page of events, and the number up to which it is complete.

    The end of the log is asked for first: what is committed after that may be on the page or not, and is read then.
    """
    end = yield from find_end()
    events = yield from read(after, key, deployment, kinds, limit)
    last = events[-1].seq if events else after
    return events, last if len(events) == limit else max(last, end)

"""The scripts of leases: one owner acts on a deployment key at a time, and an old one is recognised by its token.

A lease's row outlives it, so that its token only ever grows. Taking and releasing are events; renewals are not.
"""

from __future__ import annotations

from sane.core.events import Event
from sane.errors import ConflictError, UsageError
from sane.store.base import Lease
from sane.store.script import Query, Script, fetch, reserve


def find_lease(key: str) -> Script[Lease | None]:
    """Return the lease of a key, None when nobody holds it."""
    lease = yield from _read_row(key)
    return lease if lease and lease.owner else None


def _read_row(key: str) -> Script[Lease | None]:
    rows = yield from fetch("SELECT key, owner, token, until_ms FROM leases WHERE key = ?", key)
    return Lease(*rows[0]) if rows else None


def describe(lease: Lease) -> str:
    """Return who holds a lease and until when, for people."""
    from datetime import UTC, datetime  # 2 ms that only an error needs

    until = datetime.fromtimestamp(lease.until_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"'{lease.key}' is held by {lease.owner} until {until}"


def check_lease(lease: Lease) -> Script[None]:
    """Refuse when the lease is no longer the key's."""
    row = yield from _read_row(lease.key)
    if row is None or row.token != lease.token or not row.owner:
        raise lost(lease, row)


def lost(lease: Lease, row: Lease | None) -> ConflictError:
    """Return the error for an owner whose lease is not current."""
    if row is None or not row.owner:
        return ConflictError(
            f"the lease on '{lease.key}' (token {lease.token}) was released", hint="Take the lease again, then go on."
        )
    return ConflictError(
        f"{describe(row)} with token {row.token}; token {lease.token} of {lease.owner} is old",
        hint="Stop: another controller has taken over this deployment key.",
    )


def take_lease(key: str, owner: str, ttl_ms: int, now_ms: int) -> Script[Lease]:
    """Take a lease that is free, expired or the owner's own, with the next token."""
    if not key or not owner or ttl_ms <= 0:
        raise UsageError("a lease needs a key, an owner and a time above 0")
    yield from reserve(0)
    row = yield from _read_row(key)
    if row is not None and row.owner not in ("", owner) and row.until_ms > now_ms:
        raise ConflictError(describe(row), hint="Wait until it ends, or stop that controller; then try again.")
    lease = Lease(key, owner, row.token + 1 if row else 1, now_ms + ttl_ms)
    yield Query(
        "INSERT INTO leases (key, owner, token, until_ms) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
        " owner = excluded.owner, token = excluded.token, until_ms = excluded.until_ms",
        (lease.key, lease.owner, lease.token, lease.until_ms),
    )
    return lease


def renew_lease(lease: Lease, ttl_ms: int, now_ms: int) -> Script[Lease]:
    """Move a lease's end. One statement decides: a taker may come between two."""
    yield Query(
        "UPDATE leases SET until_ms = ? WHERE key = ? AND token = ? AND owner = ?",
        (now_ms + ttl_ms, lease.key, lease.token, lease.owner),
    )
    row = yield from _read_row(lease.key)
    if row is None or (row.token, row.owner) != (lease.token, lease.owner):
        raise lost(lease, row)
    return row


def release_lease(lease: Lease) -> Script[bool]:
    """Give a lease up, keeping its token; return whether it was held."""
    yield from reserve(0)
    row = yield from _read_row(lease.key)
    if row is None or (row.token, row.owner) != (lease.token, lease.owner):
        return False
    yield Query("UPDATE leases SET owner = '', until_ms = 0 WHERE key = ?", (lease.key,))
    return True


def lease_event(kind: str, lease: Lease, now_ms: int) -> Event:
    """Return the event of a taking or a release."""
    return Event(kind, now_ms, lease.key, data={"owner": lease.owner, "token": lease.token, "until_ms": lease.until_ms})

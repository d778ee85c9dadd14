"""What the event log offers: one small protocol, whatever keeps the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sane.core.events import Event


@dataclass(frozen=True, slots=True)
class Lease:
    """Hold the right to act on one deployment key until `until_ms` (epoch milliseconds).

    `token` grows with every taking of that key: whatever an old owner still sends is refused by it.
    """

    key: str
    owner: str
    token: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """Show one deployment as the log has it so far; `seq` is its last event, to be given to `append` as `expect`."""

    id: str
    key: str
    revision: int
    version: str
    digest: str
    status: str
    reason: str
    stable: bool
    created_at_ms: int
    updated_at_ms: int
    seq: int
    idempotency_key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """Show what one host has of one deployment key.

    `version` and `digest` are the last proven ones ("" for none), `proven_by` the deployment that brought them (""
    after a revert); `previous_*` are those before. `status` and `deployment` are of the latest attempt.
    """

    key: str
    host: str
    deployment: str
    status: str
    version: str
    digest: str
    proven_by: str
    previous_version: str
    previous_digest: str
    updated_at_ms: int
    seq: int


class Store(Protocol):
    """Number, keep and publish events; answer from tables that the log alone determines.

    Every method raises StoreError when the log can't be read or written, and UnavailableError when others hold it for
    too long. A caller that is cancelled while it waits does not take back what it asked for.
    """

    async def append(
        self, events: Sequence[Event], *, expect: int | None = None, lease: Lease | None = None
    ) -> list[Event]:
        """Append events in one transaction, all or none, and return them with their numbers (0: published, not stored).

        `expect` is the last number the caller has seen of their deployment (of their key when they name none, of the
        whole log when they name neither). Raises ConflictError when the log moved on past it, or when `lease` is no
        longer held.
        """
        ...

    async def create_deployment(self, event: Event, *, lease: Lease | None = None) -> Event:
        """Append a `deployment_created` event whose revision is the key's next, and return it.

        Where its data has `idempotency_key` and the deployment key knows that one: return the event of then when
        `request_digest` is the same, else raise ConflictError. Raises ConflictError for a revision or id that is taken.
        """
        ...

    async def next_revision(self, key: str) -> int:
        """Return the revision that the key's next deployment must have, from 1."""
        ...

    async def read(
        self, after: int = 0, *, key: str = "", deployment: str = "", kinds: Collection[str] = (), limit: int = 1000
    ) -> list[Event]:
        """Return up to `limit` stored events with numbers above `after`, in order; "" and () mean any."""
        ...

    def follow(
        self, after: int | None = None, *, key: str = "", deployment: str = "", kinds: Collection[str] = ()
    ) -> AsyncGenerator[Event, None]:
        """Yield every stored event above `after` (None: from the first step on) once, in order, from all processes.

        Events published by this process are mixed in at their place. A reader too slow for those loses the oldest, and
        gets a `dropped` event with their count; stored ones are never lost. Ends only when the store is closed.
        """
        ...

    async def take_lease(self, key: str, owner: str, ttl_ms: int, now_ms: int) -> Lease:
        """Take a key's lease when it is free, expired or `owner`'s own.

        Raises ConflictError naming who holds it and until when.
        """
        ...

    async def renew_lease(self, lease: Lease, ttl_ms: int, now_ms: int) -> Lease:
        """Return the lease with a new end. Raises ConflictError when somebody else took it."""
        ...

    async def release_lease(self, lease: Lease, now_ms: int) -> None:
        """Give the lease up; nothing happens when it is no longer held."""
        ...

    async def find_lease(self, key: str) -> Lease | None:
        """Return who holds the key's lease, even past its end; None when it was released or never taken."""
        ...

    async def list_deployments(
        self, *, key: str = "", deployment: str = "", idempotency_key: str = "", limit: int = 100
    ) -> list[DeploymentRow]:
        """Return deployments, newest first; "" means any."""
        ...

    async def list_hosts(self, key: str) -> list[HostRow]:
        """Return what the hosts of a key have, by name."""
        ...

    async def rebuild_views(self) -> None:
        """Make the tables behind `list_deployments` and `list_hosts` anew from the log."""
        ...

    async def close(self) -> None:
        """End every `follow`, finish what was accepted and release the log; safe to call twice."""
        ...

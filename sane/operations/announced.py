"""What deployments announce to a watch of their hosts."""

from __future__ import annotations

import asyncio

from sane.engine.watcher import Announced
from sane.operations.deployments import load_deployment
from sane.store.base import Store

ACTIVE = ("pending", "running", "reverting")
REFRESH_S = 2.0


class Announcer:
    """Know what is deployed under a key: the version that hosts should have, and which are being changed now."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._seq: int = -1
        self.current = Announced({})

    async def refresh(self) -> None:
        """Read the key's deployments again, where there is something new."""
        if not self._key:
            return
        rows = await self._store.list_deployments(key=self._key, limit=50)
        if not rows or rows[0].seq == self._seq:
            return
        self._seq = rows[0].seq
        versions: dict[str, str] = {}
        stable = next((row for row in rows if row.stable), None)
        if stable is not None:
            state, _ = await load_deployment(self._store, stable.id)
            # a host that left the batch keeps what was last proven on it
            versions = {h.host: h.version for h in await self._store.list_hosts(self._key) if h.version}
            versions |= {host.spec.name: host.spec.version or state.version for host in state.hosts}
        changing = frozenset[str]()
        if rows[0].status in ACTIVE:
            state, _ = await load_deployment(self._store, rows[0].id)
            changing = frozenset(host.spec.name for host in state.hosts)
        self.current = Announced(versions, changing)

    async def keep_fresh(self) -> None:
        """Refresh again and again."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()

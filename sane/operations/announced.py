"""What deployments announce to a watch of their hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sane.engine.watcher import Announced
from sane.errors import SaneError
from sane.operations.deployments import load_deployment
from sane.store.base import Store

ACTIVE = ("pending", "running", "reverting")
REFRESH_S = 2.0


class Announcer:
    """Know what is deployed under a key: the version that hosts should have, and which are being changed now.

    `say` is told where the log can't be read: what was known before stays.
    """

    def __init__(self, store: Store, key: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._key = key
        self._say = say
        self._seq: int = -1
        self.current = Announced({})

    async def refresh(self) -> None:
        """Read the key's deployments again, where there is something new."""
        if not self._key:
            return
        rows = await self._store.list_deployments(key=self._key, limit=50)
        if not rows or rows[0].seq == self._seq:
            return
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
        self.current, self._seq = Announced(versions, changing), rows[0].seq

    async def keep_fresh(self, refresh_s: float = REFRESH_S) -> None:
        """Refresh again and again, also after the log could not be read."""
        problem = ""
        while True:
            await asyncio.sleep(refresh_s)
            try:
                await self.refresh()
                problem = ""
            except SaneError as error:
                if not problem:
                    self._say(f"what is deployed may have changed unseen: {error.message}")
                problem = error.message

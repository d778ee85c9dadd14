"""The hosts that a warm helper keeps connected between calls, as OpenSSH's ControlPersist does, for some seconds.

How a host is reached is read anew for each call (inventory, ~/.ssh/config), so a change there counts at once; then the
old connection is not used any more.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sane.core.command import Command
from sane.core.ssh.settings import HostSettings
from sane.core.target import Target
from sane.engine.context import AsyncContext
from sane.errors import SaneError

if TYPE_CHECKING:
    from sane.core.fleet.inventory import Inventory

IDLE_S = 15.0
# After a pause the host is asked first whether it still answers: a call on a connection that died unnoticed would wait
# for its whole time, and what became of its command would be unknown.
TRUSTED_S = 1.0
ANSWER_TIMEOUT_S = 3.0


@dataclass(slots=True)
class _Held:
    settings: HostSettings
    context: AsyncContext
    used_s: float
    callers: int = 0


class WarmHosts:
    """Lend the context of a host to calls; those of one host share its connection."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._replaced: list[_Held] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._inventory: tuple[tuple[str, int, int], Inventory] | None = None

    @asynccontextmanager
    async def lend(self, host: str) -> AsyncGenerator[AsyncContext]:
        """Yield the context in which a host is reached as its configuration says now.

        Raises ConfigError and UsageError where it says nothing usable.
        """
        held = await self._find(host)
        held.callers += 1
        try:
            if time.monotonic() - held.used_s > TRUSTED_S and not await _answers(held, host):
                fresh = await self._replace(host, AsyncContext(self._read_inventory()))
                held.callers -= 1
                held = fresh
                held.callers += 1
            yield held.context
        finally:
            held.callers -= 1
            held.used_s = time.monotonic()

    def close_idle(self, idle_s: float = IDLE_S) -> None:
        """Begin to close what nobody has used for so long, and what another connection has replaced."""
        now = time.monotonic()
        for host, held in list(self._held.items()):
            if not held.callers and now - held.used_s >= idle_s:
                self._replaced.append(self._held.pop(host))
        for held in [held for held in self._replaced if not held.callers]:
            self._replaced.remove(held)
            task = asyncio.ensure_future(held.context.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close everything."""
        self.close_idle(0.0)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _find(self, host: str) -> _Held:
        context = AsyncContext(self._read_inventory())
        held = self._held.get(host)
        if held is not None and held.settings == await context.settings(host):
            return held
        return await self._replace(host, context)

    async def _replace(self, host: str, context: AsyncContext) -> _Held:
        settings = await context.settings(host)
        if host in self._held:
            self._replaced.append(self._held.pop(host))
        held = self._held[host] = _Held(settings, context, time.monotonic())
        return held

    def _read_inventory(self) -> Inventory | None:
        path = os.environ.get("SANE_INVENTORY")
        if not path:
            return None
        from sane.operations.files import load_inventory

        try:
            status = os.stat(path)
        except OSError:
            return load_inventory(path)  # which says why it can't be read
        stamp = (path, status.st_mtime_ns, status.st_size)
        if self._inventory is None or self._inventory[0] != stamp:
            self._inventory = (stamp, load_inventory(path))
        return self._inventory[1]


async def _answers(held: _Held, host: str) -> bool:
    """Return whether the open connection to a host still works; one that is known to be closed is opened again."""
    if not held.context.pool.is_open(held.settings):
        return True
    try:
        transport = await held.context.transport(Target(host, None))
        return (await transport.run(Command(":", timeout_s=ANSWER_TIMEOUT_S))).exit_code == 0
    except SaneError:
        return False

"""What a verb gets under asyncio: targets opened once and shared, names resolved by an inventory and ~/.ssh/config."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sane.core.fleet.inventory import Host, Inventory
from sane.core.paths import state_dir
from sane.core.ssh.settings import HostOverrides, HostSettings
from sane.core.target import Target
from sane.engine.ending import end_within
from sane.transports.base import Machine, Transport

if TYPE_CHECKING:
    from sane.engine.call import CallContext
    from sane.engine.pane_pool import PanePool
    from sane.transports.ssh_pool import SshPool

CLOSE_TIMEOUT_S = 5.0


def _silent(message: str) -> None:
    return None


class AsyncContext:
    """Open targets under asyncio, each once; concurrent callers of one target share it."""

    def __init__(self, inventory: Inventory | None = None, *, report: Callable[[str], None] = _silent) -> None:
        self._inventory = inventory
        self._report = report
        self._opening: dict[Target, asyncio.Task[Transport]] = {}
        self._machines: dict[str | None, Machine] = {}
        self._reached_by: dict[str, HostSettings] = {}
        self._pool: SshPool | None = None
        self._panes: PanePool | None = None

    @contextlib.asynccontextmanager
    async def call(
        self, report: Callable[[str], None] | None = None, *, forbidden_pane: str | None = None
    ) -> AsyncGenerator[CallContext]:
        """Yield the context of one call among many that share the connections.

        `forbidden_pane` is the id of a local pane that may not be opened: the one the caller itself runs in.
        """
        from sane.engine.call import CallContext

        call = CallContext(self, report or self._report, forbidden_pane)
        try:
            yield call
        except BaseException:
            await call.end(clean=False)
            raise
        await call.end(clean=True)

    @property
    def state_dir(self) -> Path:
        """Return the directory of sane's own state."""
        return state_dir(os.environ)

    def host_names(self) -> tuple[str, ...]:
        """Return the names of the inventory, in its order."""
        return tuple(host.name for host in self._inventory.hosts) if self._inventory else ()

    async def transport(self, target: Target) -> Transport:
        """Return the transport to a target. Raises TransportError, NotFoundError, PaneError."""
        await self._forget_outdated(target.host)
        task = self._opening.get(target)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[target] = asyncio.create_task(self._open(target))
        return await asyncio.shield(task)

    async def _open(self, target: Target) -> Transport:
        if target.pane is not None:
            from sane.transports.pane import open_pane

            return await open_pane(await self.machine(target.host), target.pane)
        if target.host is not None:
            from sane.transports.ssh import SshTransport

            return SshTransport(self.pool, await self.settings(target.host))
        from sane.transports.local import LocalTransport

        return LocalTransport()

    async def machine(self, host: str | None) -> Machine:
        """Return this machine for None, else the machine behind a host name."""
        await self._forget_outdated(host)
        if host not in self._machines:
            machine = await self._machine(host)
            self._machines.setdefault(host, machine)
        return self._machines[host]

    async def _machine(self, host: str | None) -> Machine:
        if host is not None:
            from sane.transports.ssh_machine import SshMachine

            return SshMachine(self.pool, await self.settings(host))
        from sane.transports.local_machine import LocalMachine

        return LocalMachine()

    @property
    def panes(self) -> PanePool:
        """Return the panes that stay open between calls."""
        if self._panes is None:
            from sane.engine.pane_pool import PanePool

            self._panes = PanePool(self.machine)
        return self._panes

    @property
    def pool(self) -> SshPool:
        """Return the pool of SSH connections, made on first use."""
        if self._pool is None:
            from sane.transports.ssh_config import SshConfig
            from sane.transports.ssh_pool import SshPool

            self._pool = SshPool(SshConfig(overrides_of=self._overrides))
        return self._pool

    async def settings(self, host: str) -> HostSettings:
        """Return how a host is reached over SSH. Raises UsageError, ConfigError."""
        self._reached_by[host] = await self.pool.config.resolve_aside(host)
        return self._reached_by[host]

    async def _forget_outdated(self, host: str | None) -> None:
        """Forget a host that has to be connected to again, where the user's files say another way by now."""
        known = self._reached_by.get(host) if host is not None else None
        if host is None or known is None or self.pool.is_open(known) or await self.settings(host) == known:
            return
        self._machines.pop(host, None)
        for target in [target for target in self._opening if target.host == host]:
            del self._opening[target]

    def _overrides(self, name: str) -> HostOverrides | None:
        host = self._inventory.find(name) if self._inventory else None
        return overrides_of(host) if host is not None else None

    def report(self, message: str) -> None:
        """Tell whoever called how far it is."""
        self._report(message)

    async def close(self) -> None:
        """Close every transport, machine and connection, within 5 s; never raises for one that does not close."""
        closing = [_close_opened(task) for task in self._opening.values()]
        if self._panes is not None:
            closing.append(self._panes.close())
        closing += [machine.close() for machine in self._machines.values()]
        if self._pool is not None:
            closing.append(self._pool.close())
        self._opening.clear()
        self._machines.clear()
        await end_within(CLOSE_TIMEOUT_S, *closing)


async def _close_opened(opening: asyncio.Task[Transport]) -> None:
    """Close a transport that is open; one that is not is never opened."""
    opening.cancel()
    (opened,) = await asyncio.gather(opening, return_exceptions=True)
    if not isinstance(opened, BaseException):
        await opened.close()


def open_context(inventory: Inventory | None) -> AsyncContext:
    """Return a context over the hosts of an inventory; without one, names resolve through ~/.ssh/config alone."""
    return AsyncContext(inventory)


def overrides_of(host: Host) -> HostOverrides:
    """Return what an inventory says about reaching a host."""
    return HostOverrides(
        address=host.address or None,
        user=host.user,
        port=host.port,
        keys=(host.key,) if host.key else (),
        jump=host.jump,
        known_hosts=host.known_hosts,
        connect_timeout_s=host.connect_timeout_ms / 1000 if host.connect_timeout_ms else None,
    )

"""Where each host's steps run: straight over SSH, or in a tmux window, here or on the host, that people can watch."""

from __future__ import annotations

import asyncio

from sane.core.fleet.inventory import Host
from sane.core.fleet.place import environment_of, target_of
from sane.core.target import Target
from sane.engine.context import AsyncContext
from sane.engine.steps import Place
from sane.engine.windows import close_windows, open_window, session_name, ssh_argv

VIAS = ("ssh", "tmux", "host-tmux")


class HostPlaces:
    """Open one place a host, on first use; a place that is a window is closed again where its host ended well."""

    def __init__(self, context: AsyncContext, key: str, via: str, *, anew: frozenset[str] = frozenset()) -> None:
        """Prepare places. Hosts of `anew` get another window than the one that is there.

        A controller that was killed may have left a half typed line in it, or a step that still runs.
        """
        self._context = context
        self._session = session_name(key)
        self._via = via
        self._opening: dict[str, asyncio.Task[Place]] = {}
        self._anew = anew
        self._windows: dict[str, Target] = {}

    @property
    def session(self) -> str:
        """Return the name of the tmux session that holds the windows."""
        return self._session

    async def place(self, host: Host) -> Place:
        """Return where a host's steps run. Raises TransportError, NotFoundError."""
        task = self._opening.get(host.name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[host.name] = asyncio.create_task(self._open(host))
        return await asyncio.shield(task)

    async def _open(self, host: Host) -> Place:
        control = target_of(host)
        target = control if host.target else await self._target(host)
        return Place(target, control, target.pane is not None, environment_of(host))

    async def _target(self, host: Host) -> Target:
        via = host.via or self._via
        if via == "ssh":
            return Target(host.name, None)
        where = host.name if via == "host-tmux" else None
        machine = await self._context.machine(where)
        argv = ssh_argv(await self._context.settings(host.name)) if where is None else []
        pane = await open_window(machine, self._session, host.name, argv, anew=host.name in self._anew)
        self._windows[host.name] = Target(where, pane)
        return self._windows[host.name]

    def windows(self) -> dict[str, Target]:
        """Return the windows that are open, by host."""
        return dict(self._windows)

    async def close_windows(self, hosts: set[str]) -> None:
        """Close the windows of these hosts; what goes wrong with one does not keep the others open."""
        closing = [self._close(name) for name in self._windows if name in hosts]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _close(self, host: str) -> None:
        await close_windows(await self._context.machine(self._windows[host].host), self._session, host)

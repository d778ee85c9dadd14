"""What one call of a verb gets where many calls share the connections: panes lent to it alone, and its own reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sane.core.target import Target
from sane.errors import AccessError
from sane.transports.base import Machine, Transport

if TYPE_CHECKING:
    from sane.engine.context import AsyncContext
    from sane.transports.pane import PaneTransport


class CallContext:
    """Open targets for one call; two calls on one pane take turns, on different panes they run side by side."""

    def __init__(self, shared: AsyncContext, report: Callable[[str], None], forbidden_pane: str | None) -> None:
        self._shared = shared
        self._report = report
        self._forbidden_pane = forbidden_pane
        self._lent: dict[Target, PaneTransport] = {}

    @property
    def state_dir(self) -> Path:
        """Return the directory of sane's own state."""
        return self._shared.state_dir

    async def transport(self, target: Target) -> Transport:
        """Return the transport to a target. Raises TransportError, NotFoundError, PaneError, AccessError."""
        if target.pane is None:
            return await self._shared.transport(target)
        if target not in self._lent:
            pane = self._lent[target] = await self._shared.panes.lend(target)
            if target.host is None and pane.pane_id == self._forbidden_pane:
                raise own_pane_error(target)
        return self._lent[target]

    async def machine(self, host: str | None) -> Machine:
        """Return this machine for None, else the machine behind a host name."""
        return await self._shared.machine(host)

    def report(self, message: str) -> None:
        """Tell whoever called how far it is."""
        self._report(message)

    async def end(self, *, clean: bool) -> None:
        """Give the panes back; after a failure their state is not known, so they are closed."""
        for target, pane in self._lent.items():
            if clean:
                self._shared.panes.give_back(target.host, pane)
            else:
                await pane.close()
        self._lent.clear()


def own_pane_error(target: Target) -> AccessError:
    """Return the refusal to type into the pane that the caller itself runs in."""
    return AccessError(
        f"{target} is the pane this program runs in; nothing is typed there",
        hint="Use another pane: split-pane makes one.",
    )

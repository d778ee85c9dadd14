"""What a surface provides to a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sane.core.target import Target
from sane.transports.base import Machine, Transport

if TYPE_CHECKING:
    from pathlib import Path  # 4 ms at the start of every primitive, most of which need no state directory


class Context(Protocol):
    """Open targets for a verb; the surface closes them. Opening the same target twice gives the same transport."""

    @property
    def state_dir(self) -> Path:
        """Return the directory of sane's own state: $SANE_STATE_DIR, else $XDG_STATE_HOME/sane."""
        ...

    async def transport(self, target: Target) -> Transport:
        """Return the transport to a target. Raises TransportError, NotFoundError, PaneError."""
        ...

    async def machine(self, host: str | None) -> Machine:
        """Return the machine that a host name means; None is this one."""
        ...

    def report(self, message: str) -> None:
        """Tell whoever called how far it is; never part of the answer."""
        ...

"""The two contexts a verb can get: one that blocks, for a one-shot call, and one under asyncio.

Transports are imported when a target needs them: a call on a local pane imports neither asyncio nor an SSH library.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sane.core.target import Target
from sane.errors import UsageError
from sane.transports.base import Machine, Transport

if TYPE_CHECKING:
    from pathlib import Path


def report_on_stderr(message: str) -> None:
    """Tell a person how far a call is."""
    print(message, file=sys.stderr, flush=True)


class BlockingContext:
    """Open targets of this machine; every coroutine it leads to runs under `run_blocking`."""

    def __init__(self) -> None:
        self._transports: dict[Target, Transport] = {}
        self._machine: Machine | None = None

    @property
    def state_dir(self) -> Path:
        """Return the directory of sane's own state."""
        from sane.core.paths import state_dir

        return state_dir(os.environ)

    async def transport(self, target: Target) -> Transport:
        """Return the transport to `local:` or to a pane of the local tmux. Raises UsageError for another machine."""
        if target not in self._transports:
            self._transports[target] = await self._open(target)
        return self._transports[target]

    async def _open(self, target: Target) -> Transport:
        if target.pane is None and target.host is None:
            from sane.transports.local import LocalTransport

            return LocalTransport()
        machine = await self.machine(target.host)
        from sane.transports.pane import open_pane

        return await open_pane(machine, target.pane or "")

    async def machine(self, host: str | None) -> Machine:
        """Return this machine. Raises UsageError for another one."""
        if host is not None:
            raise UsageError(f"ssh:{host} can't be reached without asyncio", hint="Use AsyncContext.")
        if self._machine is None:
            from sane.transports.local_machine_blocking import BlockingMachine

            self._machine = BlockingMachine()
        return self._machine

    def report(self, message: str) -> None:
        """Tell whoever called how far it is."""
        report_on_stderr(message)

    async def close(self) -> None:
        """Close every transport that was opened."""
        for transport in self._transports.values():
            await transport.close()
        if self._machine is not None:
            await self._machine.close()

"""Give a verb in a workflow the fencing token of its host's lease: what it runs there is refused to an old owner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sane.core.command import Command, CommandResult
from sane.core.host.lease import fence
from sane.core.target import Target
from sane.transports.base import Machine, OnOutput, Transport
from sane.transports.context import Context


class FencedContext:
    """Open targets as the context within does; commands on `targets`, which are one host, check the token first.

    `env` says where that host keeps its leases.
    """

    def __init__(
        self, within: Context, targets: Collection[Target], key: str, token: int, env: Mapping[str, str]
    ) -> None:
        self._within = within
        self._targets = targets
        self._key = key
        self._token = token
        self._env = env

    @property
    def state_dir(self) -> Path:
        """Return the directory of sane's own state."""
        return self._within.state_dir

    async def transport(self, target: Target) -> Transport:
        """Return the transport to a target. Raises TransportError, NotFoundError, PaneError."""
        found = await self._within.transport(target)
        return _FencedTransport(found, self._fence) if target in self._targets else found

    def _fence(self, command: Command) -> Command:
        return fence(replace(command, env={**command.env, **self._env}), self._key, self._token)

    async def machine(self, host: str | None) -> Machine:
        """Return the machine that a host name means; None is this one."""
        return await self._within.machine(host)

    def report(self, message: str) -> None:
        """Tell whoever called how far it is."""
        self._within.report(message)


class _FencedTransport:
    def __init__(self, within: Transport, fenced: Callable[[Command], Command]) -> None:
        self._within = within
        self._fenced = fenced

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        return await self._within.run(self._fenced(command), on_output)

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        await self._within.put(path, content, mode=mode)

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        return await self._within.get(path, limit_bytes=limit_bytes)

    async def close(self) -> None:
        await self._within.close()

    def __getattr__(self, name: str) -> Any:  # what a pane can do beyond a transport
        return getattr(self._within, name)

"""Give a verb in a workflow the fencing token of its host's lease: what it does there is refused to an old owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sane.core.command import Command, CommandResult
from sane.core.host.lease import fence
from sane.core.target import Target
from sane.errors import RemoteError
from sane.transports.base import Machine, OnOutput, Transport
from sane.transports.context import Context

NOTHING = Command(
    'sh -c "$SANE_SCRIPT"',
    env={"SANE_SCRIPT": ":"},
    timeout_s=20.0,
    display="# sane: look who holds the host's lease",
    brief=True,
    unseen=True,
)


class FencedContext:
    """Open targets as the context within does; commands on `target` and `control`, one host, check the token first.

    So do files put there and its machines, which take no command along: the host is asked over `control` just before.
    `env` says where that host keeps its leases.
    """

    def __init__(
        self, within: Context, target: Target, control: Target, key: str, token: int, env: Mapping[str, str]
    ) -> None:
        self._within = within
        self._targets = (target, control)
        self._control = control
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
        return _FencedTransport(found, self._fence, self._must_hold) if target in self._targets else found

    def _fence(self, command: Command) -> Command:
        return fence(replace(command, env={**command.env, **self._env}), self._key, self._token)

    async def machine(self, host: str | None) -> Machine:
        """Return the machine that a host name means; None is this one. Raises RemoteError to an old owner."""
        if any(target.host == host for target in self._targets):
            await self._must_hold()
        return await self._within.machine(host)

    async def _must_hold(self) -> None:
        """Raise RemoteError where a newer token than ours was given out on the host, or it does not say."""
        control = await self._within.transport(self._control)
        answer = await control.run(self._fence(NOTHING))
        if answer.exit_code != 0:
            said = (answer.stderr or answer.output).decode("utf-8", "replace").strip()[-300:]
            raise RemoteError(said or f"the host does not say who holds its lease: exit code {answer.exit_code}")

    def report(self, message: str) -> None:
        """Tell whoever called how far it is."""
        self._within.report(message)


class _FencedTransport:
    def __init__(
        self, within: Transport, fenced: Callable[[Command], Command], must_hold: Callable[[], Awaitable[None]]
    ) -> None:
        self._within = within
        self._fenced = fenced
        self._must_hold = must_hold

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        return await self._within.run(self._fenced(command), on_output)

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        await self._must_hold()
        await self._within.put(path, content, mode=mode)

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        return await self._within.get(path, limit_bytes=limit_bytes)

    async def close(self) -> None:
        await self._within.close()

    def __getattr__(self, name: str) -> Any:  # what a pane can do beyond a transport
        return getattr(self._within, name)

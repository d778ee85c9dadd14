"""The Python API: one target, opened once.

    async with sane.connect("ssh:web1") as host:
        result = await host.run("uname -a")
        print(result.text, result.exit_code)

A target is a local pane (`work:1.0`, `%3`), `local:`, `ssh:HOST`, or a pane of a host's tmux (`ssh:HOST/work:1.0`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from types import TracebackType

from sane.core.command import Command, CommandResult
from sane.core.target import Target, parse_target
from sane.engine.context import AsyncContext, open_context
from sane.errors import UsageError

GET_LIMIT_BYTES = 64 << 20


def connect(target: str, *, inventory: str | PathLike[str] | None = None) -> Connection:
    """Return a connection to a target, to be entered with `async with`; nothing is opened before.

    `inventory` is a file of hosts that `ssh:NAME` resolves through before ~/.ssh/config.
    Raises UsageError for a target that is none; ConfigError, NotFoundError for the inventory.
    """
    parsed = parse_target(target)
    if inventory is None:
        return Connection(parsed, open_context(None))
    from sane.operations.files import load_inventory

    return Connection(parsed, open_context(load_inventory(str(inventory))))


class Connection:
    """Run commands and move files on one target. Calls may run at the same time; on a pane they take turns."""

    def __init__(self, target: Target, context: AsyncContext) -> None:
        self._target = target
        self._context = context
        self._is_open = False

    @property
    def target(self) -> str:
        """Return the target as it was written."""
        return str(self._target)

    async def __aenter__(self) -> Connection:
        """Open the target. Raises NotFoundError for a pane or session that does not exist, TransportError."""
        self._is_open = True
        try:
            async with self._context.call() as call:
                await call.transport(self._target)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened."""
        await self._close()

    async def run(
        self,
        command: str,
        *,
        timeout_s: float | None = 30.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> CommandResult:
        """Run a command with the target's own shell; `on_output` gets each chunk as it comes.

        A non-zero exit and a timeout (exit code 124) are results. Cancelling stops the command.
        Raises TransportError; for a pane that can't take a command now PaneError.
        """
        described = Command(command, cwd=cwd, env=dict(env or {}), stdin=stdin, timeout_s=timeout_s)
        self._check_open()
        async with self._context.call() as call:
            return await (await call.transport(self._target)).run(described, on_output)

    async def put(self, path: str, content: bytes | str, *, mode: int | None = None) -> None:
        """Replace a file atomically; text becomes UTF-8. Raises RemoteError when the target refuses, TransportError."""
        data = content.encode() if isinstance(content, str) else content
        self._check_open()
        async with self._context.call() as call:
            await (await call.transport(self._target)).put(path, data, mode=mode)

    async def get(self, path: str, *, limit_bytes: int = GET_LIMIT_BYTES) -> bytes:
        """Return a file's first `limit_bytes`. Raises NotFoundError when absent, RemoteError, TransportError."""
        self._check_open()
        async with self._context.call() as call:
            return await (await call.transport(self._target)).get(path, limit_bytes=limit_bytes)

    def _check_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"{self.target} is not connected", hint="Use `async with sane.connect(…) as host:`.")

    async def _close(self) -> None:
        self._is_open = False
        await self._context.close()

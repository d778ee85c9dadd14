"""The Python API: one target, opened once.

    async with sane.connect("ssh:web1") as host:
        result = await host.run("uname -a")
        print(result.text, result.exit_code)

A target is a local pane (`work:1.0`, `%3`), `local:`, `ssh:HOST`, or a pane of a host's tmux (`ssh:HOST/work:1.0`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from numbers import Integral, Real
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sane.core.command import Command, CommandResult, check_limit, path_text
from sane.core.fleet.inventory import Inventory
from sane.core.target import Target, parse_target
from sane.engine.context import open_context
from sane.errors import UsageError
from sane.transports.base import Transport

if TYPE_CHECKING:
    from sane.transports.ssh import SshTransport

GET_LIMIT_BYTES = 64 << 20
T = TypeVar("T")


def connect(target: str, *, inventory: str | PathLike[str] | None = None) -> Connection:
    """Return a connection to a target, to be entered with `async with`; nothing is opened before.

    `inventory` is a file of hosts that `ssh:NAME` resolves through before ~/.ssh/config.
    Raises UsageError for a target that is none; ConfigError, NotFoundError for the inventory.
    """
    _must_be("target", target, str, "text")
    if inventory is not None:
        _path("inventory", inventory)
    parsed = parse_target(target)
    if inventory is None:
        return Connection(parsed, None)
    from sane.operations.files import load_inventory

    return Connection(parsed, load_inventory(str(inventory)))


class Connection:
    """Run commands and move files on one target. Calls may run at the same time; on a pane they take turns.

    An argument of a wrong type is a TypeError, raised before anything is sent.
    What still runs when it is closed is stopped on its target, and raises UsageError to whoever awaits it.
    """

    def __init__(self, target: Target, inventory: Inventory | None) -> None:
        self._target = target
        self._inventory = inventory
        self._context = open_context(inventory)
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def target(self) -> str:
        """Return the target as it was written."""
        return str(self._target)

    async def __aenter__(self) -> Connection:
        """Open the target. Raises NotFoundError for a pane or session that does not exist, TransportError."""
        if self._is_open:
            raise UsageError(f"{self.target} is connected already", hint="Enter each connection once at a time.")
        self._is_open, self._loop = True, asyncio.get_running_loop()
        self._context = open_context(self._inventory)  # one that was closed opens nothing again
        try:
            async with self._context.call() as call:
                opened = await call.transport(self._target)
                if self._target.host is not None and self._target.pane is None:
                    await cast("SshTransport", opened).connect()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened. Raises UsageError in another event loop than it was opened in."""
        self._must_be_its_loop()
        await self._close()

    async def run(
        self,
        command: str,
        *,
        timeout_s: float | None = 30.0,
        cwd: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        on_output: Callable[[bytes], object] | None = None,
    ) -> CommandResult:
        """Run a command with the target's own shell, in the folder `cwd`; `on_output` gets each chunk as it comes.

        Text for `stdin` becomes UTF-8.
        A non-zero exit and a timeout (exit code 124) are results. Cancelling stops the command.
        Raises TransportError; RemoteError for a folder that can't be entered; for a pane that can't take a command now
        PaneError; UsageError for what no command can be, and for a time that is not more than 0.
        """
        _must_be("command", command, str, "text")
        _must_be("timeout_s", timeout_s, (Real, type(None)), "a number of seconds or None")
        _must_be("env", env, (Mapping, type(None)), "a mapping of text to text")
        for name, value in (env or {}).items():
            _must_be("a name in env", name, str, "text")
            _must_be(f"env[{name!r}]", value, str, "text")
        if on_output is not None and not callable(on_output):
            raise TypeError(f"on_output must be callable, not {type(on_output).__name__}")
        folder = None if cwd is None else _path("cwd", cwd)
        data = None if stdin is None else _bytes("stdin", stdin)
        described = Command(command, cwd=folder, env=dict(env or {}), stdin=data, timeout_s=timeout_s)
        return await self._do(lambda transport: transport.run(described, on_output))

    async def put(self, path: str | PathLike[str], content: bytes | str, *, mode: int | None = None) -> None:
        """Replace a file atomically; text becomes UTF-8. `mode` is a number such as 0o644; None keeps what is there.

        Raises RemoteError when the target refuses, TransportError; UsageError for a path or a mode that is none, and
        for text with half of a surrogate pair.
        """
        _must_be("mode", mode, (Integral, type(None)), "a number such as 0o644, or None")
        if mode is not None and not 0 <= mode <= 0o7777:
            raise UsageError(f"mode must be 0o0 to 0o7777, got {mode:#o}", hint="Write it as 0o644.")
        name, data = _path("path", path), _bytes("content", content)
        await self._do(lambda transport: transport.put(name, data, mode=mode))

    async def get(self, path: str | PathLike[str], *, limit_bytes: int | None = None) -> bytes:
        """Return a file, which may have 64 MiB; with `limit_bytes` its first bytes, however large it is.

        Raises NotFoundError when absent, RemoteError, TransportError; UsageError for a path or a limit that is none,
        and for a larger file without a limit.
        """
        name = _path("path", path)
        _must_be("limit_bytes", limit_bytes, (Integral, type(None)), "a number of bytes or None")
        if limit_bytes is not None:
            check_limit(limit_bytes)
            return await self._do(lambda transport: transport.get(name, limit_bytes=limit_bytes))
        content = await self._do(lambda transport: transport.get(name, limit_bytes=GET_LIMIT_BYTES + 1))
        if len(content) > GET_LIMIT_BYTES:
            hint = "Give limit_bytes: at least its size for all of it, less for its first bytes."
            raise UsageError(f"{name} is larger than 64 MiB ({GET_LIMIT_BYTES} bytes)", hint=hint)
        return content

    async def _do(self, work: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
        if not self._is_open:
            raise UsageError(f"{self.target} is not connected", hint="Use `async with sane.connect(…) as host:`.")
        self._must_be_its_loop()
        task = asyncio.ensure_future(self._call(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._is_open or (caller is not None and caller.cancelling()):
                raise
            raise UsageError(
                f"{self.target} was closed while this ran; it was stopped",
                hint="Await what runs before the end of `async with`.",
            ) from None

    def _must_be_its_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"{self.target} was connected in another event loop",
                hint="Call it there: asyncio.run_coroutine_threadsafe(host.run(…), loop).",
            )

    async def _call(self, work: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
        async with self._context.call() as call:
            return await work(await call.transport(self._target))

    async def _close(self) -> None:
        self._is_open = False
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._context.close()


def _must_be(name: str, value: object, kinds: type | tuple[type, ...], meant: str) -> None:
    """Raise TypeError for an argument of another type, before anything is sent: deep in a transport it is too late."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {meant}, not {type(value).__name__}")


def _path(name: str, value: object) -> str:
    text: object = os.fspath(cast("PathLike[Any]", value)) if isinstance(value, PathLike) else value
    _must_be(name, text, str, "text or a path")
    return path_text(cast("str", text))


def _bytes(name: str, value: object) -> bytes:
    _must_be(name, value, (str, bytes, bytearray, memoryview), "bytes or text")
    if not isinstance(value, str):
        return bytes(cast("bytes", value))
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{name} holds half of a surrogate pair, which is no UTF-8") from None

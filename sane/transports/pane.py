"""Run commands in a tmux pane, on this machine or through a remote machine's tmux, exactly and in sight of a
watcher."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from sane.core.command import Command, CommandResult, check_limit, path_text
from sane.core.pane.prompt_line import SHELLS
from sane.core.paths import runtime_dir
from sane.errors import LostError, TransportError
from sane.transports.base import Machine, OnOutput
from sane.transports.control_mode import ControlClient
from sane.transports.exchange import Exchange, Exchanged
from sane.transports.lock import QueueLock
from sane.transports.pane_recovery import answering_shell, recover
from sane.transports.pane_state import Screen, Verdict, judge, look, wait_idle
from sane.transports.tmux import PaneInfo, TmuxServer

LOCK_WAIT_S = 60.0


async def open_pane(machine: Machine, pane_spec: str, options: Sequence[str] = ()) -> PaneTransport:
    """Return the transport to a pane of a machine's tmux; `options` are tmux's own `-L NAME` or `-S PATH`.

    Raises NotFoundError or UsageError when no such pane exists.
    """
    server = TmuxServer(machine, options)
    return PaneTransport(server, await server.find_pane(pane_spec), pane_spec)


class PaneTransport:
    """Type commands into one pane, one at a time, and read what they print from its raw output."""

    def __init__(self, server: TmuxServer, pane: PaneInfo, name: str) -> None:
        self.server = server
        self.pane = pane
        self.name = name
        self._client: ControlClient | None = None
        self.local = server.machine.name == "local"

    @property
    def pane_id(self) -> str:
        """Return tmux's id of the pane."""
        return self.pane.pane_id

    @property
    def shell(self) -> str:
        """Return the name of the shell in the foreground when the pane was opened; "" where it can't be known (ssh)."""
        return self.pane.program.lstrip("-") if self.pane.program.lstrip("-") in SHELLS else ""

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        """Run a command in the pane's shell and return its result; `cd` and variables stay.

        Waits its turn where others use the pane too. Raises PaneError when the pane can't take a command (then
        nothing was typed),
        NotFoundError when it is gone, LostError when the way to it is lost, RemoteError when `cwd` can't be entered.
        """
        if command.cwd is not None:
            from sane.transports.pane_files import entered

            command = await entered(self, command, command.cwd)
        return (await self.exchange(command, on_output)).result

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Replace a file atomically, through the pane: it lands where the pane's shell is.

        Raises RemoteError when the target refuses.
        """
        from sane.transports.pane_files import put_through

        await put_through(self, path_text(path), content, mode)

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Return a file's first `limit_bytes`, through the pane. Raises RemoteError, or NotFoundError when absent."""
        from sane.transports.pane_files import get_through

        check_limit(limit_bytes)
        return await get_through(self, path_text(path), limit_bytes)

    async def exchange(self, command: Command, on_output: OnOutput | None = None) -> Exchanged:
        """Run a command as `run` does, and return what its marks carried too."""
        lock = self._lock()
        await lock.acquire(max(LOCK_WAIT_S, command.timeout_s or 0.0), f"pane {self.name}")
        try:
            exchange = Exchange(self, await self._follow(), command, on_output)
            try:
                return Exchanged(await exchange.run(), exchange.reader)
            except LostError:
                if exchange.feeding:
                    await self._bring_prompt_back()
                raise
        finally:
            self._unfollow()
            lock.release()

    async def look(self) -> Screen:
        """Return what tmux knows of the pane now. Raises NotFoundError when it is gone."""
        return await look(await self.client(), self.pane.pane_id)

    async def wait_idle(self, wait_s: float) -> Screen:
        """Wait until a shell waits in the pane with nothing typed. Raises PaneError saying why not, NotFoundError.

        Where the prompt is unusual, keys that change nothing are sent to find out: in turn, as all is typed.
        """
        client, lock = await self.client(), self._lock()
        deadline = time.monotonic() + wait_s
        await lock.acquire(wait_s, f"pane {self.name}")
        try:
            left_s = max(0.0, deadline - time.monotonic())
            screen, _ = await wait_idle(client, self.pane.pane_id, self.name, local=self.local, wait_s=left_s)
            return screen
        finally:
            lock.release()

    def verdict(self, screen: Screen) -> Verdict:
        """Return what a look at the pane means for a command that would be typed."""
        return judge(screen, local=self.local)

    async def probe(self, wait_s: float) -> bool:
        """Return whether the shell in the pane answers, as `ask_shell` does."""
        return bool(await self.ask_shell(wait_s))

    async def ask_shell(self, wait_s: float) -> str:
        """Return the name of the shell that answers in the pane, "" where none does; what is typed is erased again.

        Raises PaneError when the pane is not at a prompt: then nothing was typed.
        """
        await self.wait_idle(wait_s)
        lock = self._lock()
        await lock.acquire(wait_s + LOCK_WAIT_S, f"pane {self.name}")
        try:
            exchange = Exchange(self, await self._follow(), Command("true"), None)
            return await answering_shell(exchange, wait_s)
        finally:
            self._unfollow()
            lock.release()

    async def _bring_prompt_back(self) -> None:
        """End the receiver that a lost client left waiting in the pane, through a new one, where there is a way."""
        with contextlib.suppress(TransportError):
            await self.close()
            await recover(Exchange(self, await self._follow(), Command("true"), None))

    async def _follow(self) -> ControlClient:
        client = await self.client()
        client.following = True
        return client

    def _unfollow(self) -> None:
        if self._client is not None:
            self._client.following = False
            self._client.take_output()

    async def client(self) -> ControlClient:
        """Return the control client, attached now where it is not yet."""
        if self._client is None or self._client.closed:
            self._client = await ControlClient.attach(self.server, self.pane.session_id, self.pane.pane_id)
        return self._client

    def _lock(self) -> QueueLock:
        environ: Mapping[str, str] = getattr(self.server.machine, "environ", os.environ)
        machine = "".join(c if c.isalnum() else "_" for c in self.server.machine.name)[-100:]
        # By the server's process: callers inside and outside tmux name its socket in different ways.
        name = f"{machine}-{self.pane.server_pid}-{self.pane.pane_id[1:]}"
        root = runtime_dir(environ, os.getuid())
        return QueueLock(root, f"{root}/panes/{name}", self.server.machine.sleep)

    async def close(self) -> None:
        """Detach; safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

"""One SSH connection a host: opened on first use, shared, kept alive, closed together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from sane.core.ssh.settings import HostSettings
from sane.errors import UnavailableError, UnreachableError
from sane.transports.known_hosts import KnownHostsFiles
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_connect import open_connection
from sane.transports.ssh_keys import UserKeyring
from sane.transports.ssh_library import asyncssh

if TYPE_CHECKING:
    from sane.transports.ssh import SshTransport
    from sane.transports.ssh_machine import SshMachine

HANDSHAKES_AT_ONCE = 64
# A handshake takes 2 ms of CPU; one that takes longer is waiting for its host, and waiting needs no place in the queue.
HANDSHAKE_PLACE_S = 0.5
SESSIONS_AT_ONCE = 8  # of the ten that an sshd allows on one connection; one more ends commands, one answers brief ones
ROOM_TIMEOUT_S = 60.0
ATTEMPT_PAUSE_S = 1.0  # between tries, as ssh(1) has it
CLOSE_TIMEOUT_S = 3.0


class _Place:
    """Hold one of the places for handshakes, for a short while at most."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False

    async def __aenter__(self) -> None:
        await self._places.acquire()
        self._held = True
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_PLACE_S, self._give_back)

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()
        self._give_back()

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._places.release()


class SshPool:
    """Hold the connections of one process to its hosts. Belongs to one event loop."""

    def __init__(self, config: SshConfig | None = None, *, handshakes_at_once: int = HANDSHAKES_AT_ONCE) -> None:
        self.config = config or SshConfig()
        self._known = KnownHostsFiles()
        self._keyring = UserKeyring()
        self._places = asyncio.Semaphore(handshakes_at_once)
        self._opening: dict[tuple[HostSettings, bool], asyncio.Task[asyncssh.SSHClientConnection]] = {}
        self._sessions: dict[HostSettings, asyncio.Semaphore] = {}
        self._closed = False

    def transport(self, name: str) -> SshTransport:
        """Return the transport to a host, by inventory name, alias or `[user@]host[:port]`; nothing is opened yet.

        Raises UsageError and ConfigError.
        """
        from sane.transports.ssh import SshTransport

        return SshTransport(self, self.config.resolve(name))

    def machine(self, name: str) -> SshMachine:
        """Return the machine of that name; nothing is opened yet. Raises UsageError and ConfigError."""
        from sane.transports.ssh_machine import SshMachine

        return SshMachine(self, self.config.resolve(name))

    async def connection(self, settings: HostSettings, *, spare: bool = False) -> asyncssh.SSHClientConnection:
        """Return the open connection to a host; all who ask share one attempt, and a lost one is opened again.

        `spare` is a second one, for what ends commands where the sshd has no room for a session more on the first.
        Raises UnreachableError and AuthError with their phase.
        """
        if self._closed:
            raise UnavailableError("the SSH connections have been closed")
        task = self._opening.get((settings, spare))
        if task is None or (task.done() and _is_gone(task)):
            task = asyncio.create_task(self._open(settings), name=f"ssh {settings.name}")
            self._opening[settings, spare] = task
        return await asyncio.shield(task)

    def is_open(self, settings: HostSettings) -> bool:
        """Return whether there is an open connection to a host, as far as can be told from this end."""
        task = self._opening.get((settings, False))
        return task is not None and task.done() and not _is_gone(task)

    @contextlib.asynccontextmanager
    async def session(self, settings: HostSettings) -> AsyncGenerator[asyncssh.SSHClientConnection]:
        """Give the connection to a host with room for one more session on it.

        Raises UnavailableError when there is no room for a minute, and what `connection` raises.
        """
        places = self._sessions.setdefault(settings, asyncio.Semaphore(SESSIONS_AT_ONCE))
        try:
            async with asyncio.timeout(ROOM_TIMEOUT_S):
                await places.acquire()
        except TimeoutError:
            raise UnavailableError(
                f"{settings.name} is busy with {SESSIONS_AT_ONCE} commands of ours",
                hint="Its sshd allows ten at once on one connection; wait for one of them to end.",
            ) from None
        try:
            yield await self.connection(settings)
        finally:
            places.release()

    async def _open(self, settings: HostSettings) -> asyncssh.SSHClientConnection:
        """Return a new connection, in up to as many tries, a second apart, as ConnectionAttempts says.

        A host that has said who it is counts as reached: what goes wrong then is not tried again.
        """
        for _ in range(settings.connect_attempts - 1):
            try:
                return await self._open_once(settings)
            except UnreachableError as error:
                if error.phase == "login":
                    raise
                await asyncio.sleep(ATTEMPT_PAUSE_S)
        return await self._open_once(settings)

    async def _open_once(self, settings: HostSettings) -> asyncssh.SSHClientConnection:
        tunnel = await self.connection(settings.jump) if settings.jump is not None else None
        async with _Place(self._places):
            return await open_connection(settings, self._keyring, self._known, tunnel)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Close every connection; those that do not answer in time are dropped. Safe to call twice."""
        self._closed = True
        opening, self._opening = self._opening, {}
        for task in opening.values():
            task.cancel()
        await asyncio.gather(*opening.values(), return_exceptions=True)
        # Those that others go through close last: what a host behind them is told goes through them.
        by_depth = sorted(opening.items(), key=lambda item: _count_jumps(item[0][0]), reverse=True)
        connections = [task.result() for _, task in by_depth if not _is_gone(task)]
        for connection in connections:
            connection.close()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(connection.wait_closed() for connection in connections))
        except TimeoutError:
            for connection in connections:
                connection.abort()
        await self._keyring.close()

    async def __aenter__(self) -> SshPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _is_gone(task: asyncio.Task[asyncssh.SSHClientConnection]) -> bool:
    return task.cancelled() or task.exception() is not None or task.result().is_closed()


def _count_jumps(settings: HostSettings) -> int:
    return 0 if settings.jump is None else 1 + _count_jumps(settings.jump)

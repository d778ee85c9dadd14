"""A remote host as a machine: programs by argument list, and a channel to a lasting one such as `tmux -C`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from typing import Any, cast

from sane.core.shell_text import quote_argv
from sane.core.ssh.settings import HostSettings
from sane.errors import LostError, UnreachableError
from sane.transports.base import Completed
from sane.transports.ssh_library import asyncssh
from sane.transports.ssh_pool import SshPool
from sane.transports.ssh_session import RemoteCommand, when_there_is_room

OUTPUT_LIMIT_BYTES = 64 << 20
READ_PAUSE_BYTES = 4 << 20  # unread output above this stops the host from sending more
WRITE_TIMEOUT_S = 30.0
# A tmux client outlives its connection where output is owed to it, and its server then can't be ended (tmux 3.3a). So
# the host looks every 2 s whether the process of sshd that started it is still there. Not at once: one that is killed
# in its start takes its server down (see `BlockingChannel`).
_LASTING = """\
if kill -0 $PPID; then
    (while sleep 2; kill -0 $PPID && kill -0 $$; do :; done; kill $$) </dev/null >/dev/null 2>&1 &
fi
exec "$@\""""


class SshMachine:
    """Start programs on one host, each argument quoted; the connection is the pool's."""

    shares_clients = True

    def __init__(self, pool: SshPool, settings: HostSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._channels: set[SshChannel] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Return the host's name."""
        return self._settings.name

    async def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises TransportError when it can't be run, TimeoutError when it outlasts."""
        async with self._pool.session(self._settings) as connection:
            command = RemoteCommand(
                connection,
                quote_argv(argv),
                self.name,
                stdin=stdin,
                limit_bytes=OUTPUT_LIMIT_BYTES,
                spare=functools.partial(self._pool.connection, self._settings, spare=True),
            )
            finished = await command.run(timeout_s)
        if finished.timed_out:
            raise TimeoutError(f"{argv[0]} on {self.name} took longer than {timeout_s:g} s")
        if finished.exit_code is None:
            raise LostError(f"{self.name} did not say how {argv[0]} ended", phase="command", host=self.name)
        return Completed(finished.exit_code, finished.stdout, finished.stderr)

    async def spawn(self, argv: Sequence[str]) -> SshChannel:
        """Start a program and return the channel to it (stdin and stdout; stderr is dropped)."""
        holding = contextlib.AsyncExitStack()
        connection = await holding.enter_async_context(self._pool.session(self._settings))
        session = _ChannelSession()
        channel = SshChannel(self.name, session, holding)
        holding.callback(self._channels.discard, channel)
        self._channels.add(channel)
        script = f"exec {quote_argv(['sh', '-c', _LASTING, 'sh', *argv])} 2>/dev/null"
        opening = asyncio.create_task(
            when_there_is_room(
                connection, lambda: cast("Any", connection).create_session(lambda: session, script, encoding=None)
            )
        )
        try:
            await asyncio.shield(opening)
        except (OSError, asyncssh.Error) as error:
            await holding.aclose()
            raise UnreachableError(
                f"{argv[0]} can't be started on {self.name}: {error}", phase="command", host=self.name
            ) from error
        except BaseException:
            ending = asyncio.create_task(_close_opened(opening, channel))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise
        return channel

    async def sleep(self, seconds: float) -> None:
        """Wait, while everything else goes on."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """End the programs that still run on channels; the connection is the pool's."""
        for channel in list(self._channels):
            await channel.close()
        self._channels.clear()


class _ChannelSession(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.channel: Any = None
        self.unread = bytearray()
        self.ended = False
        self.news = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is None:
            self.unread += data
            if len(self.unread) > READ_PAUSE_BYTES:
                self.channel.pause_reading()
            self.news.set()

    def eof_received(self) -> bool:
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        self.ended = True
        self.news.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def take(self) -> bytes:
        data = bytes(self.unread)
        self.unread.clear()
        if not self.ended:
            self.news.clear()
            self.channel.resume_reading()
        return data


class SshChannel:
    """Talk to one program on a host."""

    def __init__(self, host: str, session: _ChannelSession, holding: contextlib.AsyncExitStack) -> None:
        self._host = host
        self._session = session
        self._holding = holding
        self._has_spoken = False

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input. Raises LostError when it has gone, or takes nothing for 30 s."""
        session = self._session
        try:
            if session.ended:
                raise BrokenPipeError("it has ended")
            session.channel.write(data)
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await session.writable.wait()
        except (OSError, asyncssh.Error) as error:
            raise LostError(
                f"a program on {self._host} takes no more input: {error or 'no answer'}",
                phase="command",
                host=self._host,
            ) from error

    async def read(self, timeout_s: float) -> bytes:
        """Return what it wrote next, b"" at its end. Raises TimeoutError after `timeout_s`."""
        session = self._session
        if not session.unread and not session.ended:
            async with asyncio.timeout(timeout_s):
                await session.news.wait()
        data = session.take()
        self._has_spoken |= bool(data)
        return data

    async def close(self) -> None:
        """End the program and release its place on the connection; safe to call twice.

        One that has said nothing yet is not killed: the end of its input ends it.
        """
        with contextlib.suppress(OSError, asyncssh.Error):
            if self._has_spoken and not self._session.ended:
                self._session.channel.send_signal("TERM")
            if self._session.channel is not None:
                self._session.channel.close()
        await self._holding.aclose()


async def _close_opened(opening: asyncio.Task[None], channel: SshChannel) -> None:
    """Close a channel once it is open: one that nobody waits for would keep its place at the host for good."""
    with contextlib.suppress(OSError, asyncssh.Error):
        await opening
    await channel.close()

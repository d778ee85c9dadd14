"""Run one command on an open SSH connection, and end it for certain when its time is over.

A signal sent over the channel reaches the process group only as long as its leader lives; old servers ignore it, and so
does OpenSSH 9.2 where root logs in. So the command first says its process group on stderr, in a line with a random word
that is taken out again, and is ended by a second command on the same connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from sane.core.host.file_scripts import WHY_NOT_ENTERED
from sane.core.shell_text import quote_path
from sane.errors import LostError, RemoteError, TransportError, UnavailableError, UnreachableError
from sane.transports.ssh_library import asyncssh
from sane.transports.ssh_output import CommandSession

KILL_GRACE_S = 1.0  # between TERM and KILL
KILL_TIMEOUT_S = 5.0  # for the host to confirm the end
LINGER_S = 0.1  # how long output may still come once the command has ended and something else holds its pipe
LINGER_ROUNDS = 20
OPEN_AGAIN_S = (0.005, 0.02, 0.05, 0.1, 0.2)
STDIN_BLOCK_BYTES = 1 << 18
WATCH_AFTER_S = 0.25  # a plain command has ended by then, and pays nothing
WATCH_AGAIN_S = 1.0  # where the server had no room for it
WATCH_GRACE_S = 15  # behind the time limit: by then we have ended it ourselves, if anybody does
_ENTER = "cd {path} || exec sh -c '" + WHY_NOT_ENTERED + '; echo {mark} "-" $why >&2; exit 1\' sh {path}; '
# One line, without a backslash, for sh inside the quotes of any login shell. The leader of the group has another parent
# once the process of sshd that started it has gone; it has no entry once it has ended, and then what it left is to
# stay. The second field is a name in brackets; with a blank in it the others can't be told.
_WATCH = (
    "sh -c '(seconds=0; parent=; while read -r pid name state now rest </proc/{group}/stat; do "
    'case $name in *")") ;; *) exit ;; esac; [ ${{parent:=$now}} = $now ] && [ $seconds -lt {limit_s} ] || '
    "{{ kill -s TERM -- -{group}; sleep 1; kill -s KILL -- -{group}; exit; }}; "
    "sleep 2; seconds=$((seconds + 2)); done) </dev/null >/dev/null 2>&1 &'"
)


OpenSpare = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


class Finished(NamedTuple):
    """Hold what a command left; `exit_code` None: the host did not say, 128 + N: ended by signal N."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool


async def when_there_is_room(connection: asyncssh.SSHClientConnection, start: Callable[[], Awaitable[object]]) -> None:
    """Start a session, again after a moment where the server has no room: it clears ended ones away a little later."""
    for pause_s in OPEN_AGAIN_S:
        try:
            await _start(connection, start)
        except asyncssh.ChannelOpenError:
            if connection.is_closed():
                raise
        else:
            return
        await asyncio.sleep(pause_s)
    await _start(connection, start)


async def _start(connection: asyncssh.SSHClientConnection, start: Callable[[], Awaitable[object]]) -> None:
    try:
        await start()
    except AttributeError as error:
        # asyncssh 2.24 stumbles over its own `None` where the connection goes away just behind the host's yes
        # (channel.py, `create`): 1 of 600 commands whose sshd was killed at random.
        if not connection.is_closed():
            raise
        raise asyncssh.ConnectionLost("it was closed as the command began") from error


class RemoteCommand:
    """Run one command; `host` is the name for messages, `phase` what its failures are called."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        script: str,
        host: str,
        *,
        phase: str = "command",
        stdin: bytes | None = None,
        limit_bytes: int = 64 << 20,
        on_output: Callable[[bytes], object] | None = None,
        session: CommandSession | None = None,
        watch_s: float | None = None,
        cwd: str | None = None,
        before: str = "",
        spare: OpenSpare | None = None,
    ) -> None:
        """Prepare one; with `watch_s` the host ends it after that time, and soon after this process is killed.

        `spare` gives another connection to the host, which is asked for where this one has no room for what ends it.
        """
        self._session = session or CommandSession(limit_bytes, on_output)
        self._connection = connection
        self._spare = spare
        mark, self._cwd = self._session.mark, cwd
        enter = _ENTER.format(path=quote_path(cwd), mark=mark) if cwd is not None else ""
        lead = f"{enter}sh -c 'echo {mark} $PPID >&2'; {before}"
        self._script = lead + script
        self._session.lead = lead.encode("utf-8", "surrogateescape")
        self._watch_s = watch_s
        self._watching: asyncio.Task[None] | None = None
        self._stdin = stdin or b""
        self._host = host
        self._phase = phase

    async def run(self, timeout_s: float | None) -> Finished:
        """Return what the command left once it has ended, or was ended after `timeout_s`.

        A cancellation ends it too. Raises UnreachableError when it was never started, LostError when what became of it
        is unknown, RemoteError when its folder can't be entered.
        """
        timed_out = False
        opening = asyncio.create_task(self._open())
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(opening)
                await self._see_through()
        except TimeoutError:
            timed_out = True
            await self._end(opening)
        except BaseException as error:
            await self._end_for(error, opening)
            raise
        session = self._session
        if session.complaint is not None:  # it ends the command as a cancellation does
            await self._end_for(session.complaint, opening)
            raise session.complaint
        if session.failure is not None:
            raise self._lost(session.failure) from session.failure
        if session.exit_code is None and not timed_out and self._connection.is_closed():
            raise self._lost(ConnectionError("it was closed"))
        if session.refused:
            raise RemoteError(f"{self._cwd} can't be entered on {self._host}: {session.refused}")
        return Finished(session.exit_code, session.output(0), session.output(1), timed_out, session.truncated)

    async def _open(self) -> None:
        try:
            await when_there_is_room(
                self._connection,
                lambda: cast("Any", self._connection).create_session(
                    lambda: self._session, self._script.encode("utf-8", "surrogateescape"), encoding=None
                ),
            )
        except asyncssh.ChannelOpenError as error:
            if self._connection.is_closed():
                raise self._never_started() from error
            raise UnavailableError(
                f"{self._host} opened no further session: {error.reason}",
                hint="Its sshd allows a few at once on one connection (MaxSessions).",
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise (self._never_started() if self._session.channel is None else self._lost(error)) from error

    async def _see_through(self) -> None:
        session = self._session
        if self._watch_s is not None:
            asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin_watch, self._watch_s)
        await self._feed()
        await session.exited.wait()
        if session.complaint is not None:
            return
        # The end of the streams comes with the exit, unless something left behind holds them.
        for _ in range(LINGER_ROUNDS):
            seen = session.activity
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await session.closed.wait()
                return
            await self._barrier()
            if session.activity == seen:
                break
        session.channel.close()

    def _begin_watch(self, watch_s: float) -> None:
        if not self._session.exited.is_set():  # a task that nobody cancels: a session cut short keeps its place
            self._watching = asyncio.create_task(self._watch(watch_s))

    async def _watch(self, watch_s: float) -> None:
        limit_s, spare = int(min(watch_s, 1e9)) + WATCH_GRACE_S, self._spare
        while not self._session.exited.is_set() and not self._connection.is_closed():
            if self._session.group is not None:
                if await self._run_beside(_WATCH.format(group=self._session.group, limit_s=limit_s), spare):
                    return
                spare = None  # a login that is refused is not tried every second
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_AGAIN_S):
                    await self._session.exited.wait()

    async def _barrier(self) -> None:
        """Wait for one more answer: what the host sent before it has come by then, however slow the way."""
        await self._run_beside(":")

    async def _feed(self) -> None:
        session, rest = self._session, memoryview(self._stdin)
        with contextlib.suppress(OSError, asyncssh.Error):  # it closed its input, which is its right
            while rest and not session.closed.is_set() and not session.exited.is_set():
                session.channel.write(bytes(rest[:STDIN_BLOCK_BYTES]))
                rest = rest[STDIN_BLOCK_BYTES:]
                await self._until_writable()
            session.channel.write_eof()

    async def _until_writable(self) -> None:
        session = self._session
        if session.writable.is_set():
            return
        waits = [asyncio.ensure_future(event.wait()) for event in (session.writable, session.exited)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _end_for(self, error: BaseException, opening: asyncio.Task[None]) -> None:
        """End the command because of `error`, which stays what it is where the host does not confirm the end."""
        try:
            await asyncio.shield(self._end(opening))
        except (TransportError, UnavailableError) as unknown:
            error.add_note(unknown.message)

    async def _end(self, opening: asyncio.Task[None]) -> None:
        """End the command and what it started. Raises LostError where the host does not confirm it."""
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await opening
                if not self._session.closed.is_set():
                    await self._terminate()
        except TimeoutError:
            if not self._session.exited.is_set():
                raise LostError(
                    f"{self._host} did not confirm the end of a command whose time was over",
                    phase=self._phase,
                    host=self._host,
                    hint="Whether it still runs there is unknown: look before you run it again.",
                ) from None
        except (TransportError, UnavailableError):
            if self._session.channel is not None:
                raise
        finally:
            if self._session.channel is not None:
                self._session.channel.close()

    async def _terminate(self) -> None:
        session = self._session
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_GRACE_S):
                await self._signal("TERM")
                await session.closed.wait()
        await self._signal("KILL")
        await session.exited.wait()

    async def _signal(self, name: str) -> None:
        group = self._session.group  # dash knows no `-TERM --`
        if group is not None and await self._run_beside(f"kill -s {name} -- -{group}", self._spare):
            return
        with contextlib.suppress(OSError, asyncssh.Error):  # it has just ended
            self._session.channel.send_signal(name)

    async def _run_beside(self, script: str, spare: OpenSpare | None = None) -> bool:
        """Run a line in a session of its own, on the spare connection where there is no room; return whether it ran.

        It is run to its end even if nobody waits: an opening that is cut short keeps its place at the host for good.
        """
        return await asyncio.shield(self._run_to_the_end(script, spare))

    async def _run_to_the_end(self, script: str, spare: OpenSpare | None) -> bool:
        connection = self._connection
        with contextlib.suppress(OSError, asyncssh.Error, TransportError, UnavailableError):
            try:
                await when_there_is_room(connection, lambda: connection.run(script, stdin=asyncssh.DEVNULL))
            except asyncssh.ChannelOpenError:
                if spare is None or connection.is_closed():
                    raise
                other = await spare()
                await when_there_is_room(other, lambda: other.run(script, stdin=asyncssh.DEVNULL))
            return True
        return False

    def _never_started(self) -> UnreachableError:
        return UnreachableError(
            f"the connection to {self._host} went away before the command was started",
            phase="connect",
            host=self._host,
            hint="Nothing ran there; try again.",
        )

    def _lost(self, error: BaseException) -> BaseException:
        if not isinstance(error, OSError | asyncssh.Error):
            return error
        return LostError(
            f"the connection to {self._host} went away inside a step: {error}",
            phase=self._phase,
            host=self._host,
            hint="What happened there is unknown: look before you run it again.",
        )

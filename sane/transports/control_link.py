"""One attached control-mode client of a tmux server, shared by all panes of a session: each client receives what every
pane of its session prints."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sane.core.pane.control_stream import ControlLines
from sane.errors import LostError, TransportError, UnreachableError
from sane.transports.base import Channel, Machine
from sane.transports.tmux import TMUX_TIMEOUT_S, TmuxServer, text_of

if TYPE_CHECKING:
    import asyncio

    from sane.transports.control_mode import ControlClient

# Notifications behind which the pane may be gone.
GONE_HINTS = (b"%window-close", b"%unlinked-window-close", b"%layout-change", b"%exit", b"%sessions-changed")
OUTPUT = b"%output "
MOVED = b"%session-changed "  # of the client itself: it tells the first session too
DRAIN_S = 1.0


class Reply(tuple[bool, list[str]]):
    """Hold one command's answer: whether it worked, and its lines."""

    __slots__ = ()

    @property
    def ok(self) -> bool:
        """Return whether tmux carried the command out."""
        return self[0]

    @property
    def lines(self) -> list[str]:
        """Return what the command printed."""
        return self[1]


class ControlLink:
    """Hold one attached client process; its clients take turns in reading for all of them."""

    def __init__(self, server: TmuxServer, session_id: str) -> None:
        self.server = server
        self.session_id = session_id
        self.clients: dict[bytes, list[ControlClient]] = {}
        self.attached = False
        self.closed = False
        self._channel: Channel | None = None
        self._opening = self._reading = self._ending = False
        self._waiting: list[asyncio.Future[None]] = []
        self._lines = ControlLines()
        self._block: list[str] | None = None
        self._block_end: tuple[bytes, bytes] = (b"", b"")
        self._wanted: list[list[Reply] | None] = []  # where each answer still to come goes, in order

    async def open(self) -> None:
        """Attach, unless it is attached.

        `ignore-size` keeps the windows' size and -E the session's environment as they are; -N starts no server where
        the last one has just ended. Older tmux refuses the flags, and does not count a control client's size anyway.
        """
        while self._opening:  # by another task
            await self._wait(time.monotonic() + TMUX_TIMEOUT_S)
        if self.attached:
            return
        self._opening = True
        try:
            if await self._attach(("-N",), ("-f", "ignore-size")):
                return
            if await self.server.list_panes() and await self._attach((), ()):  # an older tmux refused the flags
                return
        except BaseException:
            self.closed = True
            await self._end()
            raise
        finally:
            self._opening = False
            self._wake()
        name = self.server.machine.name
        raise LostError(f"can't attach to session {self.session_id} of tmux", phase="connect", host=name)

    async def _attach(self, global_flags: Sequence[str], flags: Sequence[str]) -> bool:
        self.closed = False
        # By the session's id: attaching by a pane would change the current window.
        words = self.server.argv(*global_flags, "-C", "attach-session", "-E", "-t", self.session_id, *flags)
        async with self.server.attach_lock(alone=True):
            self._channel = await self.server.machine.spawn(words)
            try:
                deadline = time.monotonic() + TMUX_TIMEOUT_S
                while not self.attached and not self.closed:
                    await self.pump(deadline)
            finally:
                if not self.attached:
                    channel, self._channel = self._channel, None
                    await _close(channel)
        return self.attached

    async def send(self, commands: Sequence[str], replies: list[Reply] | None) -> None:
        """Run tmux commands; their answers are appended to `replies` as they come, or dropped."""
        if self._channel is None:
            raise LostError("the tmux client is closed", phase="command")
        self._wanted += [replies] * len(commands)
        await self._channel.write("".join(f"{command}\n" for command in commands).encode("utf-8", "surrogateescape"))

    async def carry_out(self, commands: Sequence[str]) -> None:
        """Run tmux commands of which tmux tells its clients (of a buffer: since 3.4), while none comes.

        Raises LostError only where they can't be sent: what was sent must not be sent again.
        """
        replies: list[Reply] = []
        async with self.server.attach_lock(alone=False):
            await self.send(commands, replies)
            with contextlib.suppress(LostError):  # whoever reads next is told
                await self.wait_answered(replies, len(commands))

    async def wait_answered(self, replies: list[Reply], count: int) -> None:
        """Wait for so many answers, or the end of the client. Raises UnreachableError after 10 s."""
        deadline = time.monotonic() + TMUX_TIMEOUT_S
        while len(replies) < count and not self.closed:
            if not await self.pump(deadline):
                raise self.silent()

    async def pump(self, deadline: float) -> bool:
        """Read once, or wait while another task reads, for at most until `deadline`; return False at the deadline."""
        if self._reading:
            return await self._wait(deadline)
        if self._channel is None:
            self.closed = True
            return True
        self._reading = True
        try:
            data = await self._channel.read(deadline - time.monotonic())
            if not data:
                self._lose()
            for line in self._lines.feed(data):
                self._take(line)
        except TimeoutError:
            if not self.attached:
                raise self.silent() from None
            return False
        finally:
            self._reading = False
            self._wake()
        return True

    async def _wait(self, deadline: float) -> bool:
        import asyncio  # loaded already: only tasks of an event loop can meet here

        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await future
        except TimeoutError:
            return False
        finally:
            if future in self._waiting:
                self._waiting.remove(future)
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def drain(self) -> None:
        """Take in what a client that takes no commands any more still says; it counts as closed then."""
        until = time.monotonic() + DRAIN_S
        while not self.closed and await self.pump(until):
            pass
        self._lose()

    def silent(self) -> TransportError:
        """Return the error for a server that does not answer."""
        name = self.server.machine.name
        return UnreachableError(f"the tmux server of {name} does not answer", phase="command", host=name)

    def _lose(self) -> None:
        self.closed = True
        self._hint()

    def _hint(self) -> None:
        for clients in self.clients.values():
            for client in clients:
                client.notice()

    def _take(self, line: bytes) -> None:
        if self._block is not None:
            if line in self._block_end:
                self._end_block(ok=line == self._block_end[0])
            else:
                self._block.append(text_of(line))
        elif line.startswith(OUTPUT):
            pane, _, output = line[len(OUTPUT) :].partition(b" ")
            for client in self.clients.get(pane, ()):
                client.take(output)
        elif line.startswith(b"%begin "):
            self._block, rest = [], line[len(b"%begin ") :]
            self._block_end = (b"%end " + rest, b"%error " + rest)
        elif line.startswith(GONE_HINTS):
            self._hint()
            self.closed |= line.startswith(b"%exit")
        elif line.startswith(MOVED) and line.split(b" ")[1] != self.session_id.encode():
            self._lose()  # to the session of another one's panes: `detach-on-destroy off`, `switch-client`

    def _end_block(self, *, ok: bool) -> None:
        lines, self._block = self._block or [], None
        if not self.attached:  # the answer to attach-session itself
            self.attached, self.closed = ok, not ok
        elif self._wanted:
            replies = self._wanted.pop(0)
            if replies is not None:
                replies.append(Reply((ok, lines)))

    def join(self, client: ControlClient) -> None:
        """Pass on to a client what its pane prints."""
        self.clients.setdefault(client.pane, []).append(client)

    async def leave(self, client: ControlClient) -> None:
        """Forget a client; detach with the last one."""
        clients = self.clients.get(client.pane, [])
        if client in clients:
            clients.remove(client)
        if not clients:
            self.clients.pop(client.pane, None)
        if not self.clients:
            self.closed = True
            await self._end()

    async def ended(self) -> None:
        """Wait until the client of a closed link has ended.

        tmux 3.3a crashes where it tells of one that was detached while another one tells who it is.
        """
        while self._ending:  # by another task
            await self._wait(time.monotonic() + TMUX_TIMEOUT_S)
        await self._end()

    async def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._ending = True
        lock = self.server.attach_lock(alone=False)
        try:
            await lock.acquire()
        finally:  # also where this is cancelled
            try:
                await _close(channel)
            finally:
                lock.release()
                self._ending = False
                self._wake()


async def _close(channel: Channel) -> None:
    with contextlib.suppress(TransportError):
        await channel.close()


_links: weakref.WeakKeyDictionary[Machine, dict[tuple[object, ...], ControlLink]] = weakref.WeakKeyDictionary()


def link_to(server: TmuxServer, session_id: str) -> ControlLink:
    """Return the link that the panes of a session share, or a new one on a machine whose callers share none."""
    if not getattr(server.machine, "shares_clients", False):
        return ControlLink(server, session_id)
    links = _links.setdefault(server.machine, {})
    key = (server.options, session_id)
    if key not in links or links[key].closed:
        links[key] = ControlLink(server, session_id)
    return links[key]

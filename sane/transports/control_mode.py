"""Control mode of a tmux server: a pane's output as raw bytes, and commands without starting a process for each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence

from sane.errors import LostError, NotFoundError
from sane.transports.control_link import ControlLink, Reply, link_to
from sane.transports.tmux import TmuxServer

TRIES = 3  # to attach anew, where sessions come and go meanwhile


class ControlClient:
    """Follow one pane over a link; over another one where tmux ends that, or the pane moves to another session."""

    def __init__(self, link: ControlLink, pane_id: str) -> None:
        self._link = link
        self._left = self._gone = False
        self._also_in = ""  # a session that has the pane too, beside the link's
        self._output: list[bytes] = []
        self.pane = pane_id.encode()
        self.output_count = self.output_bytes = 0
        self.following = False  # only then is output kept: nobody would take it
        self.maybe_gone = False
        self.gaps = 0  # how often it was attached anew: what the pane printed meanwhile was not seen

    @classmethod
    async def attach(cls, server: TmuxServer, session_id: str, pane_id: str) -> ControlClient:
        """Return the client of a pane, attached to its session.

        Raises LostError when it can't be attached, NotFoundError when the pane has gone, UnreachableError when the
        server does not answer.
        """
        link = link_to(server, session_id)
        client = cls(link, pane_id)
        link.join(client)
        try:
            try:
                await link.open()
            except LostError:
                await client._rejoin()  # its pane may be in another session by now
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def closed(self) -> bool:
        """Return whether the client was closed, or its pane went away."""
        return self._left or self._gone

    async def ask(self, *commands: str) -> list[Reply]:
        """Run tmux commands in order and return their answers; where tmux ends our client they are asked again.

        Raises NotFoundError when the pane went away, LostError when no client can stay attached, UnreachableError when
        the server does not answer within 10 s.
        """
        for _ in range(TRIES):
            replies: list[Reply] = []
            await self._send(commands, replies)
            await self._link.wait_answered(replies, len(commands))
            if len(replies) == len(commands):
                return replies
        raise LostError("tmux ends each client that is attached to it", phase="command")

    async def send(self, *commands: str) -> None:
        """Run tmux commands without waiting for their answers. Raises as `ask` does."""
        await self._send(commands, None)

    async def paste(self, buffer: str, text: str, *, keep: bool = False) -> None:
        """Write text straight to the pane's terminal; with `keep` tmux has the buffer until another one is written.

        Where tmux ends our client meanwhile, it may be written or not. Raises as `ask` does.
        """
        await self._carry_out(paste_commands(buffer, self.pane.decode(), text, keep=keep))

    async def delete_buffer(self, buffer: str) -> None:
        """Take away a buffer that was kept. Raises as `ask` does."""
        await self._carry_out([f"delete-buffer -b {buffer}"])

    async def _carry_out(self, commands: Sequence[str]) -> None:
        await self._over_link(lambda link: link.carry_out(commands))

    async def _send(self, commands: Sequence[str], replies: list[Reply] | None) -> None:
        await self._over_link(lambda link: link.send(commands, replies))

    async def _over_link(self, send: Callable[[ControlLink], Awaitable[None]]) -> None:
        """Send something over the link; over another one where this one takes it no more."""
        for tries_left in reversed(range(TRIES)):
            if self._link.closed:
                await self._rejoin()
            try:
                await send(self._link)
                break
            except LostError:
                await self._link.drain()
                if not tries_left:
                    raise

    async def follow(self, session_id: str) -> None:
        """Go where the pane is, now that tmux names that session for it: the link's may have it no more."""
        if session_id in (self._link.session_id, self._also_in):
            return
        (reply,) = await self.ask(f"list-panes -s -t '{self._link.session_id}' -F '#{{pane_id}}'")
        if self.pane.decode() in reply.lines:
            self._also_in = session_id
        else:
            await self._rejoin(session_id)

    async def _rejoin(self, session_id: str = "") -> None:
        """Attach to a session that has the pane, at once to the one that tmux named. Raises NotFoundError where none
        has it."""
        session_id = session_id or await self._session_now()
        for tries_left in reversed(range(TRIES)):
            if self._left:
                raise LostError("the tmux client is closed", phase="command")
            try:
                await self._enter(session_id)
                break
            except LostError:
                if not tries_left:
                    raise
            session_id = await self._session_now()

    async def _session_now(self) -> str:
        pane_id = self.pane.decode()
        panes = await self._link.server.list_panes()
        sessions = [pane.session_id for pane in panes if pane.pane_id == pane_id]
        if not sessions:
            self._gone = True
            raise NotFoundError(f"Pane '{pane_id}' went away")
        return self._link.session_id if self._link.session_id in sessions else sessions[0]

    async def _enter(self, session_id: str) -> None:
        was = self._link
        if session_id == was.session_id and not was.closed:  # the pane has come back meanwhile
            return
        if was.closed:
            await was.ended()
        link = link_to(was.server, session_id)
        await link.open()
        if self._left or self._link is not was:  # another task was here meanwhile
            await link.leave(self)
            return
        link.join(self)
        self._link = link
        self.gaps += 1
        self.output_count += 1
        self.notice()
        await was.leave(self)

    def notice(self) -> None:
        """Take note that the pane may be gone, or be elsewhere."""
        self.maybe_gone, self._also_in = True, ""

    def take(self, output: bytes) -> None:
        """Take what the pane printed."""
        self.output_count += 1
        self.output_bytes += len(output)
        if self.following:
            self._output.append(output)

    def take_output(self) -> bytes:
        """Return the pane's output since the last call, octal-escaped as it came."""
        output, self._output = b"".join(self._output), []
        return output

    async def pump(self, deadline: float) -> bool:
        """Wait for anything to come, for at most until `deadline`; return False at the deadline.

        Raises TransportError for a wedged server, and where no client can be attached any more.
        """
        if self._link.closed and not self.closed:
            with contextlib.suppress(NotFoundError):
                await self._rejoin()
            return True
        return await self._link.pump(deadline)

    async def close(self) -> None:
        """Leave the link; detach with the last client."""
        if not self._left:
            self._left = True
            await self._link.leave(self)


# tmux takes a byte 255 for the end of what it reads.
WORD_TABLE = {ord(c): "\\" + c for c in '"\\$'} | {c: f"\\{c:03o}" for c in (*range(1, 32), 127)} | {0xDCFF: "\\377"}

# translate() looks each character up in the table: that took half the time of sending a file.
WORD_SPECIAL = re.compile(f"[{re.escape(''.join(map(chr, WORD_TABLE)))}]")


def tmux_word(text: str) -> str:
    r"""Return text as one word of tmux's command language: double quotes, with `\ooo` for what they would not keep.

    Also for a ~ that is first: tmux reads it as a home, in double quotes too.
    """
    quoted = text.translate(WORD_TABLE)
    return f'"\\176{quoted[1:]}"' if quoted.startswith("~") else f'"{quoted}"'


def paste_commands(buffer: str, pane_id: str, text: str, *, keep: bool = False) -> Sequence[str]:
    """Return the commands that write text straight to a pane's terminal; the buffer goes with it, unless it is kept.

    Not send-keys: copy mode would take the keys, and synchronize-panes would copy them to other panes. paste-buffer
    does neither;
    -r keeps newlines as they are.
    """
    flags = "-r" if keep else "-d -r"
    return (f"set-buffer -b {buffer} -- {tmux_word(text)}", f"paste-buffer {flags} -b {buffer} -t {pane_id}")

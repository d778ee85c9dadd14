"""A control-mode client of a tmux server: pane output as raw bytes, and commands without starting a process for
each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from sane.core.control_stream import ControlLines
from sane.errors import LostError, TransportError, UnreachableError
from sane.transports.base import Channel
from sane.transports.tmux import TMUX_TIMEOUT_S, TmuxServer, text_of

# Notifications behind which the pane may be gone.
GONE_HINTS = (b"%window-close", b"%unlinked-window-close", b"%layout-change", b"%exit", b"%sessions-changed")


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


class ControlClient:
    """Attach to one session and follow one of its panes."""

    def __init__(self, server: TmuxServer, channel: Channel, pane_id: str) -> None:
        self._server = server
        self._channel = channel
        self._prefix = f"%output {pane_id} ".encode()
        self._lines = ControlLines()
        self._block: list[str] | None = None
        self._block_end: tuple[bytes, bytes] = (b"", b"")
        self._replies: list[Reply] = []
        self._wanted: list[bool] = []  # one for each answer still to come, in order
        self._output: list[bytes] = []
        self.output_count = 0
        self.attached = False
        self.closed = False
        self.maybe_gone = False

    @classmethod
    async def attach(cls, server: TmuxServer, session_id: str, pane_id: str) -> ControlClient:
        """Attach to a session by its id: attaching by a pane would change the current window.

        `ignore-size` keeps the windows' size and -E the session's environment as they are. Older tmux refuses the
        flag, and does
        not count a control client's size anyway.
        Raises LostError when it can't be attached, UnreachableError when the server does not answer.
        """
        for flags in (("-f", "ignore-size"), ()):
            words = server.argv("-C", "attach-session", "-E", "-t", session_id, *flags)
            client = cls(server, await server.machine.spawn(words), pane_id)
            deadline = time.monotonic() + TMUX_TIMEOUT_S
            while not client.attached and not client.closed:
                await client.pump(deadline)
            if not client.closed:
                return client
            await client.close()
        raise LostError(f"can't attach to session {session_id} of tmux", phase="connect", host=server.machine.name)

    async def ask(self, *commands: str) -> list[Reply]:
        """Run tmux commands in order and return their answers.

        Raises LostError when the server went away, UnreachableError when it does not answer within 10 s.
        """
        self._replies.clear()
        await self.send(*commands, wanted=True)
        deadline = time.monotonic() + TMUX_TIMEOUT_S
        while len(self._replies) < len(commands):
            if self.closed:
                raise LostError("the tmux server or the session went away", phase="command")
            if not await self.pump(deadline):
                raise self._silent()
        replies, self._replies = self._replies, []
        return replies

    async def send(self, *commands: str, wanted: bool = False) -> None:
        """Run tmux commands without waiting for their answers, which are kept only when `wanted`."""
        self._wanted += [wanted] * len(commands)
        await self._channel.write("".join(f"{command}\n" for command in commands).encode("utf-8", "surrogateescape"))

    def take_output(self) -> bytes:
        """Return the pane's output since the last call, octal-escaped as it came."""
        output, self._output = b"".join(self._output), []
        return output

    async def pump(self, deadline: float) -> bool:
        """Read once, for at most until `deadline`; return False at the deadline. Raises TransportError for a wedged
        server."""
        try:
            data = await self._channel.read(deadline - time.monotonic())
        except TimeoutError:
            if not self.attached:
                raise self._silent() from None
            return False
        if not data:
            self.closed = self.maybe_gone = True
        for line in self._lines.feed(data):
            self._take(line)
        return True

    def _silent(self) -> TransportError:
        name = self._server.machine.name
        return UnreachableError(f"the tmux server of {name} does not answer", phase="command", host=name)

    def _take(self, line: bytes) -> None:
        if self._block is not None:
            if line in self._block_end:
                self._end_block(ok=line == self._block_end[0])
            else:
                self._block.append(text_of(line))
        elif line.startswith(self._prefix):
            self._output.append(line[len(self._prefix) :])
            self.output_count += 1
        elif line.startswith(b"%begin "):
            self._block, rest = [], line[len(b"%begin ") :]
            self._block_end = (b"%end " + rest, b"%error " + rest)
        elif line.startswith(GONE_HINTS):
            self.maybe_gone = True
            self.closed |= line.startswith(b"%exit")

    def _end_block(self, *, ok: bool) -> None:
        lines, self._block = self._block or [], None
        if not self.attached:  # the answer to attach-session itself
            self.attached, self.closed = ok, not ok
        elif self._wanted and self._wanted.pop(0):
            self._replies.append(Reply((ok, lines)))

    async def close(self) -> None:
        """Detach."""
        self.closed = True
        with contextlib.suppress(TransportError):
            await self._channel.close()


WORD_TABLE = {ord(c): "\\" + c for c in '"\\$'} | {c: f"\\{c:03o}" for c in (*range(1, 32), 127)}


def tmux_word(text: str) -> str:
    r"""Return text as one word of tmux's command language: double quotes, with `\ooo` for what they would not keep."""
    return '"' + text.translate(WORD_TABLE) + '"'


def paste_commands(buffer: str, pane_id: str, text: str) -> Sequence[str]:
    """Return the commands that write text straight to a pane's terminal.

    Not send-keys: copy mode would take the keys, and synchronize-panes would copy them to other panes. paste-buffer
    does neither;
    -r keeps newlines as they are.
    """
    return (f"set-buffer -b {buffer} -- {tmux_word(text)}", f"paste-buffer -d -r -b {buffer} -t {pane_id}")

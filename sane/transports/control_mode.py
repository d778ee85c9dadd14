"""Control mode of a tmux server: a pane's output as raw bytes, and commands without starting a process for each."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from sane.errors import LostError
from sane.transports.control_link import ControlLink, Reply, link_to
from sane.transports.tmux import TMUX_TIMEOUT_S, TmuxServer


class ControlClient:
    """Follow one pane over a link."""

    def __init__(self, link: ControlLink, pane_id: str) -> None:
        self._link = link
        self._left = False
        self._output: list[bytes] = []
        self.pane = pane_id.encode()
        self.output_count = self.output_bytes = 0
        self.following = False  # only then is output kept: nobody would take it
        self.maybe_gone = False

    @classmethod
    async def attach(cls, server: TmuxServer, session_id: str, pane_id: str) -> ControlClient:
        """Return the client of a pane, attached to its session.

        Raises LostError when it can't be attached, UnreachableError when the server does not answer.
        """
        link = link_to(server, session_id)
        client = cls(link, pane_id)
        link.join(client)
        try:
            await link.open()
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def closed(self) -> bool:
        """Return whether the client was closed, or its session or server went away."""
        return self._left or self._link.closed

    async def ask(self, *commands: str) -> list[Reply]:
        """Run tmux commands in order and return their answers.

        Raises LostError when the server went away, UnreachableError when it does not answer within 10 s.
        """
        replies: list[Reply] = []
        await self._link.send(commands, replies)
        deadline = time.monotonic() + TMUX_TIMEOUT_S
        while len(replies) < len(commands):
            if self.closed:
                raise LostError("the tmux server or the session went away", phase="command")
            if not await self.pump(deadline):
                raise self._link.silent()
        return replies

    async def send(self, *commands: str) -> None:
        """Run tmux commands without waiting for their answers."""
        await self._link.send(commands, None)

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

        Raises TransportError for a wedged server.
        """
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


def paste_commands(buffer: str, pane_id: str, text: str) -> Sequence[str]:
    """Return the commands that write text straight to a pane's terminal.

    Not send-keys: copy mode would take the keys, and synchronize-panes would copy them to other panes. paste-buffer
    does neither;
    -r keeps newlines as they are.
    """
    return (f"set-buffer -b {buffer} -- {tmux_word(text)}", f"paste-buffer -d -r -b {buffer} -t {pane_id}")

"""End child processes when this one is gone, however it went, `kill -9` included (Linux).

A command must not outlive whoever was to end it at its time. And a tmux client does not end with its reader: where
output is owed to that, the server waits for ever for the client to take it, and `tmux kill-server` for the server;
a signal to the client frees both. No code runs in the child for that: the kernel sends the signal when the last write
end of a pipe closes, whose read end the child has inherited.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal


class Lifeline:
    """Hold a pipe that the kernel closes with this process."""

    def __init__(self) -> None:
        self.child_end, self._ours = os.pipe()

    def bind(self, pid: int) -> None:
        """Have a child killed that has inherited `child_end`, once this process or this object ends.

        Safe to call again: only the first call counts. Not by SIGTERM, at which a tmux client says goodbye to a pipe
        that may be full.
        """
        if self.child_end >= 0:
            self._send(signal.SIGKILL, pid)
            os.close(self.child_end)
            self.child_end = -1

    def bind_group(self, group: int) -> None:
        """Have SIGTERM sent to a whole process group, some of which have inherited `child_end`, until `release`."""
        self._send(signal.SIGTERM, -group)

    def _send(self, number: signal.Signals, owner: int) -> None:
        with contextlib.suppress(OSError):
            if hasattr(fcntl, "F_SETSIG"):
                fcntl.fcntl(self.child_end, fcntl.F_SETOWN, owner)
                fcntl.fcntl(self.child_end, fcntl.F_SETSIG, number)
                fcntl.fcntl(self.child_end, fcntl.F_SETFL, os.O_ASYNC)

    def release(self) -> None:
        """Let go of a group without a signal: what its command left behind is to stay."""
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.child_end, fcntl.F_SETFL, 0)
        self.close()

    def close(self) -> None:
        """Let go; safe to call twice. A child that it was bound to and that still runs is killed."""
        for fd in (self.child_end, self._ours):
            if fd >= 0:
                os.close(fd)
        self.child_end = self._ours = -1

"""Keep tmux clients of several callers from coming and going at one moment: tmux crashes of it, with every session.

A control client that still tells who it is counts as one to be told of others, though it can't be yet: a session that
is made, a client that goes, and since 3.4 a buffer that is set then ends the server (tmux pull request 4980).
Four callers that attached at once took 20 of 20 servers down (3.3a), none of 20 with this lock (12,000 attaches); four
that each ran commands 7 of 10 (3.5a) while buffers were set without it, none of 10 with it (1,200 calls).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping

from sane.core.paths import runtime_dir
from sane.errors import UsageError
from sane.transports.base import Machine
from sane.transports.lock import FIRST_PAUSE_S, LAST_PAUSE_S, make_private_folder, try_lock

WAIT_S = 1.0  # attaching takes 8 ms: whoever holds it for longer is stopped, or the server is


class AttachLock:
    """Hold what the callers of a tmux server share, where they are on this machine: alone to come, together for what
    tmux tells its clients of.

    `folder` is that of the server's socket, which callers with other environments find too; "" for a server elsewhere.
    It is never refused: where it can't be had in 1 s, or no place for it is found, the caller goes on without it.
    """

    def __init__(self, machine: Machine, folder: str, *, alone: bool) -> None:
        self._machine = machine
        self._folder = folder
        self._mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        self._fd = -1

    async def __aenter__(self) -> None:
        """Wait for the lock."""
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        """Let the others go on."""
        self.release()

    async def acquire(self) -> None:
        """Wait until nobody else is in between."""
        try:
            self._fd = self._open()
            pause_s, until = FIRST_PAUSE_S, time.monotonic() + WAIT_S
            while not try_lock(self._fd, self._mode) and time.monotonic() < until:
                await self._machine.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
        except (OSError, UsageError):  # no place for it, or a file system without such locks
            self.release()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the others go on; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        if self._folder:
            fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            if os.fstat(fd).st_uid == os.geteuid():
                return fd
            os.close(fd)  # others could hold us up there
        environ: Mapping[str, str] = getattr(self._machine, "environ", os.environ)
        root = runtime_dir(environ, os.getuid())
        make_private_folder(root, f"{root}/attach")
        name = "".join(c if c.isalnum() else "_" for c in self._machine.name)[-100:]
        return os.open(f"{root}/attach/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

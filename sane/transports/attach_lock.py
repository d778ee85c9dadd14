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
from sane.transports.lock import make_private_folder

WAIT_S = 1.0  # attaching takes 8 ms: whoever holds it for longer is stopped, or the server is
FIRST_PAUSE_S, LAST_PAUSE_S = 0.001, 0.02


class AttachLock:
    """Hold what the callers of a tmux server share, where they are on this machine: alone to come, together for what
    tmux tells its clients of.

    `options` are tmux's own `-L NAME` or `-S PATH`. It is never refused: where it can't be had in 1 s, or no place for
    it is found, the caller goes on without it.
    """

    def __init__(self, machine: Machine, options: tuple[str, ...], *, alone: bool) -> None:
        self._machine = machine
        self._options = options
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
        self._fd = _open(self._machine, self._options)
        try:
            pause_s, until = FIRST_PAUSE_S, time.monotonic() + WAIT_S
            while self._fd >= 0 and not self._try() and time.monotonic() < until:
                await self._machine.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
        except BaseException:
            self.release()
            raise

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, self._mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system that has no such locks
            self.release()
        return True

    def release(self) -> None:
        """Let the others go on; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open(machine: Machine, options: tuple[str, ...]) -> int:
    """Return a descriptor of the lock's place, -1 where there is none.

    On this machine it is the folder of the server's socket: callers with other environments find the same.
    """
    environ: Mapping[str, str] = getattr(machine, "environ", os.environ)
    try:
        if machine.name == "local":
            fd = os.open(os.path.dirname(tmux_socket(environ, os.getuid(), options)), os.O_RDONLY | os.O_CLOEXEC)
            if os.fstat(fd).st_uid == os.geteuid():
                return fd
            os.close(fd)  # others could hold us up there
        root = runtime_dir(environ, os.getuid())
        make_private_folder(root, f"{root}/attach")
        name = "".join(c if c.isalnum() else "_" for c in machine.name)[-100:]
        return os.open(f"{root}/attach/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (OSError, UsageError):
        return -1


def tmux_socket(environ: Mapping[str, str], uid: int, options: tuple[str, ...] = ()) -> str:
    """Return the socket of the tmux server that `tmux` with these options means."""
    named = dict(zip(options[::2], options[1::2], strict=False))
    if "-S" in named:
        return named["-S"]
    if environ.get("TMUX") and "-L" not in named:
        return environ["TMUX"].split(",")[0]
    return f"{environ.get('TMUX_TMPDIR') or '/tmp'}/tmux-{uid}/{named.get('-L', 'default')}"

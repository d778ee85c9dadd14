"""A fair lock between processes, in order of arrival: released by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from sane.errors import PaneError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FIRST_PAUSE_S, LAST_PAUSE_S = 0.001, 0.02


class QueueLock:
    """Hold a place in a queue, as a locked ticket file with a number: whoever's predecessors have all gone, holds the
    lock.

    `folder`, below `root`, belongs to the lock alone. `sleep` waits in the caller's way.
    """

    def __init__(self, root: str, folder: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._root = root
        self._folder = folder
        self._sleep = sleep
        self._fd = -1
        self._number = 0

    async def acquire(self, timeout_s: float, name: str) -> None:
        """Wait for our turn. Raises PaneError naming `name` when it does not come within `timeout_s`.

        Raises UsageError where others may write in `root`.
        """
        deadline = time.monotonic() + timeout_s

        async def pause(pause_s: float) -> None:
            if time.monotonic() >= deadline:
                raise PaneError(
                    f"{name} is in use by another caller since more than {timeout_s:g} s",
                    hint="Wait for that command to end, or give this one a longer timeout.",
                )
            await self._sleep(pause_s)

        make_private_folder(self._root, self._folder)
        pause_s = FIRST_PAUSE_S
        try:
            await self._draw_ticket(pause)
            while self._has_predecessor():
                await pause(pause_s)
                pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the next one in; safe to call twice."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{self._number}")
            os.close(self._fd)
            self._fd = -1

    async def _draw_ticket(self, pause: Callable[[float], Awaitable[None]]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        counter = os.open(f"{self._folder}/next", flags, 0o600)
        try:
            while not try_lock(counter):  # held for microseconds, by someone drawing a ticket, unless they were stopped
                await pause(FIRST_PAUSE_S)
            self._number = self._last_drawn(counter) + 1
            os.pwrite(counter, b"%d" % self._number, 0)
            self._fd = os.open(f"{self._folder}/{self._number}", flags, 0o600)
            try_lock(self._fd)
        finally:
            os.close(counter)

    def _last_drawn(self, counter: int) -> int:
        """Return the number that was drawn last; where the file holds none, that of the last ticket that is there."""
        drawn = os.read(counter, 20)
        if drawn.isdigit():
            return int(drawn)
        os.ftruncate(counter, 0)  # a full disk or a crash of the machine can leave anything
        return max((int(name) for name in os.listdir(self._folder) if name.isdigit()), default=0)

    def _has_predecessor(self) -> bool:
        for name in os.listdir(self._folder):
            if name.isdigit() and int(name) < self._number and self._is_held(f"{self._folder}/{name}"):
                return True
        return False

    def _is_held(self, ticket: str) -> bool:
        """Return whether a ticket's holder lives; remove the ticket of a dead one."""
        try:
            fd = os.open(ticket, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            if not try_lock(fd):
                return True
            with contextlib.suppress(FileNotFoundError):
                os.unlink(ticket)
            return False
        finally:
            os.close(fd)


def make_private_folder(root: str, path: str) -> None:
    """Make a folder below `root`, and those above it that are missing, for this user alone.

    Raises UsageError where others may write in `root`: they could put a link to any file in the place of a lock.
    """
    try:
        status = os.lstat(root)
    except FileNotFoundError:
        _make_folders(root)
        status = os.lstat(root)
    if status.st_uid != os.geteuid() or status.st_mode & 0o170022 != 0o040000:
        raise UsageError(
            f"{root} must be a folder that you alone can write: the locks of panes are there",
            hint="Remove it, or set XDG_RUNTIME_DIR to a folder of your own with mode 700.",
        )
    _make_folders(path)


def _make_folders(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_folders(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):  # another process came first
            os.mkdir(path, 0o700)


def try_lock(fd: int, mode: int = fcntl.LOCK_EX) -> bool:
    """Return whether a lock on a file could be had at once. Raises OSError where the file system has none."""
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True

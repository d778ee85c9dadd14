"""Tell a controller that died on this machine from one that is alive, without waiting for its lease to expire.

A controller keeps a file of its own in the state directory locked for as long as it lives. The kernel gives the lock up
when the process ends, whatever ended it, and keeps it while the process is only stopped. So: a file that can be locked
belongs to a dead one. No file says nothing: the controller may be on another machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path

DIRECTORY = "controllers"


@contextlib.contextmanager
def present(state_dir: Path, owner: str, holds_lease: Callable[[], bool]) -> Generator[None]:
    """Show to others with this state directory that `owner` lives, until the block or the process ends.

    Where it still holds its lease then (the log was away), the file stays, unlocked: that of a dead one.
    """
    directory = state_dir / DIRECTORY
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / owner
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if not holds_lease():
            path.unlink(missing_ok=True)
        os.close(descriptor)


def is_dead(state_dir: Path, owner: str) -> bool:
    """Return whether `owner` ran with this state directory and has ended; False where nobody can know."""
    if os.sep in owner:
        return False
    try:
        descriptor = os.open(state_dir / DIRECTORY / owner, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two may ask at once
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def forget(state_dir: Path, owner: str) -> None:
    """Remove the file of a controller that is dead."""
    if os.sep not in owner:
        (state_dir / DIRECTORY / owner).unlink(missing_ok=True)

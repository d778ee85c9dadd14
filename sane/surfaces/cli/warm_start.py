"""Start a warm helper, in the background, for the calls to come."""

from __future__ import annotations

import os
import stat
import sys

from sane.surfaces.cli.warm import is_private, seen_environment, socket_path

LOCK_FD = 3  # in the helper
PROGRAM = """import sys
sys.path.insert(0, sys.argv.pop(1))
from sane.surfaces.cli.start import LatePackages
sys.meta_path.append(LatePackages())
from sane.surfaces.cli.warm_serve import main
main(ssh=bool(sys.argv[1:]))"""


def start_helper(*, ssh: bool) -> bool:
    """Start the helper for this environment, unless one runs or starts already; return whether one was started.

    `ssh`: the one for hosts that are reached over SSH, not the one for panes of the local tmux.

    A lock, handed over to it, lasts as long as it lives: so there is one at most, and none is missed when it dies.
    """
    path = socket_path(seen_environment(ssh=ssh))
    folder = os.path.dirname(path)
    if not path or not _make_private(folder):
        return False
    import fcntl

    lock = os.open(path + b".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _spawn(lock, *(["ssh"] if ssh else []))
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _make_private(folder: bytes) -> bool:
    """Make the folder for this user alone; one that belongs to somebody else is left as it is, and not used."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077:
            os.chmod(folder, 0o700)
    except OSError:
        return False
    return is_private(folder)


def _spawn(lock: int, *words: str) -> None:
    root = os.path.abspath(__file__).rpartition("/sane/surfaces/cli/")[0]
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", PROGRAM, root, *words]
    null = os.devnull
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, lock, LOCK_FD),
    ]
    os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)

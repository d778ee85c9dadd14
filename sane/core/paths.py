"""Where sane keeps its own state, computed from the environment, and the user database where that names no home."""

from __future__ import annotations

TYPE_CHECKING = False  # typing and pathlib would cost every primitive 10 ms at its start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def home_dir(environ: Mapping[str, str]) -> str:
    """Return $HOME, else the home that the system's user database has; `/` where it has none."""
    home = environ.get("HOME")
    if not home:
        import os
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = "/"
    return home or "/"


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return $SANE_STATE_DIR, else $XDG_STATE_HOME/sane, else ~/.local/state/sane. Not created."""
    from pathlib import Path

    if environ.get("SANE_STATE_DIR"):
        return Path(environ["SANE_STATE_DIR"])
    base = environ.get("XDG_STATE_HOME") or str(Path(home_dir(environ)) / ".local" / "state")
    return Path(base) / "sane"


def runtime_dir(environ: Mapping[str, str], uid: int) -> str:
    """Return the directory for sockets and locks: $XDG_RUNTIME_DIR/sane, else /tmp/sane-UID (to be made 0700)."""
    base = environ.get("XDG_RUNTIME_DIR")
    return f"{base}/sane" if base else f"/tmp/sane-{uid}"

"""Where sane keeps its own state, computed from the environment alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return $SANE_STATE_DIR, else $XDG_STATE_HOME/sane, else ~/.local/state/sane. Not created."""
    if environ.get("SANE_STATE_DIR"):
        return Path(environ["SANE_STATE_DIR"])
    base = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "/")) / ".local" / "state")
    return Path(base) / "sane"


def runtime_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Return the directory for sockets and locks: $XDG_RUNTIME_DIR/sane, else /tmp/sane-UID (to be made 0700)."""
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "sane"
    return Path("/tmp") / f"sane-{uid}"

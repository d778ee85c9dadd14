"""Fixtures for every test: no test sees the home, tmux server or state directory of whoever runs it."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that what fails here fails everywhere; `--hypothesis-profile=default` tries others.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# What a shell without job control runs in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Yield an empty directory whose path is short enough for Unix sockets (about 100 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="sane", dir="/tmp"))
    yield path
    # A shell whose terminal has just gone may still write its history there.
    for _ in range(100):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            break
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _own_surroundings(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = short_dir / "home"
    for directory in (home, short_dir / "tmux", short_dir / "state", short_dir / "run"):
        directory.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMUX_TMPDIR", str(short_dir / "tmux"))
    monkeypatch.setenv("SANE_STATE_DIR", str(short_dir / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir / "run"))
    monkeypatch.setenv("SANE_HELPER", "0")  # nothing outlives a test; the tests of the warm helper ask for it
    for name in (
        "TMUX",
        "TMUX_PANE",
        "SSH_AUTH_SOCK",
        "SANE_DATABASE_URL",
        "SANE_INVENTORY",
        "TMUX_SANE_CONTEXT_HOME",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)

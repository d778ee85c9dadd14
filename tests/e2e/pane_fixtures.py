"""Real tmux servers for the tests of panes: each test module has its own, in a short directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.transports.blocking import run_blocking
from sane.transports.local_machine_blocking import BlockingMachine
from sane.transports.pane import PaneTransport, open_pane

SHELLS = {
    "bash": "bash --norc",
    "dash": "dash",
    "zsh": "zsh -f",
    "fish": "fish --no-config",
    "ash": "busybox ash",
}


class Tmux:
    """One throwaway tmux server."""

    def __init__(self, folder: Path, config: str = "") -> None:
        (folder / "home").mkdir(exist_ok=True)
        # Where it is absent, a new fish reads every manual page in the background: 20 s of a core.
        (folder / "home/.local/share/fish/generated_completions").mkdir(parents=True, exist_ok=True)
        # A server that ends with its last session would race with the next test's first one.
        (folder / "tmux.conf").write_text("set -g exit-empty off\n" + config)
        self.folder = folder
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        self.environ = {
            **keep,
            "HOME": str(folder / "home"),
            "TMUX_TMPDIR": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "LC_ALL": "C.UTF-8",
            "SHELL": "/bin/bash",
            "SANE_HELPER": "0",
        }
        self._count = 0
        self.pid = 0

    def call(self, *words: str) -> str:
        argv = ["tmux", "-f", str(self.folder / "tmux.conf"), *words]
        return subprocess.run(argv, env=self.environ, capture_output=True, text=True, check=True).stdout

    def new(self, command: str = "bash --norc", *, width: int = 80, height: int = 24) -> str:
        """Start a session with one pane and return its name."""
        self._count += 1
        name = f"s{self._count}"
        self.call("new-session", "-d", "-s", name, "-x", str(width), "-y", str(height), command)
        self.pid = self.pid or int(self.call("display-message", "-p", "-t", name, "#{pid}"))
        return name

    def new_plain(self, name: str, width: int, height: int) -> None:
        """Start a session as a person does: with their own ~/.tmux.conf and the shell it names."""
        argv = ["tmux", "new-session", "-d", "-s", name, "-x", str(width), "-y", str(height)]
        subprocess.run(argv, env=self.environ, check=True)

    def screen(self, target: str) -> str:
        return "\n".join(line.rstrip() for line in self.call("capture-pane", "-p", "-t", target).split("\n")).rstrip()

    def type(self, target: str, text: str) -> None:
        self.call("send-keys", "-l", "-t", target, text)

    def wait_for(self, target: str, text: str, seconds: float = 5.0) -> str:
        """Return the screen once `text` is on it."""
        until = time.monotonic() + seconds
        while text not in (screen := self.screen(target)):
            assert time.monotonic() < until, f"{text!r} did not appear in:\n{screen}"
            time.sleep(0.01)
        return screen

    def open(self, target: str) -> Pane:
        return Pane(run_blocking(open_pane(BlockingMachine(self.environ), target)))

    def kill(self) -> None:
        subprocess.run(["tmux", "kill-server"], env=self.environ, capture_output=True, check=False)
        # Its socket may be gone, or not be believed: then only its own id ends it.
        if self.pid and Path(f"/proc/{self.pid}/comm").exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


class Pane:
    """Call a pane's transport without asyncio."""

    def __init__(self, transport: PaneTransport) -> None:
        self.transport = transport

    def run(self, script: str, on_output: Callable[[bytes], None] | None = None, **options: object) -> CommandResult:
        options.setdefault("timeout_s", 20.0)
        return run_blocking(self.transport.run(Command(script, **options), on_output))  # pyright: ignore

    def close(self) -> None:
        run_blocking(self.transport.close())


def make_server(config: str = "") -> Iterator[Tmux]:
    folder = Path(tempfile.mkdtemp(prefix="sane", dir="/tmp"))
    server = Tmux(folder, config)
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    yield from make_server()


@pytest.fixture(scope="module", params=list(SHELLS))
def shell_pane(request: pytest.FixtureRequest, tmux: Tmux) -> Iterator[Pane]:
    """Yield one pane for each shell, shared by the tests of a module."""
    pane = tmux.open(tmux.new(SHELLS[request.param]))
    pane.shell = request.param  # pyright: ignore
    yield pane
    pane.close()


@pytest.fixture
def bash(tmux: Tmux) -> Iterator[Pane]:
    """Yield a new bash pane."""
    pane = tmux.open(tmux.new())
    yield pane
    pane.close()

"""Real sshd processes on loopback ports, with throwaway keys, for tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.processes import children_of, name_of

START_TIMEOUT_S = 10.0


def program(name: str) -> str:
    """Return the full path of a program that may live in sbin."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{name} is not installed"
    return found


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """Make a key pair without a passphrase and return the private file."""
    subprocess.run([program("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


class Sshd:
    """Run one sshd; `directory` holds its keys, its configuration and its log."""

    def __init__(
        self,
        *,
        host_key: Path | None = None,
        options: Mapping[str, str] | None = None,
        port: int = 0,
        address: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> None:
        """Prepare one; `within` is a command that runs it elsewhere, for example in a network namespace."""
        self.directory = Path(tempfile.mkdtemp(prefix="sane", dir="/tmp"))
        self.home = self.directory / "home"
        self.home.mkdir()
        self.host_key = host_key or make_key(self.directory / "host_key")
        self.user_key = make_key(self.directory / "user_key")
        self.port = port or free_port()
        self.address = address
        self._within = within
        self.user = getpass.getuser()
        self._options = dict(options or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def known_hosts(self) -> Path:
        """Return a known_hosts file that has the host's key."""
        path = self.directory / "known_hosts"
        if not path.exists():
            kind, key = Path(f"{self.host_key}.pub").read_text().split()[:2]
            path.write_text(f"[{self.address}]:{self.port} {kind} {key}\n")
        return path

    def start(self, **late: str) -> Sshd:
        """Start it, with options that were not known before, and wait until it listens."""
        options = {
            "ListenAddress": f"{self.address}:{self.port}",
            "HostKey": str(self.host_key),
            "AuthorizedKeysFile": str(self.directory / "user_key.pub"),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            "MaxStartups": "1000",
            "SetEnv": f"HOME={self.home}",
            **self._options,
            **late,
        }
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it drops its privileges to
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._within, program("sshd"), "-D", "-e", "-f", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_listens()
        return self

    def _wait_until_it_listens(self) -> None:
        assert self.process is not None
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            with socket.socket() as sock:
                if sock.connect_ex((self.address, self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < until, "sshd did not start"
            time.sleep(0.005)

    def sessions(self) -> list[int]:
        """Return the processes that serve connections, parents before children."""
        assert self.process is not None
        found: list[int] = []
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            children = children_of(pid)
            for child in children:
                if name_of(child).startswith("sshd"):
                    found.append(child)
                    waiting.append(child)
        return found

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to every process that serves a connection."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """End it and its connections, and remove its directory."""
        if self.process is not None:
            pids = self.sessions()
            self.process.terminate()
            self.process.wait(10)
            for pid in pids:
                for number in (signal.SIGCONT, signal.SIGKILL):
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        break
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def config(self, name: str = "web1", extra: str = "") -> str:
        """Return a block of ssh configuration that reaches it as `name`."""
        return (
            f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {self.user}\n"
            f"  IdentityFile {self.user_key}\n  UserKnownHostsFile {self.known_hosts}\n"
            f"  GlobalKnownHostsFile none\n  IdentityAgent none\n{extra}\n"
        )

"""The fixture `lab`: throwaway hosts for a test, gone with it.

def test_something(lab):
    hosts = lab(3)
    hosts.fault("server2", "refuse")
    subprocess.run([*hosts.ssh("server1"), "uname -a"])
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sane.operations import lab as labs


@dataclass(frozen=True)
class TestLab:
    """Hold a running lab: `inventory` is what `--inventory` takes."""

    __test__ = False
    lab: labs.Lab

    @property
    def directory(self) -> Path:
        return self.lab.directory

    @property
    def inventory(self) -> Path:
        return self.lab.inventory

    @property
    def hosts(self) -> list[str]:
        return list(self.lab.hosts)

    def root(self, host: str) -> Path:
        return self.lab.root(host)

    def port(self, host: str) -> int:
        return self.lab.hosts[host].port

    def fault(self, host: str, fault: str) -> None:
        labs.set_fault(self.directory, host, fault)

    def down(self) -> None:
        labs.end(self.directory)

    def ssh(self, host: str, *options: str) -> list[str]:
        """Return the command line of the plain ssh client for a host; the remote command goes behind it."""
        return [
            *("ssh", "-F", "none", "-i", str(self.lab.user_key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={self.lab.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
            *(*options, "-p", str(self.port(host)), f"{self.lab.user}@127.0.0.1"),
        ]


@pytest.fixture
def lab() -> Iterator[Callable[..., TestLab]]:
    """Yield `start(n=3, server="auto")`; every lab it started ends with the test."""
    directories: list[Path] = []

    def start(count: int = 3, *, server: str = "auto") -> TestLab:
        directories.append(Path(tempfile.mkdtemp(prefix="sane", dir="/tmp")))
        return TestLab(labs.start(directories[-1], count, server=server))

    yield start
    for directory in directories:
        labs.end(directory)

"""What a lab consists of, and its file DIR/lab.json."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from sane.errors import ConfigError, ConflictError
from sane.operations.lab.processes import ProcessId
from sane.transports.lock import try_lock

LOCK_TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class LabHost:
    """Describe one throwaway host.

    `port` is where clients connect, for as long as the lab exists; `server_port` is where its SSH server listens,
    another one only while a relay stands before it. `fault` is as `sane lab fault` takes it, None for none.
    """

    name: str
    port: int
    server_port: int
    server: ProcessId | None = None
    relay: ProcessId | None = None
    fault: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Lab:
    """Describe a lab: `server` is sshd or asyncssh, `socket_dir` a short path for the hosts' tmux sockets."""

    directory: Path
    user: str
    server: str
    socket_dir: Path
    hosts: Mapping[str, LabHost]

    @property
    def inventory(self) -> Path:
        """Return the file that other commands take as `--inventory`."""
        return self.directory / "inventory.yaml"

    @property
    def user_key(self) -> Path:
        """Return the private key that every host accepts."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Return the file of the hosts' public keys."""
        return self.directory / "known_hosts"

    def root(self, host: str) -> Path:
        """Return the directory that is a host's home and holds all that is put on it."""
        return self.directory / host

    def works(self, host: str) -> Path:
        """Return the directory of what makes a host run: configuration, host key, log, fault files."""
        return self.directory / ".lab" / host

    def sockets(self, host: str) -> Path:
        """Return the TMUX_TMPDIR of a host."""
        return self.socket_dir / host

    def replace_host(self, host: LabHost) -> Lab:
        """Return the lab with this host in place of the one of its name."""
        return dataclasses.replace(self, hosts={**self.hosts, host.name: host})


def state_file(directory: Path) -> Path:
    """Return the path of a lab's state."""
    return directory / "lab.json"


def load(directory: Path) -> Lab | None:
    """Return the lab in a directory, None when there is none. Raises ConfigError when its file can't be understood."""
    file = state_file(directory)
    try:
        return _from_json(directory, json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"not the state of a lab ({error})", file=str(file), hint="End that lab with: sane lab down --dir DIR."
        ) from None


def save(lab: Lab) -> None:
    """Write the lab's state atomically."""
    file = state_file(lab.directory)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(_to_json(lab), indent=1) + "\n")
    os.replace(temporary, file)


@contextlib.contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold a lab for one change. Raises ConflictError after LOCK_TIMEOUT_S when somebody else keeps it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"another command is changing the lab in {directory}", hint="Try again when it ended."
                )
            time.sleep(0.02)  # flock has no wait with a deadline
        yield
    finally:
        os.close(descriptor)


def _to_json(lab: Lab) -> dict[str, object]:
    hosts = {name: dataclasses.asdict(host) for name, host in lab.hosts.items()}
    return {"user": lab.user, "server": lab.server, "socket_dir": str(lab.socket_dir), "hosts": hosts}


def _from_json(directory: Path, data: Any) -> Lab:
    hosts = {name: _host_from_json(host) for name, host in data["hosts"].items()}
    return Lab(directory, data["user"], data["server"], Path(data["socket_dir"]), hosts)


def _host_from_json(data: Any) -> LabHost:
    server, relay = (ProcessId(**data[key]) if data[key] else None for key in ("server", "relay"))
    return LabHost(data["name"], data["port"], data["server_port"], server, relay, data["fault"])

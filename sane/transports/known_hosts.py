"""The known_hosts files on disk: parsed once each, looked up per host, written as OpenSSH writes them."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from sane.core.ssh.known_hosts import KnownHost, KnownHosts, known_hosts_line, known_hosts_name
from sane.core.ssh.settings import HostSettings

_Stamp = tuple[tuple[str, int, int], ...]


class KnownHostsFiles:
    """Look hosts up in known_hosts files; an index is built again when a file has changed."""

    def __init__(self) -> None:
        self._indexes: dict[tuple[str, ...], tuple[_Stamp, KnownHosts]] = {}

    def lookup(self, settings: HostSettings) -> tuple[KnownHost, ...]:
        """Return the lines that concern a host, the user's files first."""
        return self._index(settings).lookup_host(settings.address, settings.port, settings.host_key_alias)

    def _index(self, settings: HostSettings) -> KnownHosts:
        paths = (*settings.known_hosts, *settings.global_known_hosts)
        stamp = _stamp(paths)
        held = self._indexes.get(paths)
        if held is None or held[0] != stamp:
            held = self._indexes[paths] = (stamp, KnownHosts(_read(paths)))
        return held[1]

    def remember(self, settings: HostSettings, key_type: str, key: bytes) -> bool:
        """Append a host's key to the first of the user's files; return False when that can't be done."""
        if not settings.known_hosts:
            return False
        name = settings.host_key_alias or known_hosts_name(settings.address, settings.port)
        text = base64.b64encode(key).decode()
        line = known_hosts_line(name, key_type, text, secrets.token_bytes(20) if settings.hash_known_hosts else b"")
        index, path = self._index(settings), settings.known_hosts[0]
        try:
            number = _append(path, line)
        except OSError:
            return False
        index.add(KnownHost("", key_type, text, path, number), name)
        paths = (*settings.known_hosts, *settings.global_known_hosts)
        self._indexes[paths] = (_stamp(paths), index)
        return True


def _stamp(paths: Sequence[str]) -> _Stamp:
    found: list[tuple[str, int, int]] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append((path, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _read(paths: Sequence[str]) -> list[tuple[str, str]]:
    files: list[tuple[str, str]] = []
    for path in paths:
        try:
            files.append((path, Path(path).read_text("utf-8", "replace")))
        except OSError:
            continue  # OpenSSH too reads those that are there
    return files


def _append(path: str, line: str) -> int:
    """Append a line in one write; return its number, counting from 1."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        before = file.read()
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        file.write(gap + line.encode())
    return (before + gap).count(b"\n") + 1

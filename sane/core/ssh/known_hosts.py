"""OpenSSH's known_hosts: an index over the files, and the verdict on a key that a host shows.

A file is split into lines once; keys stay text until a host asks for them. Hashed names are tried once per name asked
for, at 1.2 µs each; asyncssh would try each of them on each connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from sane.core.ssh.config import matches_list

DEFAULT_PORT = 22


class KnownHost(NamedTuple):
    """Hold one line: `marker` is empty, @revoked or @cert-authority; `key` is the key in base64."""

    marker: str
    key_type: str
    key: str
    file: str
    line: int


class Verdict(NamedTuple):
    """Say what known_hosts knows of a key; `entry` is the line that decided, where one did."""

    kind: Literal["known", "unknown", "changed", "revoked"]
    entry: KnownHost | None = None


class KnownHosts:
    """Look hosts up in known_hosts files, given as (name, text) in order of precedence."""

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        self._entries: list[KnownHost] = []
        self._exact: dict[str, list[int]] = {}
        self._patterns: list[tuple[list[str], int]] = []
        self._hashed: list[tuple[bytes, bytes, int]] = []
        self._found: dict[str, tuple[KnownHost, ...]] = {}
        for name, text in files:
            for number, line in enumerate(text.split("\n"), 1):
                self._add_line(line, name, number)

    def _add_line(self, line: str, file: str, number: int) -> None:
        words = line.split()
        if not words or words[0].startswith("#"):
            return
        marker = words.pop(0).lower() if words[0].startswith("@") else ""
        if len(words) < 3:
            return  # OpenSSH too passes over a line it can't read
        index = len(self._entries)
        self._entries.append(KnownHost(marker, words[1], words[2], file, number))
        if words[0].startswith("|"):
            self._add_hashed(words[0], index)
            return
        names = words[0].lower().split(",")
        if any(mark in words[0] for mark in "*?!"):
            self._patterns.append((names, index))
            return
        for name in names:
            self._exact.setdefault(name, []).append(index)

    def _add_hashed(self, text: str, index: int) -> None:
        parts = text.split("|")
        if len(parts) != 4 or parts[1] != "1":
            return
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
        except binascii.Error:
            return
        self._hashed.append((salt, digest, index))

    def add(self, entry: KnownHost, name: str) -> None:
        """Take up a line that was just written for `name`."""
        self._exact.setdefault(name, []).append(len(self._entries))
        self._entries.append(entry)
        self._found.pop(name, None)

    def lookup(self, name: str) -> tuple[KnownHost, ...]:
        """Return the lines for a name as `known_hosts_name` writes it, in order."""
        found = self._found.get(name)
        if found is None:
            wanted = name.encode()
            indexes = set(self._exact.get(name, ()))
            indexes.update(index for names, index in self._patterns if matches_list(name, names))
            digest = hmac.digest
            indexes.update(index for salt, hashed, index in self._hashed if digest(salt, wanted, "sha1") == hashed)
            found = self._found[name] = tuple(self._entries[index] for index in sorted(indexes))
        return found

    def lookup_host(self, host: str, port: int, alias: str | None = None) -> tuple[KnownHost, ...]:
        """Return the lines for a host; one on another port falls back to keys known without a port, as OpenSSH does."""
        if alias is not None:
            return self.lookup(alias.lower())
        found = self.lookup(known_hosts_name(host, port))
        return found if found or port == DEFAULT_PORT else self.lookup(host.lower())


def known_hosts_name(host: str, port: int) -> str:
    """Return the name under which OpenSSH keeps a host's key: `host`, or `[host]:port` for a port of its own."""
    return host.lower() if port == DEFAULT_PORT else f"[{host.lower()}]:{port}"


def judge_key(entries: Sequence[KnownHost], key: str) -> Verdict:
    """Return the verdict on a host's key (base64).

    A host known only by other keys has changed, even where their types differ: the stricter reading.
    """
    for entry in entries:
        if entry.marker == "@revoked" and entry.key == key:
            return Verdict("revoked", entry)
    plain = [entry for entry in entries if not entry.marker]
    for entry in plain:
        if entry.key == key:
            return Verdict("known", entry)
    return Verdict("changed", plain[0]) if plain else Verdict("unknown")


def known_hosts_line(name: str, key_type: str, key: str, salt: bytes = b"") -> str:
    """Return the line that OpenSSH would write; a `salt` of 20 bytes hashes the name."""
    if salt:
        digest = hmac.digest(salt, name.encode(), "sha1")
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{name} {key_type} {key}\n"


def fingerprint(key: bytes) -> str:
    """Return a public key's fingerprint as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")

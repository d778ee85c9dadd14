"""Read an ssh command line: where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OPTIONS_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")


class SshDestination(NamedTuple):
    """Name where an ssh goes; `user` and `port` are None where the command line does not say."""

    hostname: str
    user: str | None
    port: int | None


def parse_ssh_line(words: Sequence[str]) -> SshDestination | None:
    """Return where an ssh command line (its own name first) goes; None when it names no host.

    As ssh reads it: options stand before and behind the host, up to the command, and the first word on a thing counts.
    """
    host, users, ports = "", list[str](), list[str]()
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and word not in ("-", "--"):
            name, value = _option(word, rest)
            users += [value] if name in ("l", "user") else []
            ports += [value] if name in ("p", "port") else []
            continue
        last = word == "--"
        if host or (last and not rest):
            break  # the command
        host, user, port = _destination(rest.pop(0) if last else word)
        users += [user] if user else []
        ports += [port] if port else []
        if last:
            break
    port = ports[0] if ports and ports[0].isdigit() else ""
    return SshDestination(host, users[0] if users else None, int(port) if port else None) if host else None


def parse_resolved(text: str) -> tuple[str | None, int | None]:
    """Return the user and the port in what `ssh -G` prints."""
    fields = dict[str, str]()
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        fields.setdefault(name, value)
    port = fields.get("port", "")
    return fields.get("user") or None, int(port) if port.isdigit() else None


def _option(word: str, rest: list[str]) -> tuple[str, str]:
    """Return the option with a value in a word of single letters, and its value, taken from `rest` where it is there.

    For `-o` that is the setting's name in lower case.
    """
    index = next((i for i, letter in enumerate(word[1:], 1) if letter in OPTIONS_WITH_VALUE), 0)
    if not index:
        return "", ""
    value = word[index + 1 :] or (rest.pop(0) if rest else "")
    if word[index] != "o":
        return word[index], value
    name, _, value = value.strip().replace("=", " ", 1).partition(" ")
    return name.lower(), value.strip().strip('"')


def _destination(word: str) -> tuple[str, str, str]:
    """Return the host, the user and the port that `[user@]host` or `ssh://[user@]host[:port]` names."""
    port = ""
    if word.startswith("ssh://"):
        word = word[len("ssh://") :].rstrip("/")
        head, colon, tail = word.rpartition(":")
        if colon and tail.isdigit():
            word, port = head, tail
    user, _, host = word.rpartition("@")
    return host, user, port

"""Read an ssh command line: where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OPTIONS_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopPQRSWw")


class SshDestination(NamedTuple):
    """Name where an ssh goes; `user` and `port` are None where the command line does not say."""

    hostname: str
    user: str | None
    port: int | None


def parse_ssh_line(words: Sequence[str]) -> SshDestination | None:
    """Return where an ssh command line (its own name first) goes; None when it names no host."""
    user: str | None = None
    port: int | None = None
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "--":
            word = rest.pop(0) if rest else ""
        elif word.startswith("-") and len(word) > 1:
            index = next((i for i, c in enumerate(word[1:], 1) if c in OPTIONS_WITH_VALUE), 0)
            if index:
                value = word[index + 1 :] or (rest.pop(0) if rest else "")
                user = value if word[index] == "l" else user
                port = int(value) if word[index] == "p" and value.isdigit() else port
            continue
        return _destination(word, user, port) if word else None
    return None


def _destination(word: str, user: str | None, port: int | None) -> SshDestination:
    if word.startswith("ssh://"):
        word = word[len("ssh://") :].rstrip("/")
        head, colon, tail = word.rpartition(":")
        if colon and tail.isdigit():
            word, port = head, int(tail)
    name, at, host = word.rpartition("@")
    return SshDestination(host, name if at else user, port)

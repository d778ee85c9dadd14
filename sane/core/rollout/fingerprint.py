"""Fold equal failures of many hosts into one line: what differs from host to host is left out of the comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sane.core.fleet.hostset import fold

MAX_CHARACTERS = 500  # of a message: what comes later tells failures apart no better

_COMPARED = 100  # messages of a group, to find what they have in common

# In this order: a longer kind before the kinds that are parts of it.
_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (
        re.compile(
            r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)?,? ?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +"
            r"\d{1,2} \d\d:\d\d:\d\d(?: [A-Z]{3,4})?(?: \d{4})?"
        ),
        "TIME",
    ),
    (re.compile(r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"), "TIME"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "ADDRESS"),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.I), "ADDRESS"),
    (re.compile(r"(?<=/)(?:tmp|sane)[.\-_][\w.\-]+"), "TEMPORARY"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.I), "ID"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b", re.I), "ID"),
    (re.compile(r"(?<![A-Za-z])\d+(?:[.,]\d+)*(?:ms|s|m|h|[KMGT]i?B?|%)?\b"), "N"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Say what failed on a host; `names` are other names of it: its address, its own host name.

    Failures that differ in `kind`, such as the step, are not the same whatever they say.
    """

    host: str
    message: str
    names: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Hold hosts that failed alike: `message` is the first one's, with … for what is that one host's only: its name,
    a time, a process; `folded` their names as `web[4,18]`."""

    fingerprint: str
    message: str
    hosts: tuple[str, ...]
    folded: str

    def as_json(self) -> dict[str, object]:
        """Return the group as the report shows it."""
        return {"count": len(self.hosts), "hosts": self.folded, "message": self.message}


def fingerprint(message: str, names: Sequence[str] = ()) -> str:
    """Return what a message has in common with the same failure elsewhere.

    Names of the host, addresses, times, ids and numbers each become one word for their kind. An exit code stays, for
    failures that differ in it are not the same.
    """
    text = message.strip()[:MAX_CHARACTERS]
    for name in sorted({n for n in names if len(n) > 1}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "HOST", text)
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\x00{'x' * len(kept)}\x00"

    text = re.sub(r"\b(?:exit (?:code|status)|errno|signal) -?\d+\b", keep, text.replace("\x00", ""), flags=re.I)
    for pattern, word in _KINDS:
        text = pattern.sub(word, text)
    text = re.sub("\x00(x+)\x00", lambda match: kept[len(match[1]) - 1], text)
    return text.strip()


def group_failures(failures: Sequence[Failure]) -> tuple[FailureGroup, ...]:
    """Return the failures in groups of equal ones, the largest first, equals in the order of their first host."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        key = (fingerprint(failure.message, (failure.host, *failure.names)), failure.kind)
        groups.setdefault(key, []).append(failure)
    found = [
        FailureGroup(key[0], _common_message(group), tuple(f.host for f in group), fold(f.host for f in group))
        for key, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: -len(group.hosts)))


def _common_message(group: Sequence[Failure]) -> str:
    first = group[0]
    if all(failure.message == first.message for failure in group):
        return first.message
    text = first.message
    for name in sorted({n for n in (first.host, *first.names) if len(n) > 1}, key=len, reverse=True):
        said = rf"(?<![\w.-]){re.escape(name)}(?![\w-])(?: \([^()]*\))?"
        text = re.sub(said, "…", re.sub(rf"^{said}: ", "", text))
    messages = list(dict.fromkeys(failure.message for failure in group))[:_COMPARED]
    for pattern, word in _KINDS:
        if word.strip():
            common = _found(pattern, messages[0]).intersection(*(_found(pattern, m) for m in messages[1:]))
            text = _without_own(pattern, text, common)
    return text


def _without_own(pattern: re.Pattern[str], text: str, common: set[str]) -> str:
    return pattern.sub(lambda match: match[0] if match[0] in common else "…", text)


def _found(pattern: re.Pattern[str], text: str) -> set[str]:
    return {match[0] for match in pattern.finditer(text)}

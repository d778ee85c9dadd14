"""Sets of host names as people write them: `web[1-30],db*!web3&@rack1`.

A pattern is one or more terms, taken from left to right: `,` adds, `!` takes away, `&` keeps what is in both;
`,!` and `,&` are the same as `!` and `&`. A term is a host name, a group name, `@group`, `all`, or a glob (`*`, `?`),
and may hold ranges: `[1-30]`, `[01-30/2]`, `[1,4,7-9]`. Leading zeros are kept.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from sane.core.nearest import nearest_hint
from sane.errors import NotFoundError, UsageError

MAX_NAMES = 100_000
MAX_GLOBS = 1_000
MAX_PATTERN_CHARACTERS = 100_000
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,18}))?)?")
_DIGITS = re.compile(r"([0-9]{1,18})")
_EVERY = ("all", "*")


class Term(NamedTuple):
    """Hold one term of a pattern: `operator` is `,`, `!` or `&`; `column` is 1-based."""

    operator: str
    text: str
    column: int


def split_terms(pattern: str) -> tuple[Term, ...]:
    """Return the terms of a pattern. Raises UsageError for an empty one, or brackets that don't close."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise UsageError(f"host pattern is longer than {MAX_PATTERN_CHARACTERS:,} characters")
    terms: list[Term] = []
    operator, start, depth = ",", 0, 0
    for at, char in enumerate(pattern + ","):
        depth += {"[": 1, "]": -1}.get(char, 0)
        if depth not in (0, 1):
            raise _malformed(pattern, at + 1, "brackets don't match")
        if depth or char not in ",!&":
            continue
        text = pattern[start:at].strip()
        if text:
            terms.append(Term(operator, text, start + 1))
        elif char == "," or (operator != "," and terms) or start < at:
            raise _malformed(pattern, at + 1, "a name is missing")
        operator, start = char, at + 1
    if depth:
        raise _malformed(pattern, len(pattern), "a bracket is not closed")
    if not terms:
        raise _malformed(pattern, 1, "it is empty")
    return tuple(terms)


def _malformed(pattern: str, column: int, why: str) -> UsageError:
    hint = "Write for example web[1-30],db1 or @web!web3."
    return UsageError(f"host pattern '{pattern[:200]}' is wrong at column {column}: {why}", hint=hint)


def expand(pattern: str) -> tuple[str, ...]:
    """Return the names that a pattern of plain names and ranges says, each once, in the order written.

    Raises UsageError for a mistake, for groups and globs (they need an inventory), and past 100,000 names.
    """
    names: dict[str, None] = {}
    total = 0
    for term in split_terms(pattern):
        if term.text.startswith("@") or "*" in term.text or "?" in term.text:
            raise UsageError(f"'{term.text}' needs an inventory to say which hosts it means")
        expanded = expand_term(term.text)
        total += len(expanded)
        _refuse_too_many(pattern, total)
        names = _combine(names, term.operator, expanded)
    if not names:
        raise _nothing_left(pattern)
    return tuple(names)


def select(pattern: str, names: Sequence[str], groups: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return which of `names` a pattern means, in the order of `names`.

    Raises NotFoundError for a term that matches nothing, or a pattern of which nothing is left; UsageError for
    a mistake.
    """
    known = frozenset(names)
    terms = split_terms(pattern)
    chosen: dict[str, None] = {} if terms[0].operator == "," else dict.fromkeys(names)
    if sum("*" in term.text or "?" in term.text for term in terms) > MAX_GLOBS:
        raise UsageError(f"host pattern '{pattern[:200]}' has more than {MAX_GLOBS:,} globs")
    for term in terms:
        chosen = _combine(chosen, term.operator, _match(term, names, known, groups))
    if not chosen:
        raise _nothing_left(pattern)
    return tuple(name for name in names if name in chosen)


def _nothing_left(pattern: str) -> NotFoundError:
    return NotFoundError(f"host pattern '{pattern[:200]}' leaves no host", hint="Its terms exclude each other.")


def _combine(names: dict[str, None], operator: str, term: Collection[str]) -> dict[str, None]:
    """Return the names after one more term; changes them in place, so that thousands of terms stay cheap."""
    if operator == "&":
        listed = frozenset(term)
        return {name: None for name in names if name in listed}
    for name in term:
        if operator == "!":
            names.pop(name, None)
        else:
            names[name] = None
    return names


def _match(
    term: Term, names: Sequence[str], known: Collection[str], groups: Mapping[str, Collection[str]]
) -> list[str]:
    if term.text in _EVERY:
        if not names:
            raise NotFoundError("there is no host")
        return list(names)
    only_groups = term.text.startswith("@")
    found: dict[str, None] = {}
    for name in expand_term(term.text.removeprefix("@")):
        found |= dict.fromkeys(_match_name(name, only_groups, names, known, groups))
    return list(found)


def _match_name(
    name: str, only_groups: bool, names: Sequence[str], known: Collection[str], groups: Mapping[str, Collection[str]]
) -> Iterator[str]:
    glob = "*" in name or "?" in name
    chosen = [g for g in groups if fnmatchcase(g, name)] if glob else [name] if name in groups else []
    hosts = [] if only_groups else [n for n in names if fnmatchcase(n, name)] if glob else [name] * (name in known)
    if only_groups and name == "all":
        yield from names
    elif not chosen and not hosts:
        what, valid = ("group", groups) if only_groups else ("host or group", [*groups, *names])
        raise NotFoundError(f"no {what} matches '{name}'", hint=nearest_hint(name, valid))
    # A bare glob means hosts where any match: `web*` is not also every member of a group `web_and_db`.
    for group in chosen if only_groups or not glob or not hosts else []:
        yield from groups[group]
    yield from hosts


def expand_term(text: str) -> tuple[str, ...]:
    """Return the names of one term with its ranges expanded, the last one varying fastest. Raises UsageError."""
    parts = re.split(r"\[([^\[\]]*)\]", text)
    if any("[" in part or "]" in part for part in parts[::2]):
        raise _malformed(text, 1, "brackets don't match")
    total, choices = 1, list[Sequence[str]]()
    for index, part in enumerate(parts):
        values = _numbers(part, text) if index % 2 else (part,)
        total *= len(values)
        _refuse_too_many(text, total)
        choices.append(values)
    return tuple(dict.fromkeys("".join(chosen) for chosen in itertools.product(*choices)))


def _numbers(body: str, text: str) -> list[str]:
    numbers: list[str] = []
    for part in body.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise _malformed(text, text.index("[") + 1, f"'[{body[:40]}]' is no range")
        first, last, step = found[1], found[2] or found[1], int(found[3] or "1")
        padded = max(len(n) if len(n) > 1 and n.startswith("0") else 0 for n in (first, last))
        if padded and not len(first) == padded <= len(last):
            raise _malformed(text, text.index("[") + 1, f"'{part.strip()}' pads its ends differently")
        if int(last) < int(first) or step < 1:
            raise _malformed(text, text.index("[") + 1, f"'{part.strip()}' runs backwards")
        values = range(int(first), int(last) + 1, step)
        _refuse_too_many(text, len(numbers) + len(values))
        numbers.extend(str(value).zfill(padded) for value in values)
    return numbers


def _refuse_too_many(pattern: str, total: int) -> None:
    if total > MAX_NAMES:
        raise UsageError(
            f"host pattern '{pattern[:200]}' means more than {MAX_NAMES:,} names", hint="Check the ends of its ranges."
        )


Box = tuple[frozenset[str], ...]


def fold(names: Iterable[str]) -> str:
    """Return the shortest pattern that we know for the names: `web[4,18]`, `rack[1-2]n[1-4]`; "" for none.

    `expand` takes it back to the same set. Names with characters that patterns give a meaning to can't be taken back.
    """
    shapes: dict[tuple[str, ...], set[Box]] = {}
    for name in sorted(set(names)):
        parts = _DIGITS.split(name)
        shapes.setdefault(tuple(parts[::2]), set()).add(tuple(frozenset((n,)) for n in parts[1::2]))
    texts: list[str] = []
    for texts_between, boxes in shapes.items():
        merged = sorted(_merge(boxes), key=lambda box: [min(_by_value(n) for n in side) for side in box])
        texts.extend(_show(texts_between, box) for box in merged)
    return ",".join(texts)


def _merge(boxes: set[Box]) -> set[Box]:
    """Return boxes that cover the same points: along each side, from the last, those equal in the others become one."""
    for side in reversed(range(len(next(iter(boxes))))):
        rows: dict[tuple[Box, Box], frozenset[str]] = {}
        for box in boxes:
            others = (box[:side], box[side + 1 :])
            rows[others] = rows.get(others, frozenset()) | box[side]
        boxes = {(*before, numbers, *after) for (before, after), numbers in rows.items()}
    return boxes


def _show(texts: Sequence[str], box: Box) -> str:
    shown = [_show_numbers(numbers) for numbers in box]
    return "".join(itertools.chain.from_iterable(itertools.zip_longest(texts, shown, fillvalue="")))


def _by_value(number: str) -> tuple[int, int]:
    return (len(number), int(number))


def _show_numbers(numbers: frozenset[str]) -> str:
    runs: list[list[str]] = []
    for number in sorted(numbers, key=_by_value):
        if runs and number == _next(runs[-1][0], runs[-1][-1]):
            runs[-1].append(number)
        else:
            runs.append([number])
    ranges = [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ranges[0] if len(numbers) == 1 else f"[{','.join(ranges)}]"


def _next(first: str, last: str) -> str:
    padded = len(first) if len(first) > 1 and first.startswith("0") else 0
    return str(int(last) + 1).zfill(padded)

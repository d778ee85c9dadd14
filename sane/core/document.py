"""A file as a tree of nodes that know their place, and the reading of typed fields out of it.

Scalars are kept as written, so that a version 1.10 stays 1.10. Mistakes are collected, not raised one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from sane.core.nearest import nearest_hint
from sane.core.units import DURATION_SUFFIXES, SIZE_SUFFIXES, parse_duration_ms, parse_size_bytes
from sane.errors import ConfigError, Problem, UsageError

T = TypeVar("T")
MAX_PROBLEMS = 1_000
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")


@dataclass(frozen=True, slots=True)
class Node:
    """Hold one value of a file and its place (`line`, `column` 1-based; 0 when it came from no file).

    A scalar has `text` as written; `plain` says that it was not quoted. `source` is the line and column where its
    text starts, when it stands there letter by letter; (0, 0) otherwise.
    """

    kind: Literal["scalar", "list", "map"]
    text: str = ""
    plain: bool = False
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()
    file: str = ""
    line: int = 0
    column: int = 0
    source: tuple[int, int] = (0, 0)

    @property
    def is_null(self) -> bool:
        """Return whether nothing was written."""
        return self.kind == "scalar" and self.plain and self.text in ("", "~", "null", "Null", "NULL")

    def place_of(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset in the text; the node's own where that is not known."""
        line, column = self.source
        if not line:
            return self.line, self.column
        before = self.text[:offset]
        return line + before.count("\n"), column + offset - (before.rfind("\n") + 1)

    def value(self) -> Any:
        """Return the node as JSON: a plain number becomes one only where it prints back as written."""
        if self.kind == "list":
            return [item.value() for item in self.items]
        if self.kind == "map":
            return {key.text: value.value() for key, value in self.entries}
        return None if self.is_null else _scalar(self.text) if self.plain else self.text


def _scalar(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if _FLOAT.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    return text


def node_of(value: object, file: str = "") -> Node:
    """Return a value that came from no file (a request, an option) as a node."""
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return Node("map", entries=tuple((node_of(str(k), file), node_of(v, file)) for k, v in pairs), file=file)
    if isinstance(value, list | tuple):
        members = cast("Sequence[object]", value)
        return Node("list", items=tuple(node_of(item, file) for item in members), file=file)
    if value is None or isinstance(value, bool):
        return Node("scalar", {None: "", True: "true", False: "false"}[value], plain=True, file=file)
    return Node("scalar", str(value), plain=not isinstance(value, str), file=file)


class Problems:
    """Collect the mistakes of a file."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, node: Node, message: str, hint: str = "", *, offset: int = -1) -> None:
        """Record a mistake at a node, or at an offset in its text."""
        line, column = (node.line, node.column) if offset < 0 else node.place_of(offset)
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(message, node.file, line, column, hint))

    def check(self) -> None:
        """Raise ConfigError with all the mistakes, in the order of the lines, if there are any."""
        if self.found:
            raise ConfigError.of(sorted(self.found, key=lambda p: (p.file, p.line, p.column)))

    def attempt(self, node: Node, read: Callable[[], T], default: T) -> T:
        """Return what `read` returns, or record its UsageError at the node and return the default.

        The column of a ConfigError without a file is one of the node's text.
        """
        try:
            return read()
        except ConfigError as error:
            self.add(node, error.message, error.hint, offset=error.problems[0].column - 1)
            return default
        except UsageError as error:
            self.add(node, error.message, error.hint)
            return default


class Fields:
    """Read the typed fields of a mapping; a key outside `known` is a mistake."""

    def __init__(self, node: Node, problems: Problems, what: str, known: Iterable[str] | None) -> None:
        self.node, self.problems, self.what = node, problems, what
        self._entries: dict[str, tuple[Node, Node]] = {}
        if node.kind != "map":
            if not node.is_null:
                problems.add(node, f"{what} must be a mapping, got {describe(node)}")
            return
        names = None if known is None else list(known)
        for key, value in node.entries:
            if names is not None and key.text not in names:
                problems.add(key, f"unknown key '{key.text}' in {what}", nearest_hint(key.text, names))
            else:
                self._entries[key.text] = (key, value)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[tuple[Node, Node]]:
        return iter(self._entries.values())

    def get(self, name: str) -> Node | None:
        """Return the node of a field, None when it is absent or null."""
        found = self._entries.get(name)
        return None if found is None or found[1].is_null else found[1]

    def key(self, name: str) -> Node:
        """Return the node of a field's key, or the whole mapping's when the field is absent."""
        return self._entries[name][0] if name in self._entries else self.node

    def text(self, name: str, default: str = "") -> str:
        """Return a string as written, numbers included (`1.10` stays so)."""
        node = self.get(name)
        return default if node is None else self.scalar(node, name, default)

    def scalar(self, node: Node, name: str, default: str = "") -> str:
        """Return the text of a scalar node, or record that it is none."""
        if node.kind != "scalar":
            self.problems.add(node, f"{name} must be a string, got {describe(node)}")
            return default
        return node.text

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        node = self.get(name)
        if node is None:
            return default
        if node.kind != "scalar" or node.text not in ("true", "false"):
            self.problems.add(node, f"{name} must be true or false, got {describe(node)}")
            return default
        return node.text == "true"

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        node = self.get(name)
        if node is None:
            return default
        number = int(node.text) if node.kind == "scalar" and _INTEGER.fullmatch(node.text) else None
        if number is None or not low <= number <= high:
            self.problems.add(node, f"{name} must be a whole number from {low} to {high}, got {describe(node)}")
            return default
        return number

    def choice(self, name: str, default: str, words: Sequence[str]) -> str:
        """Return one of `words`."""
        text, node = self.text(name, default), self.get(name)
        if node is not None and node.kind == "scalar" and text not in words:
            self.problems.add(
                node, f"{name} must be one of {', '.join(words)}, got '{text}'", nearest_hint(text, words)
            )
            return default
        return text

    def duration_ms(self, name: str, default: int, *, bare: str = "") -> int:
        """Return a duration under `name` or `name` with a unit (`name_ms`, `name_seconds`, …)."""
        return self._quantity(name, DURATION_SUFFIXES, default, lambda v, n: parse_duration_ms(v, n, bare=bare))

    def size_bytes(self, name: str, default: int) -> int:
        """Return a size under `name` or `name` with a unit (`name_mb`, …)."""
        return self._quantity(name, SIZE_SUFFIXES, default, parse_size_bytes)

    def _quantity(self, name: str, suffixes: Iterable[str], default: int, parse: Callable[[object, str], int]) -> int:
        written = [n for n in (name, *(name + suffix for suffix in suffixes)) if self.get(n) is not None]
        if len(written) > 1:
            self.problems.add(self.key(written[1]), f"{written[1]} and {written[0]} say the same thing twice")
        for found in written:
            node = self.get(found)
            if node is not None and node.kind == "scalar":
                return self.problems.attempt(node, lambda: parse(node.text, found), default)  # noqa: B023
            self.problems.add(self.key(found), f"{found} must be a number with a unit")
        return default

    def strings(self, name: str) -> tuple[tuple[str, Node], ...]:
        """Return a list of strings (one string is a list of one), each with its node."""
        node = self.get(name)
        if node is None:
            return ()
        nodes = node.items if node.kind == "list" else (node,)
        return tuple((self.scalar(item, name), item) for item in nodes)

    def mapping(self, name: str, known: Iterable[str] | None = None) -> Fields:
        """Return the fields of a nested mapping, empty when it is absent."""
        node = self.get(name)
        absent = Node("map", file=self.node.file, line=self.node.line, column=self.node.column)
        return Fields(absent if node is None else node, self.problems, name, known)


def with_units(names: Iterable[str], suffixes: Iterable[str] = DURATION_SUFFIXES) -> tuple[str, ...]:
    """Return each name, alone and with every unit that it may end in."""
    return tuple(name + suffix for name in names for suffix in ("", *suffixes))


def describe(node: Node) -> str:
    """Return what a node is, for a message: a short scalar as written, else its kind."""
    if node.kind == "scalar":
        return "nothing" if node.is_null else f"'{node.text[:60]}'"
    return "a list" if node.kind == "list" else "a mapping"

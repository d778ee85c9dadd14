"""Read the files that users write: inventories and workflows in YAML.

Scalars are kept as written, duplicate keys are refused, and nothing in a file can make reading it expensive: its size,
depth and number of values (aliases expanded) are bounded.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sane.core.document import Node, Problems
from sane.core.fleet.inventory import Host, Inventory, read_inventory
from sane.core.nearest import nearest, nearest_hint
from sane.core.workflow.workflow import Workflow, read_workflow
from sane.errors import ConfigError, NotFoundError, UsageError
from sane.verbs.registry import VERB_NAMES, Parameter, convert, load_verb

MAX_FILE_BYTES = 1 << 20  # the parser takes 6 to 17 µs a byte: 18 s at worst; hosts in thousands are patterns
# The keys that tell the kind of a file, and those that either kind may have beside them.
INVENTORY_KEYS = frozenset({"hosts", "groups"})
WORKFLOW_KEYS = frozenset({"stage", "switch", "revert", "hooks"})
MAX_VALUES = 500_000
MAX_DEPTH = 64
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq"))


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises NotFoundError when there is none, UsageError when it can't be read, ConfigError past 1 MB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", hint=_nearest_file(path)) from None
    except IsADirectoryError:
        names = [str(path / name) for name in _files_in(path)]
        raise UsageError(f"{path} is a directory", hint=nearest_hint("", names) or "Name a file.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_FILE_BYTES:
        hint = "Write many hosts as patterns: web[1-1000] is one line."
        raise ConfigError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB", file=str(path), hint=hint)
    return content


def _files_in(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
    except OSError:
        return []


def _nearest_file(path: Path) -> str:
    """Return the hint that names a file of nearly that name beside it, "" where there is none."""
    found = nearest(path.name, _files_in(path.parent))
    return f"Did you mean '{path.with_name(found)}'?" if found else ""


def parse_yaml(content: bytes, file: str, problems: Problems) -> Node:
    """Return the root node of a YAML document, recording duplicate keys. Raises ConfigError for what is no YAML."""
    text = _decode(content, file)
    root = _compose(text, file)
    if root is None:
        raise ConfigError("the file is empty", file=file, line=1)
    return _Conversion(file, text.split("\n"), problems).node(root, 0)


def load_inventory(path: str | Path) -> Inventory:
    """Return the inventory in a YAML file. Raises ConfigError with every mistake in it, NotFoundError, UsageError.

    Relative `key` and `known_hosts` paths start at the file's directory, and `~/` at the caller's home.
    """
    problems = Problems()
    return inventory_of(parse_yaml(read_bytes(Path(path)), str(path), problems), problems)


def inventory_of(root: Node, problems: Problems) -> Inventory:
    """Return the inventory of a root node that `parse_yaml` gave. Raises ConfigError with every mistake."""
    _refuse_kind(root, WORKFLOW_KEYS, INVENTORY_KEYS, "this is a workflow, and an inventory is needed here")
    inventory = read_inventory(root, problems)
    problems.check()
    base = Path(root.file).absolute().parent
    return replace(inventory, hosts=tuple(_with_paths(host, base) for host in inventory.hosts))


def _with_paths(host: Host, base: Path) -> Host:
    key, known_hosts = (
        str(base / os.path.expanduser(path)) if path and path != "none" else path
        for path in (host.key, host.known_hosts)
    )
    return replace(host, key=key, known_hosts=known_hosts)


def _decode(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", file=file, line=line, hint="Save it as UTF-8.") from None
    return text.replace("\r\n", "\n")


def _compose(text: str, file: str) -> Any:
    from ruamel.yaml import YAML  # 60 ms, paid only by commands that read a file
    from ruamel.yaml.error import MarkedYAMLError

    yaml = YAML(typ="safe", pure=True)  # the round-trip scanner puts BEL characters into folded text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return yaml.compose(text)  # pyright: ignore[reportUnknownMemberType]
    except MarkedYAMLError as error:
        raise _not_yaml(error, text, file) from None
    except RecursionError:
        raise ConfigError(f"values are nested more than {MAX_DEPTH} deep", file=file) from None
    except Exception as error:
        # Broad on purpose: on odd bytes the parser also raises ValueError, AttributeError, TypeError and others.
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        hint = "Remove the character." if "character" in str(error) else ""
        raise ConfigError(
            f"this is not YAML: {str(error).partition(chr(10))[0]}", file=file, line=line, hint=hint
        ) from None


def _not_yaml(error: Any, text: str, file: str) -> ConfigError:
    mark, opened = error.problem_mark or error.context_mark, error.context_mark
    bracket = text[opened.index : opened.index + 1] if opened else ""
    if mark and bracket and bracket in "[{\"'" and not text[mark.index :].strip("\0\n "):
        # What is never closed is told at the end of the file; where it was opened is what helps.
        message = f"this is not YAML: {bracket} is opened here and never closed"
        return ConfigError(message, file=file, line=opened.line + 1, column=opened.column + 1, hint="Close it.")
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = str(error.problem or error.context)
    if bracket and bracket in "[{" and opened.line + 1 < line:
        hint = f"Is the {bracket} of line {opened.line + 1} closed?"
    else:
        hint = _yaml_hint(problem, text, line)
    if problem.startswith("expected <block end>"):
        problem = "the indentation does not fit the lines above"
    return ConfigError(f"this is not YAML: {problem}", file=file, line=line, column=column, hint=hint)


_YAML_HINTS = (
    ("another document", "A file holds one document: remove the line ---, or make two files."),
    ("undefined alias", "Put quotes around a value that starts with '*', or write the anchor, &name, above it."),
    ("got ':'", "Put quotes around a value that holds ': '."),
    ("mapping values are not", "Put quotes around a value that holds ': ', or indent it as its neighbours."),
    ("cannot start any token", "Put quotes around a value that starts with %, @ or `."),
    ("expected <block end>", "Begin the line in the same column as its neighbours."),
    ("escape character", "Use single quotes, or write a backslash twice."),
)


def _yaml_hint(problem: str, text: str, line: int) -> str:
    lines = text.split("\n")
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return "Indent with spaces, not with tabs."
    if "{{" in shown:
        return "Put quotes around a value that starts with '{{'."
    other = "Check the indentation and the quotes of this line and the one before."
    return next((hint for part, hint in _YAML_HINTS if part in problem), other)


def _refuse_kind(root: Node, other: frozenset[str], own: frozenset[str], message: str) -> None:
    """Raise ConfigError for a file whose keys tell that it is of the other kind."""
    keys = {key.text for key, _ in root.entries}
    if keys & other and not keys & own:
        raise ConfigError(message, file=root.file, line=root.line, hint="Are the two swapped?")


class _Conversion:
    """Turn the parser's nodes into ours, once each, within bounds."""

    def __init__(self, file: str, lines: Sequence[str], problems: Problems) -> None:
        self.file, self.lines, self.problems = file, lines, problems
        self._done: dict[int, tuple[Node, int]] = {}
        self._under_way: set[int] = set()

    def node(self, source: Any, depth: int) -> Node:
        return self._convert(source, depth)[0]

    def _convert(self, source: Any, depth: int) -> tuple[Node, int]:
        """Return the node, and how many values it holds with its aliases expanded."""
        known = self._done.get(id(source))
        if known is not None:
            return known
        line, column = source.start_mark.line + 1, source.start_mark.column + 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"values are nested more than {MAX_DEPTH} deep", file=self.file, line=line)
        if id(source) in self._under_way:
            raise ConfigError("an alias holds itself", file=self.file, line=line)
        self._under_way.add(id(source))
        node, size = self._build(source, depth, line, column)
        self._under_way.discard(id(source))
        if size > MAX_VALUES:
            hint = "Aliases count as often as they are used."
            raise ConfigError(f"the file holds more than {MAX_VALUES:,} values", file=self.file, line=line, hint=hint)
        self._done[id(source)] = (node, size)
        return node, size

    def _build(self, source: Any, depth: int, line: int, column: int) -> tuple[Node, int]:
        place = Node("scalar", file=self.file, line=line, column=column)
        tag = str(source.tag)
        if tag.removeprefix(_TAG) not in _PLAIN_TAGS:
            written = tag.replace(_TAG, "!!")[:60]
            hint = "Remove it; put quotes around a value that starts with '!'."
            self.problems.add(place, f"'{written}' is a YAML tag, which means nothing here", hint)
        if isinstance(source.value, str):
            plain = source.style is None and tag != _TAG + "str"
            written = self._source(source, line, column)
            return replace(place, text=source.value, plain=plain, source=written), 1
        kind = "map" if type(source).__name__ == "MappingNode" else "list"
        if kind == "list":
            items = [self._convert(item, depth + 1) for item in source.value]
            return replace(place, kind="list", items=tuple(n for n, _ in items)), 1 + sum(s for _, s in items)
        pairs = [(self._convert(k, depth + 1)[0], *self._convert(v, depth + 1)) for k, v in source.value]
        entries = self._entries([(key, value) for key, value, _ in pairs])
        return replace(place, kind="map", entries=entries), 1 + sum(size for _, _, size in pairs)

    def _source(self, source: Any, line: int, column: int) -> tuple[int, int]:
        """Return the line and column where the text starts, (0, 0) when it is not written there letter by letter."""
        if source.style == "|":
            lines = source.value.split("\n")
            first = next((at for at, text in enumerate(lines) if text), 0)
            shown = self._line(line + 1 + first)
            return (line + 1, shown.index(lines[first]) + 1) if lines[first] in shown else (0, 0)
        start = column + (source.style in ("'", '"'))
        return (line, start) if self._line(line).startswith(source.value, start - 1) else (0, 0)

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if number <= len(self.lines) else ""

    def _entries(self, pairs: Sequence[tuple[Node, Node]]) -> tuple[tuple[Node, Node], ...]:
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key, value in pairs:
            if key.kind != "scalar":
                hint = "Put quotes around a value that starts with '{{'." if key.kind == "map" else ""
                self.problems.add(key, "a key must be a word", hint)
            elif key.plain and key.text == "<<":
                for source in value.items if value.kind == "list" else (value,):
                    merged = {entry[0].text: entry for entry in source.entries} | merged
            elif key.text in own:
                first = own[key.text][0].line
                self.problems.add(key, f"key '{key.text}' is already on line {first}", "Remove one of the two.")
            else:
                own[key.text] = (key, value)
        return (*own.values(), *(entry for name, entry in merged.items() if name not in own))


class RegisteredVerbs:
    """Show the registry to the reader of workflows; a verb is imported when a step names it."""

    names: Sequence[str] = VERB_NAMES

    def parameters(self, name: str) -> Sequence[Parameter]:
        """Return the parameters of a verb."""
        return load_verb(name).parameters

    def convert(self, parameter: Parameter, value: object) -> object:
        """Return a value as the parameter's type. Raises UsageError."""
        return convert(parameter, value)


def load_workflow(path: str | Path) -> Workflow:
    """Return the workflow in a YAML file. Raises ConfigError with every mistake in it, NotFoundError, UsageError."""
    problems = Problems()
    return workflow_of(parse_yaml(read_bytes(Path(path)), str(path), problems), problems)


def workflow_of(root: Node, problems: Problems) -> Workflow:
    """Return the workflow of a root node that `parse_yaml` gave. Raises ConfigError with every mistake."""
    _refuse_kind(root, INVENTORY_KEYS, WORKFLOW_KEYS, "this is an inventory, and a workflow is needed here")
    workflow = read_workflow(root, problems, RegisteredVerbs())
    problems.check()
    return workflow

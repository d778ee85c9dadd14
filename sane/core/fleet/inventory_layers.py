"""The fields that hosts, groups and the top of an inventory share: read once each, then laid over each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sane.core.document import Fields, Node, Problems, with_units
from sane.core.fleet.hostset import expand_term
from sane.core.names import check_version
from sane.core.target import parse_target
from sane.errors import UsageError

Layer = Mapping[str, Any]

_TEXTS = ("address", "user", "key", "jump", "known_hosts", "health_path", "host_dir", "target", "version")
_OTHERS = ("port", "via", "tags", "order")
_DURATIONS = with_units(("connect_timeout",))
HOST_FIELDS: tuple[str, ...] = (*_TEXTS, *_OTHERS, *_DURATIONS)
VIAS = ("ssh", "tmux", "host-tmux")

# What may hold ranges beside a name that holds them: the first name gets the first value, and so on.
_PAIRED = ("address", "port", "target")
_RANGES = re.compile(r"\[[0-9][0-9,/ -]*\]")
_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_layer(read: Fields, problems: Problems) -> Layer:
    """Return the host fields that are written at one place; None for those that are written as null."""
    layer: dict[str, Any] = {}
    for name in (*_TEXTS, *_OTHERS):
        if name in read:
            layer[name] = None if read.get(name) is None else _READERS.get(name, _text)(read, name, problems)
    if any(name in read for name in _DURATIONS):
        layer["connect_timeout_ms"] = read.duration_ms("connect_timeout", 0, bare="s") or None
    layer["vars"] = _read_vars(read, problems)
    return layer


def read_host_layer(
    read: Fields, key: Node, count: int, problems: Problems
) -> tuple[Layer, Mapping[str, Sequence[object]]]:
    """Return the fields under one key of `hosts`, and those with ranges as one value for each of its `count` names."""
    paired: dict[str, Sequence[object]] = {}
    for name in _PAIRED:
        node = read.get(name)
        if node is not None and node.kind == "scalar" and _RANGES.search(node.text):
            paired[name] = _pair(name, node, count, problems)
    rest = Node(
        "map",
        entries=tuple(entry for entry in read if entry[0].text not in paired),
        file=key.file,
        line=key.line,
        column=key.column,
    )
    return read_layer(Fields(rest, problems, read.what, None), problems), paired


def _pair(name: str, node: Node, count: int, problems: Problems) -> Sequence[object]:
    values = problems.attempt(node, lambda: expand_term(node.text), ())
    if not values:
        return [None] * count
    if len(values) != count:
        hint = "Both need as many: the first name gets the first value, and so on."
        problems.add(node, f"{name} has {len(values)} values for {count} names", hint)
        return [None] * count
    results, before = list[object](), len(problems.found)
    for value in values:
        single = Fields(_mapping(name, _with_text(node, value)), problems, name, None)
        results.append(_READERS.get(name, _text)(single, name, problems))
        if len(problems.found) > before:  # the same mistake in each of thousands says nothing more
            return [None] * count
    return results


def _mapping(name: str, value: Node) -> Node:
    return Node("map", entries=((_with_text(value, name), value),), file=value.file, line=value.line)


def _with_text(node: Node, text: str) -> Node:
    return Node("scalar", text, file=node.file, line=node.line, column=node.column)


def merge(layers: Sequence[Layer], name: str) -> dict[str, Any]:
    """Return a host's fields, the last layer first in right; `{{ name }}` and `{{ address }}` are filled in."""
    merged: dict[str, Any] = {"vars": {}, "tags": ()}
    for layer in layers:
        tags, variables = merged["tags"], merged["vars"]
        merged |= layer
        merged["tags"] = (*tags, *(t for t in layer.get("tags") or () if t not in tags))
        merged["vars"] = {**variables, **layer.get("vars", {})}
    merged["order"] = merged.get("order") or 0
    address = _fill(merged.get("address") or name, {"name": name, "address": name})
    filled = {key: _fill(value, {"name": name, "address": address}) for key, value in merged.items()}
    return {**filled, "address": address}


def _fill(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: names.get(found[1], found[0]), value) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _fill(item, names) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_fill(item, names) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _check_references(node: Node, problems: Problems) -> bool:
    if node.kind != "scalar":
        children = [*node.items, *(value for _, value in node.entries)]
        checked = [_check_references(child, problems) for child in children]
        return all(checked)
    wrong = [found[1] for found in _REFERENCE.finditer(node.text) if found[1] not in ("name", "address")]
    if wrong:
        problems.add(
            node, f"'{{{{ {wrong[0]} }}}}' is unknown here", "An inventory knows {{ name }} and {{ address }}."
        )
    return not wrong


def _read_vars(read: Fields, problems: Problems) -> dict[str, Any]:
    node = read.get("vars")
    if node is None:
        return {}
    names = Fields(node, problems, "vars", None)
    return {key.text: value.value() for key, value in names if _check_references(value, problems)}


def _text(read: Fields, name: str, problems: Problems) -> str | None:
    node, text = read.get(name), read.text(name)
    # A health_path may use every name that a step may: it is filled in when the deployment is known.
    if node is None or (name != "health_path" and not _check_references(node, problems)):
        return None
    if _CONTROL.search(text) or (text.startswith("-") and name in ("address", "user", "jump")):
        problems.add(node, f"{name} can't be {text[:80]!r}")
        return None
    return text or None


def _port(read: Fields, name: str, problems: Problems) -> int | None:
    return read.integer(name, 0, low=1, high=65_535) or None


def _via(read: Fields, name: str, problems: Problems) -> str | None:
    return read.choice(name, "", VIAS) or None


def _tags(read: Fields, name: str, problems: Problems) -> tuple[str, ...]:
    return tuple(text for text, _ in read.strings(name))


def _order(read: Fields, name: str, problems: Problems) -> int:
    return read.integer(name, 0, low=-1_000_000, high=1_000_000)


def _target(read: Fields, name: str, problems: Problems) -> str | None:
    text, node = _text(read, name, problems), read.get(name)
    try:
        return str(parse_target(text)) if text and "{{" not in text else text
    except UsageError as error:
        problems.add(node or read.node, error.message, error.hint)
        return None


def _host_dir(read: Fields, name: str, problems: Problems) -> str | None:
    text = _text(read, name, problems)
    if text is not None and not text.startswith(("/", "~/")):
        hint = "Write it from the root or from the host's home: /var/lib/sane, ~/.sane-{{ name }}."
        problems.add(read.get(name) or read.node, f"host_dir can't be {text[:80]!r}", hint)
        return None
    return text


def _version(read: Fields, name: str, problems: Problems) -> str | None:
    text = _text(read, name, problems)
    if text is not None:
        problems.attempt(read.get(name) or read.node, lambda: check_version(_REFERENCE.sub("x", text)), "")
    return text


_READERS: dict[str, Callable[[Fields, str, Problems], object]] = {
    "port": _port,
    "via": _via,
    "tags": _tags,
    "order": _order,
    "target": _target,
    "host_dir": _host_dir,
    "version": _version,
}

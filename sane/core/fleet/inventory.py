"""The hosts of an inventory, with what the file says of each.

A host's value for a field is the most particular one: its own, else its groups' (the last group in the file that has
it, children after their parents), else the file's top level. A field that is written as null has no value, whatever
is behind it. Tags add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sane.core.document import Fields, Node, Problems
from sane.core.fleet.hostset import MAX_NAMES, expand, select
from sane.core.fleet.inventory_layers import HOST_FIELDS, Layer, merge, read_host_layer, read_layer
from sane.core.nearest import nearest_hint
from sane.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
# Resolvers take a number for an IPv4 address (inet_aton): `7` would be 0.0.0.7, `10.1` 10.0.0.1.
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]+|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]+|[0-9]+))*")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Host:
    """Describe a host as an inventory does.

    `address` is what to connect to, the name itself where none is given; None for user, port, key and the like leaves
    them to the ssh configuration. `jump` is one or more hosts in the order of the connection, parted by commas.
    `host_dir` is where the host keeps its records, `~/` its own home, in place of `~/.sane`; the variable of that name
    says the same. `target`, in the grammar of targets, replaces `ssh:NAME`. `version` overrides the deployment's.
    `order` sorts a rollout, the smallest first.
    """

    name: str
    address: str = ""
    groups: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict[str, Any])
    user: str | None = None
    port: int | None = None
    key: str | None = None
    jump: str | None = None
    known_hosts: str | None = None
    connect_timeout_ms: int | None = None
    health_path: str | None = None
    host_dir: str | None = None
    via: str | None = None
    target: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    order: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what templates and conditions see of the host."""
        return {
            "name": self.name,
            "address": self.address,
            "groups": list(self.groups),
            "tags": list(self.tags),
            "user": self.user,
            "port": self.port,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Inventory:
    """Hold the hosts in the order of a rollout, and each group's members in that order."""

    hosts: tuple[Host, ...]
    groups: Mapping[str, tuple[str, ...]]
    file: str = ""

    def select(self, pattern: str = "all") -> tuple[Host, ...]:
        """Return the hosts that a pattern means, in inventory order.

        Raises NotFoundError for a term that matches none, UsageError for a mistake in the pattern.
        """
        chosen = frozenset(select(pattern, [host.name for host in self.hosts], self.groups))
        return tuple(host for host in self.hosts if host.name in chosen)

    def find(self, name: str) -> Host | None:
        """Return the host of that name, None when there is none."""
        return next((host for host in self.hosts if host.name == name), None)


class _Group(NamedTuple):
    name: str
    fields: Fields
    members: frozenset[str]
    children: tuple[str, ...]


class _Entry(NamedTuple):
    """One key under `hosts`: its names, and the fields that they share."""

    names: tuple[str, ...]
    key: Node
    fields: Fields


def read_inventory(node: Node, problems: Problems) -> Inventory:
    """Return the inventory of a file's root node, recording every mistake; it is whole only when there are none."""
    known = ("name", "description", "hosts", "groups", "vars", *HOST_FIELDS)
    top = Fields(node, problems, "the inventory", known)
    entries = list(_read_entries(top, problems))
    names = [name for entry in entries for name in entry.names]
    if not names and not problems.found:
        problems.add(node, "the inventory has no hosts", "Write hosts: with at least one name under it.")
    groups = _read_groups(top, names, problems)
    order = _parents_first(groups, problems)
    members = _members(groups, order)
    base = read_layer(top, problems)
    layers = {name: read_layer(groups[name].fields, problems) for name in order}
    hosts = [host for entry in entries for host in _read_hosts(entry, base, layers, members, problems)]
    hosts.sort(key=lambda host: host.order)
    _check_jumps(hosts, entries, problems)
    listed = {name: tuple(h.name for h in hosts if h.name in members[name]) for name in groups}
    return Inventory(tuple(hosts), listed, node.file)


def _read_entries(top: Fields, problems: Problems) -> Iterator[_Entry]:
    seen: dict[str, Node] = {}
    node = top.get("hosts")
    if node is None or (node.kind == "scalar" and not node.text):
        return
    for key, value in _host_pairs(node, problems):
        names = _expand_key(key, problems)
        for name in names:
            if name in seen:
                problems.add(key, f"host '{name}' is already on line {seen[name].line}")
            seen[name] = key
        if len(seen) > MAX_NAMES:
            problems.add(key, f"the inventory has more than {MAX_NAMES:,} hosts")
            return
        yield _Entry(names, key, Fields(value, problems, f"host '{key.text}'", (*HOST_FIELDS, "vars", "name")))


def _host_pairs(node: Node, problems: Problems) -> Iterator[tuple[Node, Node]]:
    empty = Node("map", file=node.file, line=node.line, column=node.column)
    if node.kind == "map":
        yield from node.entries
    for item in node.items if node.kind == "list" else [node] if node.kind == "scalar" else []:
        named = next((value for key, value in item.entries if key.text == "name"), None)
        if item.kind == "scalar":
            yield item, empty
        elif named is not None and named.kind == "scalar":
            yield named, item
        elif item.kind == "map" and len(item.entries) == 1:
            yield item.entries[0]
        else:
            problems.add(item, "a host in a list must be a name, or a mapping with a name")


def _expand_key(key: Node, problems: Problems) -> tuple[str, ...]:
    names = problems.attempt(key, lambda: expand(key.text), ())
    for name in names:
        if name == "all":
            problems.add(key, "'all' can't be the name of a host", "It means every host; choose another word.")
            return ()
        if not _NAME.fullmatch(name):
            hint = "Write letters, digits, '.', '_' and '-'; put anything else in address."
            problems.add(key, f"'{name[:80]}' can't be the name of a host", hint)
            return ()
        if _NUMBER.fullmatch(name) and not _IPV4.fullmatch(name):
            hint = "Give it a name with a letter, and put an address in address."
            problems.add(key, f"'{name[:80]}' is a number, not the name of a host", hint)
            return ()
    return names


def _read_groups(top: Fields, names: Sequence[str], problems: Problems) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    valid = [key.text for key, _ in top.mapping("groups")]
    taken = frozenset(names)
    for key, value in top.mapping("groups"):
        if not _NAME.fullmatch(key.text) or key.text == "all":
            hint = "It means every host." if key.text == "all" else "Write letters, digits, '.', '_' and '-'."
            problems.add(key, f"'{key.text[:80]}' can't be the name of a group", hint)
        if key.text in taken:
            problems.add(key, f"'{key.text}' is the name of a host and of a group", "Rename one of the two.")
        known = ("hosts", "vars", "children", *HOST_FIELDS)
        node = Node("map", entries=((_as_key(value, "hosts"), value),)) if value.kind in ("list", "scalar") else value
        read = Fields(node if not value.is_null else value, problems, f"group '{key.text}'", known)
        children = tuple(_read_child(child, where, valid, problems) for child, where in read.strings("children"))
        groups[key.text] = _Group(key.text, read, _read_members(read, names, problems), children)
    return groups


def _as_key(node: Node, name: str) -> Node:
    return Node("scalar", name, file=node.file, line=node.line, column=node.column)


def _read_child(name: str, node: Node, valid: Iterable[str], problems: Problems) -> str:
    if name not in valid:
        problems.add(node, f"there is no group '{name}'", nearest_hint(name, valid))
    return name


def _read_members(read: Fields, names: Sequence[str], problems: Problems) -> frozenset[str]:
    found: set[str] = set()
    for pattern, node in read.strings("hosts"):
        try:
            found.update(select(pattern, names, {}))
        except UsageError as error:
            problems.add(node, error.message.replace("host or group", "host"), error.hint)
    return frozenset(found)


def _parents_first(groups: Mapping[str, _Group], problems: Problems) -> list[str]:
    """Return the groups in the file's order, with each group behind all its parents."""
    order: list[str] = []
    done: set[str] = set()
    parents = {name: [g.name for g in groups.values() if name in g.children] for name in groups}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = [*path[path.index(name) :], name]
            problems.add(groups[name].fields.key("children"), f"groups are children of each other: {' < '.join(cycle)}")
        elif name not in done and len(path) < 100:
            for parent in parents[name]:
                visit(parent, (*path, name))
            if name not in done:
                done.add(name)
                order.append(name)

    for name in groups:
        visit(name, ())
    return order


def _members(groups: Mapping[str, _Group], order: Sequence[str]) -> dict[str, frozenset[str]]:
    members: dict[str, frozenset[str]] = {}
    for name in reversed(order):  # children before their parents
        children = [members.get(child, frozenset[str]()) for child in groups[name].children]
        members[name] = groups[name].members.union(*children)
    return members


def _read_hosts(
    entry: _Entry, base: Layer, layers: Mapping[str, Layer], members: Mapping[str, frozenset[str]], problems: Problems
) -> Iterator[Host]:
    own_layer, paired = read_host_layer(entry.fields, entry.key, len(entry.names), problems)
    for index, name in enumerate(entry.names):
        groups = tuple(group for group in layers if name in members[group])
        pair = {field_name: values[index] for field_name, values in paired.items()}
        values = merge([base, *(layers[group] for group in groups), {**own_layer, **pair}], name)
        yield Host(name=name, groups=groups, **values)


def _check_jumps(hosts: Sequence[Host], entries: Sequence[_Entry], problems: Problems) -> None:
    """Record hosts whose jump hosts lead back to them; names outside the inventory are ssh's to resolve."""
    hops = {host.name: [_host_part(hop) for hop in (host.jump or "").split(",") if hop.strip()] for host in hosts}
    safe, told = set[str](), set[str]()
    for entry in entries:
        for name in entry.names:
            path = [] if name in told else _cycle(name, hops, safe)
            if path:
                told.update(path)  # the same circle, begun elsewhere, says nothing more
                hint = "The first hop must be a host that can be reached from here."
                problems.add(entry.key, f"jump hosts lead back to each other: {' > '.join(path)}", hint)
                break


def _host_part(hop: str) -> str:
    return hop.strip().rpartition("@")[2]


def _cycle(start: str, hops: Mapping[str, Sequence[str]], safe: set[str]) -> list[str]:
    """Return the path from `start` back to itself, empty when there is none; `safe` remembers what leads nowhere."""
    stack, seen = [(start, [start])], set[str]()
    while stack:
        name, path = stack.pop()
        for hop in hops.get(name, ()):
            if hop == start:
                return [*path, start]
            if hop in hops and hop not in seen and hop not in safe:
                seen.add(hop)
                stack.append((hop, [*path, hop]))
    safe.add(start)
    return []

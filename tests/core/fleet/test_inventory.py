"""Inventories: layers, groups, patterns, and every mistake at its line."""

from __future__ import annotations

import textwrap

import pytest

from sane.core.document import Problems, node_of
from sane.core.fleet.inventory import Inventory, read_inventory
from sane.errors import ConfigError, NotFoundError
from sane.operations.files import parse_yaml


def inventory(text: str) -> Inventory:
    problems = Problems()
    found = read_inventory(parse_yaml(textwrap.dedent(text).encode(), "inv.yaml", problems), problems)
    problems.check()
    return found


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as caught:
        inventory(text)
    return [(problem.line, problem.message) for problem in caught.value.problems]


FULL = """
    user: deploy
    known_hosts: none
    vars: {region: eu, tier: 0}
    tags: [all]
    hosts:
      web[01-03]:
        address: 10.0.0.[1-3]
        port: 22[01-03]
        health_path: "{{ root }}/{{ name }}.json"
        vars: {label: "{{ name }}@{{ address }}", tier: 3}
      db1: {user: postgres, jump: web01, order: -1, key: ~}
    groups:
      site: {children: [web, db], user: site, vars: {tier: 1, from: site}, key: id_site}
      web:
        hosts: web*
        user: www
        version: 2.0
        connect_timeout: 3
        vars: {tier: 2}
        tags: front
      db: [db1]
"""


def test_layers() -> None:
    found = inventory(FULL)
    assert [host.name for host in found.hosts] == ["db1", "web01", "web02", "web03"]
    web = found.find("web02")
    db = found.find("db1")
    assert web is not None
    assert db is not None
    assert (web.address, web.port, web.user, web.version) == ("10.0.0.2", 2202, "www", "2.0")
    assert web.vars == {"region": "eu", "tier": 3, "from": "site", "label": "web02@10.0.0.2"}
    assert (web.groups, web.tags, web.connect_timeout_ms, web.key) == (
        ("site", "web"),
        ("all", "front"),
        3000,
        "id_site",
    )
    assert web.health_path == "{{ root }}/web02.json"
    assert (db.user, db.key, db.address, db.jump, db.vars["tier"]) == ("postgres", None, "db1", "web01", 1)
    assert found.groups == {
        "site": ("db1", "web01", "web02", "web03"),
        "web": ("web01", "web02", "web03"),
        "db": ("db1",),
    }


def test_a_directory_for_the_records_of_each_host() -> None:
    found = inventory(
        "{host_dir: /var/lib/sane, hosts: {'n[1-2]': {host_dir: '~/.sane-{{ name }}'}, b: , c: {host_dir: ~}}}"
    )
    assert [host.host_dir for host in found.hosts] == ["~/.sane-n1", "~/.sane-n2", "/var/lib/sane", None]


def test_select() -> None:
    found = inventory(FULL)
    assert [host.name for host in found.select("site!web02")] == ["db1", "web01", "web03"]
    with pytest.raises(NotFoundError):
        found.select("wbe")


@pytest.mark.parametrize(
    "hosts", ["[a, b]", "{a: , b: }", "[{name: a}, {b: {}}]", "\n  - a\n  - b", "'a,b'", "\n  - 'a,b'", "\n  'a,b': {}"]
)
def test_ways_to_write_hosts(hosts: str) -> None:
    assert [host.name for host in inventory(f"hosts: {hosts}").hosts] == ["a", "b"]


def test_values_stay_as_written() -> None:
    found = inventory(
        "{hosts: [a], version: 1.10, vars: {v: 1.10, w: 1.5, o: 012, y: yes, t: true, n: 7, z: ~, q: '7'}}"
    )
    assert found.hosts[0].version == "1.10"
    assert found.hosts[0].vars == {
        "v": "1.10",
        "w": 1.5,
        "o": "012",
        "y": "yes",
        "t": True,
        "n": 7,
        "z": None,
        "q": "7",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts:\n  a:\n    usr: x", [(3, "unknown key 'usr' in host 'a'")]),
        ("usr: x\nhosts: [a]", [(1, "unknown key 'usr' in the inventory")]),
        ("hosts:\n  a: {}\n  a: {}", [(3, "key 'a' is already on line 2")]),
        ("hosts:\n  web[1-3]: {}\n  web2: {}", [(3, "host 'web2' is already on line 2")]),
        ("hosts: []", [(1, "the inventory has no hosts")]),
        ("hosts:\n", [(1, "the inventory has no hosts")]),
        ("vars: {}", [(1, "the inventory has no hosts")]),
        ("hosts: {a: 5}", [(1, "host 'a' must be a mapping, got '5'")]),
        ("[a]", [(1, "the inventory must be a mapping, got a list")]),
        ("hosts:\n  a[1-2]:\n    address: b[1-3]", [(3, "address has 3 values for 2 names")]),
        ("hosts:\n  a[1-2]:\n    port: 6553[5-6]", [(3, "port must be a whole number from 1 to 65535, got '65536'")]),
        ("hosts: [a]\nport: x", [(2, "port must be a whole number from 1 to 65535, got 'x'")]),
        ("hosts: [a]\ngroups:\n  g: {hosts: b}", [(3, "no host matches 'b'")]),
        ("hosts: [a]\ngroups:\n  g: {children: [h]}", [(3, "there is no group 'h'")]),
        ("hosts: [a]\ngroups:\n  a: [a]", [(3, "'a' is the name of a host and of a group")]),
        ("hosts: [a]\ngroups:\n  g: {children: [g]}", [(3, "groups are children of each other: g < g")]),
        ("hosts:\n  a: {jump: b}\n  b: {jump: c}\n  c: {jump: 'x,u@b'}", [
            (3, "jump hosts lead back to each other: b > c > b"),
        ]),
        ("hosts: [a]\nvia: telnet", [(2, "via must be one of ssh, tmux, host-tmux, got 'telnet'")]),
        ("hosts: [a]\ntarget: 'ssh:'", [(2, "target 'ssh:' is incomplete")]),
        ("hosts: [a]\nuser: -oProxyCommand=x", [(2, "user can't be '-oProxyCommand=x'")]),
        ("hosts: [a]\nhost_dir: kept", [(2, "host_dir can't be 'kept'")]),
        ("hosts: [a]\nversion: 1 0;x", [(2, "version '1 0;x' can't be used")]),
        ("hosts: ['a b']", [(1, "'a b' can't be the name of a host")]),
        ("hosts: 7", [(1, "'7' is a number, not the name of a host")]),
        ("hosts: {10.1: {}}", [(1, "'10.1' is a number, not the name of a host")]),
        ("hosts: [0x7f000001]", [(1, "'0x7f000001' is a number, not the name of a host")]),
        ("hosts: [all]", [(1, "'all' can't be the name of a host")]),
        ("hosts:\n  a: {address: '{{ x }}'}", [(2, "'{{ x }}' is unknown here")]),
        ("hosts: [a]\nconnect_timeout: 5 w", [(2, "connect_timeout has an unknown unit 'w', got '5 w'")]),
        ("hosts: ['web[1-200000]']", [(1, "host pattern 'web[1-200000]' means more than 100,000 names")]),
    ],
)  # fmt: skip
def test_mistakes(text: str, expected: list[tuple[int, str]]) -> None:
    assert mistakes(text) == expected


def test_an_address_is_a_name_and_so_is_a_number_with_a_letter() -> None:
    assert [host.name for host in inventory("hosts: [10.0.0.7, 7a, node-7]").hosts] == ["10.0.0.7", "7a", "node-7"]


def test_a_mistake_in_a_group_is_reported_once() -> None:
    assert len(mistakes("hosts: ['web[1-500]']\ngroups:\n  g: {hosts: all, port: x}")) == 1


def test_all_mistakes_at_once_and_twenty_listed() -> None:
    text = "hosts: [a]\n" + "".join(f"x{n}: 1\n" for n in range(30))
    with pytest.raises(ConfigError) as caught:
        inventory(text)
    assert len(caught.value.problems) == 30
    lines = caught.value.message.split("\n")
    assert lines[0].startswith("inv.yaml:2: unknown key 'x0'")
    assert (len(lines), lines[-1]) == (21, "and 10 more")


def test_a_large_inventory_from_a_pattern() -> None:
    found = inventory("hosts:\n  web[1-20000]: {address: '10.0.[0-199].[0-99]'}\ngroups:\n  g: {hosts: 'web[1-10000]'}")
    assert found.hosts[-1].address == "10.0.199.99"
    assert len(found.select("@g")) == 10_000


def test_from_no_file() -> None:
    problems = Problems()
    found = read_inventory(node_of({"hosts": {"a": {"port": 22}}, "vars": {"x": [1, {"y": None}]}}), problems)
    problems.check()
    assert (found.hosts[0].port, found.hosts[0].vars) == (22, {"x": [1, {"y": None}]})

"""What hosts say of themselves, where one of them says nonsense: the real shell text, the real log."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sane.core.host.record import HostRecord, record_line
from sane.core.rollout.controller import policy_as_json
from sane.core.rollout.policy import RolloutPolicy
from sane.operations.truth import adopt, whatis
from sane.store import open_store
from sane.store.base import Store

RECORD = HostRecord("1.0", "sha", 1, "app-1", 1_700_000_000, proven=True)
SOURCE: dict[str, Any] = {
    "workflow": {"path": "w.yaml", "text": "name: app\nstage:\n  - {name: s, run-command: 'true'}\n"},
    "via": "ssh",
    "given": {},
    "hosts": 1,
    "version": "1.0",
    "policy": policy_as_json(RolloutPolicy()),
}


@pytest.fixture
async def store(short_dir: Path) -> AsyncIterator[Store]:
    """Yield an empty log."""
    opened = await open_store(None, short_dir / "state")
    yield opened
    await opened.close()


def inventory_of(directory: Path) -> Path:
    """Write an inventory of two hosts that are this machine, each with a place of its own for its records."""
    hosts = {name: {"target": "local:", "vars": {"host_dir": str(directory / name)}} for name in ("bad", "good")}
    path = directory / "hosts.yaml"
    path.write_text(json.dumps({"hosts": hosts}))
    return path


def keep(home: Path, key: str, line: str, source: str = "") -> None:
    """Write a record as a host has it, with its source."""
    directory = home / "keys" / key
    (directory / "sources").mkdir(parents=True)
    packed = base64.b64encode(zlib.compress(source.encode("utf-8", "surrogatepass")))
    name = hashlib.sha256(packed).hexdigest()
    (directory / "sources" / name).write_bytes(packed)
    for file in ("current", "history"):
        (directory / file).write_text(line.replace('"source": ""', f'"source": "{name}"') + "\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"revision": 1', '"revision": 1e999'),
        ('"revision": 1', f'"revision": {2**70}'),
        ('"at": 1700000000', f'"at": {2**60}'),
        ('"at": 1700000000', f'"at": {-(2**60)}'),
        ('"deployment": "bad-1"', '"deployment": "\\u0000"'),
        ('"version": "1.0"', '"version": "\\ud800"'),
        ('"version": "1.0"', '"version": ' + "[" * 3_500),
    ],
)
async def test_a_damaged_record_of_one_host_hides_no_other(tmp_path: Path, store: Store, old: str, new: str) -> None:
    lines = {name: record_line(replace(RECORD, deployment=f"{name}-1")) for name in ("bad", "good")}
    assert old in lines["bad"]
    keep(tmp_path / "bad", "bad", lines["bad"].replace(old, new), json.dumps(SOURCE))
    keep(tmp_path / "good", "app", lines["good"], json.dumps(SOURCE))
    bad, good = await whatis(["all"], inventory_of(tmp_path))
    assert bad.truth is not None
    assert good.truth is not None
    assert [key.current for key in bad.truth.keys] == [None]
    assert [key.current.deployment for key in good.truth.keys if key.current] == ["good-1"]
    adopted = await adopt(store, tmp_path / "hosts.yaml")
    assert ([found["deployment"] for found in adopted.adopted], adopted.conflicts) == (["good-1"], [])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("hosts", '"x"'),
        ("hosts", "[]"),
        ("hosts", "1e999"),
        ("hosts", str(2**70)),
        ("policy", '"x"'),
        ("policy", "null"),
        ("policy", '{"max_parallel":"1","canary":"1","max_failures":"1","min_healthy_ms":"x"}'),
        ("workflow", "[]"),
        ("workflow", "{}"),
        ("workflow", '{"path":"w","text":"\\ud800"}'),
        ("workflow", '{"path":"w","text":"' + "[" * 20_000 + '"}'),
        ("given", "[" * 20_000 + "]" * 20_000),
        ("via", "NaN"),
    ],
)
async def test_a_damaged_source_of_one_deployment_keeps_no_other_out(
    tmp_path: Path, store: Store, part: str, value: str
) -> None:
    source = json.dumps({**SOURCE, part: "HERE"}).replace('"HERE"', value)
    keep(tmp_path / "bad", "bad", record_line(replace(RECORD, deployment="bad-1")), source)
    keep(tmp_path / "good", "good", record_line(replace(RECORD, deployment="good-1")), json.dumps(SOURCE))
    adopted = await adopt(store, inventory_of(tmp_path))
    assert [found["deployment"] for found in adopted.adopted] == ["good-1"]
    assert [found["deployment"] for found in adopted.conflicts] == ["bad-1"]

"""What a host keeps of old operations and sources, by the real script in a real shell."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from sane.core.host.record import KEPT_OPERATIONS, HostRecord, parse_look, write_record
from sane.core.host.source import MAX_PACKED_BYTES, pack_source, unpack_source


def write(home: Path, record: HostRecord, source: bytes = b"") -> None:
    command = write_record("app", record, source)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    ended = subprocess.run(["sh", "-c", command.script], env=env, input=command.stdin, capture_output=True, timeout=10)
    assert (ended.returncode, ended.stderr) == (0, b"")


def operation(home: Path, name: str, at: int, *, ended: bool = True) -> None:
    directory = home / ".sane" / "operations" / name
    directory.mkdir(parents=True)
    if ended:
        (directory / "receipt").write_text("{}")
    os.utime(directory, (at, at))


def test_operations_of_this_deployment_and_those_that_run_stay(tmp_path: Path) -> None:
    for number in range(KEPT_OPERATIONS + 5):
        operation(tmp_path, f"app-2-abc.web1.switch.1.{number}", 1_000 + number)
    operation(tmp_path, "app-1-abc.web1.switch.1.1", 10)
    operation(tmp_path, "app-1-abc.web1.switch.1.2", 11, ended=False)
    write(tmp_path, HostRecord("2.0", "d", 2, "app-2-abc", 7))
    left = set(os.listdir(tmp_path / ".sane" / "operations"))
    assert "app-1-abc.web1.switch.1.1" not in left
    assert "app-1-abc.web1.switch.1.2" in left
    assert len(left) == KEPT_OPERATIONS + 6


def test_sources_go_with_the_last_record_that_names_them(tmp_path: Path) -> None:
    first, packed = pack_source({"workflow": "one"})
    write(tmp_path, HostRecord("1.0", "d1", 1, "app-1", 7, first), packed)
    for number in range(2, 110):
        name, line = pack_source({"workflow": "other"})
        write(tmp_path, HostRecord("2.0", "d2", number, f"app-{number}", 8, name), line)
        if number == 2:
            assert set(os.listdir(tmp_path / ".sane/keys/app/sources")) == {first, name}
    (kept,) = (tmp_path / ".sane/keys/app/sources").iterdir()
    assert unpack_source(kept.name, kept.read_bytes()) == {"workflow": "other"}


def test_a_source_is_read_back_whole_or_not_at_all() -> None:
    name, packed = pack_source({"workflow": {"text": "ä\udcff"}})
    assert unpack_source(name, packed) == {"workflow": {"text": "ä\udcff"}}
    assert unpack_source(name, packed[:-4]) is None
    assert unpack_source("0" * 64, packed) is None
    assert pack_source({"x": os.urandom(MAX_PACKED_BYTES).hex()}) == ("", b"")
    assert parse_look(b"").record is None


@pytest.mark.parametrize(
    "text", ["[" * 20_000, '{"a":' * 20_000, '{"a":1e999}', '{"a":' + "9" * 5_000 + "}", "[]", "", "{"]
)
def test_what_is_no_source_is_none(text: str) -> None:
    packed = base64.b64encode(zlib.compress(text.encode()))
    assert unpack_source(hashlib.sha256(packed).hexdigest(), packed) is None

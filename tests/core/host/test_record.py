"""What a host records of its deployments, by the real shell text."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.command import Command
from sane.core.host.record import (
    HISTORY_LINES,
    HostFacts,
    HostRecord,
    look,
    mark_proven,
    parse_all,
    parse_look,
    parse_record,
    read_all,
    record_line,
    write_record,
)
from sane.core.host.source import pack_source
from sane.errors import UsageError


def run(command: Command, home: Path) -> bytes:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    done = subprocess.run(["sh", "-c", command.script], env=environ, capture_output=True, timeout=10, check=True)
    return done.stdout


def record(revision: int) -> HostRecord:
    return HostRecord(f"1.{revision}", "sha", revision, f"d{revision}", 100 + revision)


def test_a_host_that_never_had_the_key_has_no_record_and_no_problem(tmp_path: Path) -> None:
    facts = parse_look(run(look("app", ["sh", "no-such-tool-here"]), tmp_path))
    assert facts.record is None
    assert facts.missing == ("no-such-tool-here",)
    assert facts.problem == "missing on the host: no-such-tool-here"
    assert facts.now_s > 1_700_000_000
    assert parse_look(run(look("app"), tmp_path)).problem == ""


def test_what_is_written_is_read_back_and_the_history_grows(tmp_path: Path) -> None:
    for revision in (1, 2):
        run(write_record("app", record(revision)), tmp_path)
    assert parse_look(run(look("app"), tmp_path)).record == record(2)
    (found,) = parse_all(run(read_all(), tmp_path))
    assert (found.key, found.current, found.history) == ("app", record(2), (record(1), record(2)))


def test_only_what_was_proven_is_marked_so(tmp_path: Path) -> None:
    back = replace(record(1), deployment="d2", reverted=True)
    for kept in (record(1), record(2), back):
        run(write_record("app", kept), tmp_path)
    run(mark_proven("app", "d1"), tmp_path)
    (found,) = parse_all(run(read_all(), tmp_path))
    assert (found.history, found.current) == ((replace(record(1), proven=True), record(2), back), back)
    run(mark_proven("app", "d2", reverted=True), tmp_path)
    (found,) = parse_all(run(read_all(), tmp_path))
    assert [kept.proven for kept in found.history] == [True, False, True]
    assert found.current == replace(back, proven=True)
    run(mark_proven("other", "d1"), tmp_path)  # nothing is there, and nothing is made
    assert not (tmp_path / ".sane/keys/other").exists()


def test_the_history_is_bounded(tmp_path: Path) -> None:
    history = tmp_path / ".sane/keys/app/history"
    history.parent.mkdir(parents=True)
    history.write_text("x\n" * 500)
    run(write_record("app", record(1)), tmp_path)
    assert len(history.read_text().splitlines()) == HISTORY_LINES


def test_values_are_data(tmp_path: Path) -> None:
    nasty = HostRecord("1'; touch pwned; \"$(touch pwned)`touch pwned`\n", "é", 1, "d", 1)
    run(write_record("app", nasty), tmp_path)
    assert parse_look(run(look("app"), tmp_path)).record == nasty
    assert not list(tmp_path.rglob("pwned"))


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".sane").write_text("a file in the way")
    assert "can't be written" in parse_look(run(look("app"), tmp_path)).problem


def test_a_full_disk_is_a_problem() -> None:
    assert "No space left" in HostFacts(free_kb=3).problem


@pytest.mark.parametrize(
    "text", ["", "{}", "null", '{"version":1}', "[]", "\x00", "[" * 20_000, '{"a":' * 20_000, "\ud800"]
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert parse_record(text) is None


FIELDS = st.sampled_from([field.name for field in fields(HostRecord)])
VALUES = st.sampled_from(
    [
        "1e999",
        "NaN",
        "-1",
        str(2**63),
        "9" * 5_000,
        '"\\ud800"',
        '"\\u0000"',
        "[" * 2_000,
        "[]",
        "true",
        "1.5",
        '"7"',
        "null",
    ]
)


@given(st.text() | st.dictionaries(FIELDS, VALUES).map(lambda new: changed(record(1), new)))
def test_any_text_is_a_record_that_can_be_kept_or_none(text: str) -> None:
    found = parse_record(text)
    if found is not None:
        record_line(found).encode()
        assert parse_record(record_line(found)) == found
        assert abs(found.revision) < 2**53
        assert time.strftime("%Y", time.localtime(found.at))
        assert "\0" not in found.version + found.deployment


def changed(kept: HostRecord, new: dict[str, str]) -> str:
    """Return the line of a record with the JSON text of some fields put in the place of their own."""
    values = {name: json.dumps(value) for name, value in asdict(kept).items()} | new
    return "{" + ",".join(f'"{name}":{value}' for name, value in values.items()) + "}"


@given(
    st.binary() | st.lists(st.sampled_from([b"now ", b"free_kb ", b"record ", b"9" * 5_000, b"{", b"\n"])).map(b"".join)
)
def test_any_answer_to_a_look_is_read(output: bytes) -> None:
    assert parse_look(output).record is None


def test_a_number_of_5000_digits_is_unknown() -> None:
    facts = parse_look(b"now " + b"9" * 5_000 + b"\nfree_kb " + b"9" * 5_000)
    assert (facts.now_s, facts.free_kb) == (0, None)


def test_a_key_that_could_leave_its_directory_is_refused() -> None:
    with pytest.raises(UsageError):
        look("../x")


def test_names_that_share_a_home_write_at_the_same_time_and_none_is_lost(tmp_path: Path) -> None:
    sources = [pack_source({"workflow": str(number)}) for number in range(12)]
    records = [replace(record(number), source=sources[number][0]) for number in range(12)]
    run(write_record("app", record(99)), tmp_path)
    commands = [write_record("app", r, packed) for r, (_, packed) in zip(records, sources, strict=True)]
    commands += [mark_proven("app", "d99") for _ in range(4)]
    assert in_one_home(commands, tmp_path) == []
    (found,) = parse_all(run(read_all(), tmp_path))
    assert sorted(r.revision for r in found.history) == [*range(12), 99]
    assert found.current in records
    kept = tmp_path / ".sane/keys/app"
    assert sorted(os.listdir(kept)) == ["current", "history", "sources"]
    assert {name: (kept / "sources" / name).read_bytes() for name in os.listdir(kept / "sources")} == dict(sources)


def in_one_home(commands: Sequence[Command], home: Path) -> list[bytes]:
    """Run all at the same time; return what those that failed said."""
    started = [start(command, home) for command in commands]
    for process, command in zip(started, commands, strict=True):
        assert process.stdin is not None
        process.stdin.write(command.stdin or b"")
        process.stdin.close()
    try:
        said = [(process.wait(timeout=15), process.stderr.read()) for process in started if process.stderr is not None]
    finally:
        for process in started:
            process.kill()
    return [words for code, words in said if code != 0]


def start(command: Command, home: Path) -> subprocess.Popen[bytes]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    pipe = subprocess.PIPE
    return subprocess.Popen(["sh", "-c", command.script], env=environ, stdin=pipe, stderr=pipe)

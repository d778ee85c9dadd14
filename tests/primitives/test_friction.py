"""sane-log-operation and sane-friction-analysis."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sane.errors import RemoteError, UsageError
from sane.primitives._friction import append_line
from sane.primitives.friction_analysis import parse_since
from sane.surfaces.cli.primitive import main

Call = Callable[..., dict[str, Any]]
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_logs_one_line_that_only_the_owner_reads(call: Call) -> None:
    answer = call("log-operation", event="run", command="make \n'x'", exit_code=2, duration_ms=1.5, reason="no rule")
    path = Path(os.environ["HOME"]) / ".tmux-sane" / "friction.jsonl"
    assert answer["log_file"] == str(path)
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["command"], entry["exit_code"], entry["duration_ms"]) == ("run", "make \n'x'", 2, 1.5)
    assert "platform" not in entry
    assert abs(datetime.fromisoformat(entry["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=5)
    assert path.stat().st_mode & 0o777 == 0o600


def test_logs_elsewhere(call: Call, tmp_path: Path) -> None:
    call("log-operation", event="run", log_file=str(tmp_path / "log"))
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    with pytest.raises(RemoteError, match=f"can't be written: there is no folder {tmp_path}/new$"):
        call("log-operation", event="run", log_file=str(tmp_path / "new" / "log"))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    call("log-operation", event="run", log_file="~/.tmux-sane/friction.jsonl")
    with pytest.raises(RemoteError, match="can't be written"):
        call("log-operation", event="run", log_file="/dev/null/x")
    with pytest.raises(UsageError, match="longer than"):
        call("log-operation", event="x" * 70_000)


def _log_many(path: Path, writer: int) -> None:
    for n in range(500):
        append_line(path, {"event": f"{writer}-{n}", "command": "x" * 3000})


def test_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "log"
    processes = [multiprocessing.get_context("fork").Process(target=_log_many, args=(path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=20)
    events = {json.loads(line)["event"] for line in path.read_text().splitlines()}
    assert events == {f"{writer}-{n}" for writer in range(4) for n in range(500)}


def test_a_line_that_was_cut_takes_no_other_with_it(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text in ("", '{"event":"trunc', '{"event":"whole"}\n'):
        log.write_text(text)
        call("log-operation", event="x", log_file=str(log))
        call("log-operation", event="y", log_file=str(log))
        cut = text.rstrip("\n")
        assert [line for line in log.read_text().splitlines() if "timestamp" not in line] == ([cut] if text else [])
        answer = call("friction-analysis", log_file=str(log))
        assert (answer["event_distribution"].get("x"), answer["event_distribution"].get("y")) == (1, 1)
        assert log.read_text().endswith("}\n")


def test_analyses_a_log(call: Call, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    call(
        "log-operation",
        event="run",
        command="make",
        platform="Linux",
        exit_code=2,
        reason="no rule",
        duration_ms=10,
        log_file=log,
    )
    call(
        "log-operation",
        event="run",
        command="make",
        platform="Linux",
        exit_code=2,
        reason="no rule",
        duration_ms=20,
        log_file=log,
    )
    call(
        "log-operation",
        event="run",
        command="ls",
        platform="Darwin",
        exit_code=0,
        validation="passed",
        duration_ms=60,
        log_file=log,
    )
    call("log-operation", event="check", command="if", validation="failed", log_file=log)
    with open(log, "a") as file:
        file.write('{"broken\n[1]\n\n')
    answer = call("friction-analysis", log_file=log)
    assert answer == {
        "total_operations": 4,
        "validation_stats": {"passed": 1, "failed": 1},
        "event_distribution": {"run": 3, "check": 1},
        "failure_patterns": [
            {"command": "make", "reason": "no rule", "count": 2},
            {"command": "if", "reason": "", "count": 1},
        ],
        "platform_stats": {
            "Linux": {"operations": 2, "failures": 2},
            "Darwin": {"operations": 1, "failures": 0},
        },
        "performance_stats": {
            "avg_duration_ms": 30,
            "min_duration_ms": 10,
            "max_duration_ms": 60,
            "operations_counted": 3,
        },
        "skipped_lines": 2,
    }
    assert call("friction-analysis", event_type="check", log_file=log)["total_operations"] == 1


def test_looks_at_a_part_of_the_log(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = {"event": "old", "timestamp": "2020-01-01T00:00:00Z"}
    log.write_text("".join(json.dumps(entry) + "\n" for entry in (old, {"event": "none"})))
    call("log-operation", event="new", log_file=str(log))
    assert call("friction-analysis", since="1h", log_file=str(log))["event_distribution"] == {"new": 1}
    assert call("friction-analysis", since="2019-12-31", log_file=str(log))["total_operations"] == 2
    assert call("friction-analysis", log_file=str(log))["total_operations"] == 3


@pytest.mark.parametrize(
    "damaged",
    [
        '{"event":"\\ud800"}',
        '{"\\udfff":1}',
        '{"duration_ms":NaN}',
        '{"duration_ms":-Infinity}',
        '{"duration_ms":1e999}',
        '{"duration_ms":' + "9" * 400 + "}",
        '{"exit_code":' + "9" * 5000 + "}",
        "[" * 100_000,
    ],
)
def test_damaged_lines_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str], damaged: str) -> None:
    log = tmp_path / "log"
    log.write_text(f'{damaged}\n{{"event":"\\ud83d\\ude00","duration_ms":1e308}}\n{{"duration_ms":1e308}}\n')
    assert main("friction-analysis", ["--log-file", str(log)]) == 0
    answer = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert (answer["total_operations"], answer["skipped_lines"]) == (2, 1)
    assert answer["event_distribution"] == {"\U0001f600": 1, "unknown": 1}
    assert answer["performance_stats"]["avg_duration_ms"] == 1e308


def test_an_absent_log_is_an_empty_one(call: Call, tmp_path: Path) -> None:
    answer = call("friction-analysis", log_file=str(tmp_path / "none"))
    assert (answer["total_operations"], answer["performance_stats"]["operations_counted"]) == (0, 0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2d", NOW - timedelta(days=2)),
        ("2026-01-01T10:00:00+02:00", datetime(2026, 1, 1, 8, tzinfo=UTC)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_reads_a_moment(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == moment


def test_refuses_what_is_no_moment() -> None:
    with pytest.raises(UsageError, match="since must be a duration or a time, got 'soon'"):
        parse_since("soon", NOW)

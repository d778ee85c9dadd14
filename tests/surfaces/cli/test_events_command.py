"""`sane events` as people and scripts use it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sane.core.events import Event
from sane.store import open_store
from sane.surfaces.cli.events import Rows, row_of, what
from tests.terminals import read_terminal

ROOT = Path(__file__).parents[3]
BOUND_S = 20


def log() -> list[Event]:
    created = {"revision": 1, "version": "1.0", "hosts": [], "policy": {}}
    failed = {"from": "pending", "to": "failed", "reason": "x"}
    return [
        Event("deployment_created", 1_750_000_000_123, "web", "web-1", data=created),
        Event("host_transition", 1_750_000_001_000, "web", "web-1", "web1", failed),
        Event("message", 1_750_000_002_000, "db", "db-1", data={"text": "second\x1b[31m line\n"}),
    ]


@pytest.fixture
async def state_dir() -> Path:
    path = Path(os.environ["SANE_STATE_DIR"])
    store = await open_store(None, path)
    await store.append(log())
    await store.close()
    return path


def sane(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "events", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=BOUND_S)


async def test_ndjson_and_json_hold_the_same_events(state_dir: Path) -> None:
    lines = [json.loads(line) for line in sane("--output", "ndjson").stdout.splitlines()]
    assert lines == [event.numbered(n).as_json() for n, event in enumerate(log(), 1)]
    assert json.loads(sane("--output", "json").stdout) == lines
    assert json.loads(sane("--output", "json", "--after", "3").stdout) == []
    assert json.loads(sane("--output", "json", "--after", "1", "--key", "web").stdout) == lines[1:2]
    assert json.loads(sane("--output", "json", "--deployment", "db-1").stdout) == lines[2:]


@pytest.mark.parametrize("after", ["99999999999999999999", str(2**63), "-1"])
def test_a_number_that_no_event_can_have_is_refused(after: str) -> None:
    refused = sane("--after", after)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'--after': " in refused.stderr
    assert sane("--after", str(2**63 - 1), "--output", "json").stdout == "[]\n"


async def test_the_table_is_for_people_and_carries_no_control_sequence(state_dir: Path) -> None:
    header, *rows = sane().stdout.splitlines()
    assert header.split()[:3] == ["SEQ", "TIME", "(UTC)"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "2025-06-15 15:06:40.123" in rows[0]
    assert rows[1].endswith("web-1                 web1             pending → failed: x")
    assert rows[2].endswith("second [31m line")


def test_a_row_is_bounded_and_survives_a_strange_clock() -> None:
    row = row_of(Event("message", 10**18, data={"text": "x" * 5000}, seq=7))
    assert len(row) < 400
    assert str(10**18) in row


async def test_a_query_selects_from_the_array_or_from_each_event(state_dir: Path) -> None:
    assert json.loads(sane("--output", "json", "--query", "[].kind").stdout)[1:] == ["host_transition", "message"]
    assert sane("--output", "ndjson", "--query", "data.reason").stdout == '"x"\n'
    assert sane("--query", "[].seq").stdout == "1\n2\n3\n"
    wrong = sane("--query", "[")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "query '[' is wrong" in wrong.stderr


async def test_what_can_have_no_end_is_refused(state_dir: Path) -> None:
    for args in (("--output", "json"), ("--query", "[].seq")):
        refused = sane("--follow", *args)
        assert refused.returncode == 2
        assert "--output ndjson" in refused.stderr
    assert sane("--after", "-1").returncode == 2


def test_an_empty_log_is_an_empty_answer() -> None:
    assert sane("--output", "json").stdout == "[]\n"
    assert sane("--output", "ndjson").stdout == ""


async def test_follow_shows_what_another_process_appends_and_ends_with_ctrl_c(state_dir: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sane.surfaces.cli.main",
        "events",
        "--follow",
        "--after",
        "2",
        "--output",
        "ndjson",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND_S):
            assert json.loads(await process.stdout.readline())["seq"] == 3
            store = await open_store(None, state_dir)
            await store.append([Event("message", 5, "web", "web-1", data={"text": "live"})])
            await store.close()
            event = json.loads(await process.stdout.readline())
            assert (event["seq"], event["data"]) == (4, {"text": "live"})
            process.send_signal(signal.SIGINT)
            rest, errors = await process.communicate()
        assert (process.returncode, rest) == (130, b"")
        assert b"Traceback" not in errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_damaged_log_is_a_sentence_and_not_a_traceback(state_dir: Path) -> None:
    (state_dir / "sane.db").write_bytes(b"this is no database" * 100)
    failed = sane()
    assert failed.returncode == 4
    assert failed.stderr.startswith("Error: the event log ")
    assert "is damaged" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--key", "wbe"), "there is no event of deployment key 'wbe'\n  Did you mean 'web'?"),
        (("--deployment", "web-2"), "there is no event of deployment 'web-2'\n  Did you mean 'web-1'?"),
        (("--key", "web", "--deployment", "db-1"), "there is no event of deployment 'db-1' with key 'web'"),
    ],
)
@pytest.mark.parametrize("output", ["table", "ndjson"])
async def test_a_name_that_the_log_does_not_know_is_an_error(
    state_dir: Path, args: tuple[str, ...], said: str, output: str
) -> None:
    refused = sane(*args, "--output", output)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert sane("--key", "web", "--after", "3", "--output", output).returncode == 0


def test_on_a_terminal_each_event_is_one_row_and_the_deployment_stands_above() -> None:
    operation = {"operation": "web-1/web1/stage/1", "action": "stage", "outcome": "ok"}
    data = {**operation, "output_file": "/state/" + "x" * 300}
    more = [
        Event("lease_taken", 1_750_000_001_500, "web", data={"owner": "me", "token": 1, "until_ms": 2}),
        Event("action_finished", 1_750_000_002_000, "web", "web-1", "web1", data),
        Event("message", 1_750_090_000_000, "db", "db-1", data={"text": "hello\x1b[2J"}),
    ]
    rows = Rows(80)
    lines = "".join(rows.of(event.numbered(n)) for n, event in enumerate([*log()[:2], *more], 1)).splitlines()
    assert max(map(len, lines)) < 80
    assert [line for line in lines if not line[:7].strip().isdigit()] == ["web-1, 2025-06-15", "db-1, 2025-06-16"]
    assert lines[2].split(maxsplit=4) == ["2", "15:06:41", "host_transition", "web1", "pending → failed: x"]
    assert lines[4].endswith("…")
    assert lines[-1].endswith("hello [2J")


def test_an_operation_does_not_repeat_its_deployment_and_host() -> None:
    data = {"operation": "web-1/web1/stage/1", "action": "stage"}
    assert what(Event("action_started", 1, "web", "web-1", "web1", data)) == "operation=stage/1 action=stage"


async def test_a_terminal_gets_rows_that_fit(state_dir: Path) -> None:
    terminal, other = pty.openpty()
    environ = {**os.environ, "COLUMNS": "70", "TERM": "xterm"}
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "events"]
    done = subprocess.run(command, stdout=other, stderr=other, cwd=ROOT, env=environ, timeout=BOUND_S, check=False)
    os.close(other)
    shown = read_terminal(terminal).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert max(map(len, shown.splitlines())) < 70
    assert "db-1, 2025-06-15" in shown

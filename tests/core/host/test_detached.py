"""The shell text of detached steps, run for real by sh (dash here) and by bash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.command import Command
from sane.core.host.detached import (
    ALREADY_STARTED,
    FENCED,
    NOT_STARTED,
    Operation,
    attach,
    inspect,
    launch,
    launch_in_pane,
    operation_id,
    parse_inspection,
    parse_receipt,
    stop,
)
from sane.errors import UsageError
from tests.processes import is_running


def run(command: Command, home: Path, shell: str = "sh", timeout_s: float = 10) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([shell, "-c", command.script], **_surroundings(command, home), timeout=timeout_s)


def start(command: Command, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", command.script], start_new_session=True, **_surroundings(command, home))


def _surroundings(command: Command, home: Path) -> dict[str, object]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    return {"env": environ, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def launching(operation: Operation, **env: str) -> Command:
    return launch(operation, env=env, cwd=None, timeout_s=10)


def wait_until(condition, limit_s: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_step_runs_once_and_answers_its_output_and_code(tmp_path: Path, shell: str) -> None:
    operation = Operation("d1-web1-stage-1", "echo out; echo err >&2; exit 3", digest="abc")
    command = launch(operation, env={"WHO": "it's $HOME"}, cwd=None, timeout_s=10)
    done = run(command, tmp_path, shell)
    assert (done.returncode, done.stdout) == (3, b"out\nerr\n"), done.stderr
    state, receipt = parse_inspection(run(inspect(operation.id), tmp_path).stdout)
    assert state == "finished"
    assert receipt is not None
    assert (receipt.exit_code, receipt.digest, receipt.operation) == (3, "abc", operation.id)


def test_environment_reaches_the_step_and_the_wrapper_s_own_does_not(tmp_path: Path) -> None:
    operation = Operation("x", 'printf "%s|%s|%s" "$WHO" "${SANE_SCRIPT-none}" "${SANE_LEASE-none}"')
    assert run(launching(operation, WHO="a'b\"$(c)\nd"), tmp_path).stdout == b"a'b\"$(c)\nd|none|none"


def test_the_same_operation_is_never_started_twice(tmp_path: Path) -> None:
    operation = Operation("once", f"echo x >>{tmp_path}/count")
    assert run(launching(operation), tmp_path).returncode == 0
    assert run(launching(operation), tmp_path).returncode == ALREADY_STARTED
    assert (tmp_path / "count").read_text() == "x\n"


def test_it_outlives_the_connection_and_can_be_attached_again(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    operation = Operation("long", f"echo begun; read line <{gate}; echo $line; exit 5")
    caller = start(launching(operation), tmp_path)
    wait_until((tmp_path / ".sane/operations/long/pid").exists)
    os.killpg(caller.pid, signal.SIGKILL)
    caller.communicate()
    assert parse_inspection(run(inspect("long"), tmp_path).stdout) == ("running", None)
    waiting = start(attach("long", timeout_s=10), tmp_path)
    gate.write_text("end\n")
    output, _ = waiting.communicate(timeout=5)
    assert (waiting.returncode, output) == (5, b"begun\nend\n")


def test_a_wrapper_killed_without_a_receipt_is_ambiguous_within_seconds(tmp_path: Path) -> None:
    operation = Operation("killed", "sleep 60")
    caller = start(launching(operation), tmp_path)
    pid_file = tmp_path / ".sane/operations/killed/pid"
    wait_until(pid_file.exists)
    pid = int(pid_file.read_text().split()[0])
    os.killpg(pid, signal.SIGKILL)
    _, error = caller.communicate(timeout=5)
    assert caller.returncode == 255
    assert b"without a receipt" in error
    assert parse_inspection(run(inspect("killed"), tmp_path).stdout) == ("ambiguous", None)


def test_a_background_child_does_not_hold_the_answer(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(launching(Operation("bg", f"sleep 30 & echo $! >{tmp_path}/child; echo hi")), tmp_path)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert done.stdout == b"hi\n"
    assert time.monotonic() - began < 5


def test_stop_ends_the_step_and_all_it_started(tmp_path: Path) -> None:
    operation = Operation("stopped", f"trap '' TERM; sleep 60 & echo $! >{tmp_path}/child; wait; wait")
    caller = start(launching(operation), tmp_path)
    wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip() != "")
    child = int((tmp_path / "child").read_text())
    assert run(stop("stopped"), tmp_path).returncode == 0
    caller.communicate(timeout=5)
    assert caller.returncode == 124
    wait_until(lambda: not is_running(child))


def test_stop_of_something_that_never_ran_does_nothing(tmp_path: Path) -> None:
    assert run(stop("never"), tmp_path).returncode == 0
    assert parse_inspection(run(inspect("never"), tmp_path).stdout) == ("absent", None)


def test_a_recycled_pid_is_not_taken_for_the_step(tmp_path: Path) -> None:
    directory = tmp_path / ".sane/operations/old"
    directory.mkdir(parents=True)
    (directory / "pid").write_text(f"{os.getpid()} 1\n")
    assert parse_inspection(run(inspect("old"), tmp_path).stdout) == ("ambiguous", None)


def test_an_older_token_is_fenced_off_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / ".sane/leases/app").mkdir(parents=True)
    (tmp_path / ".sane/leases/app/holder").write_text("7 other 0\n")
    touched = tmp_path / "touched"
    old = run(launching(Operation("a", f"touch {touched}", lease="app", token=6)), tmp_path)
    assert old.returncode == FENCED
    assert b"held by other with token 7" in old.stderr
    assert not touched.exists()
    assert run(launching(Operation("a", f"touch {touched}", lease="app", token=7)), tmp_path).returncode == 0
    assert touched.exists()


def test_a_place_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / ".sane").write_text("a file in the way")
    done = run(launching(Operation("a", f"touch {tmp_path}/touched")), tmp_path)
    assert done.returncode == NOT_STARTED
    assert b".sane" in done.stderr
    assert not (tmp_path / "touched").exists()


def test_in_the_foreground_the_receipt_is_left_too(tmp_path: Path) -> None:
    operation = Operation("pane", "echo seen; exit 4")
    done = run(launch_in_pane(operation, env={}, cwd=None, timeout_s=10), tmp_path)
    assert (done.returncode, done.stdout) == (4, b"seen\n")
    assert parse_inspection(run(inspect("pane"), tmp_path).stdout)[0] == "finished"


def test_ids_that_could_leave_the_directory_are_refused() -> None:
    for bad in ("../x", "", "a/b", "-n", "a b", "x" * 122):
        with pytest.raises(UsageError):
            Operation(bad, "true")
    with pytest.raises(UsageError):
        Operation("ok", "true", lease="../x")


RECEIPT = {"operation": "x", "pid": 7, "started_at": 1, "finished_at": 2, "exit_code": 0, "digest": ""}
VALUES = st.sampled_from(["1e999", "NaN", str(2**70), "9" * 5_000, '"\\ud800"', "[" * 2_000, "[]", "null", "3"])


@given(st.text() | st.dictionaries(st.sampled_from(list(RECEIPT)), VALUES))
def test_any_text_is_a_receipt_or_none(given: str | dict[str, str]) -> None:
    values = {name: json.dumps(value) for name, value in RECEIPT.items()}
    fields = (
        ",".join(f'"{name}":{value}' for name, value in (values | given).items()) if isinstance(given, dict) else ""
    )
    text = "{" + fields + "}" if fields else str(given)
    receipt = parse_receipt(text)
    if receipt is not None:
        assert max(receipt.pid, receipt.started_at, receipt.finished_at, receipt.exit_code) < 2**53
    output = b"finished\n" + text.encode("utf-8", "surrogatepass")
    assert parse_inspection(output)[0] == ("finished" if receipt else "ambiguous")


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", '{"operation":1}', "{" * 10_000, "[" * 20_000, "\ud800"])
def test_what_is_no_receipt_is_none(text: str) -> None:
    assert parse_receipt(text) is None
    assert parse_inspection(b"finished\n" + text.encode("utf-8", "surrogatepass")) == ("ambiguous", None)


@pytest.mark.parametrize("name", ["app-1-abc.web1.switch.1.2", "k" * 200 + ".web1.1", "a b@c:d.web1.1", "app-ü.1"])
def test_an_operation_of_any_name_has_an_id_of_its_own(name: str) -> None:
    made = operation_id(name)
    assert Operation(f"{made}.1", "true").id.startswith(made)
    assert operation_id(name + "2") != made
    assert (made == name) == (len(name) <= 90 and name.replace("-", "").replace(".", "").isalnum() and name.isascii())

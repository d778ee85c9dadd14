"""The dead-man guard's shell text, run by a real shell with a home of its own, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.core.fleet.inventory import Host
from sane.core.host.dead_man import Guard, arm, check_dead_man, confirm, parse_guard, revert_script
from sane.core.host.record import HostRecord
from sane.core.host.truth import parse_truth, read_truth
from sane.core.rollout.policy import RolloutPolicy
from sane.core.workflow.binding import Binding
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import Workflow
from sane.errors import ConfigError, UsageError

OLD = HostRecord("1.0", "d1", 2, "app-2", 7, reverted=True)
GUARDED = RolloutPolicy(dead_man_ms=20_000)


def run(command: Command, home: Path) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    return subprocess.run(["sh", "-c", command.script], env=env, input=command.stdin, capture_output=True, timeout=10)


def guard(script: str, seconds: int, operation: str = "app-2.web1.switch.1") -> Guard:
    return Guard(operation, "app", seconds, script, OLD)


def seen(home: Path) -> list[tuple[str, int | None]]:
    return [(g.state, g.exit_code) for g in parse_truth(run(read_truth(), home).stdout).guards]


def wait_until_decided(home: Path, state: str, timeout_s: float = 8.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not any(word == state and (state != "fired" or code is not None) for word, code in seen(home)):
        assert time.monotonic() < deadline, seen(home)
        time.sleep(0.05)  # the guard is a process of its own: its files are all that is seen of it


def test_takes_the_host_back_once_when_nobody_confirms(tmp_path: Path) -> None:
    assert run(arm(guard("echo back >>~/marks\n", 3)), tmp_path).stdout == b"armed\n"
    assert seen(tmp_path) == [("armed", None)]
    run(arm(guard("echo back >>~/marks\n", 3)), tmp_path)  # a controller that resumes arms no second one
    wait_until_decided(tmp_path, "fired")
    assert seen(tmp_path) == [("fired", 0)]
    assert (tmp_path / "marks").read_text() == "back\n"
    (key,) = parse_truth(run(read_truth(), tmp_path).stdout).keys
    assert (key.key, key.current, key.history) == ("app", OLD, (OLD,))
    assert parse_guard(run(confirm("app", "app-2"), tmp_path).stdout) == "fired"


def test_does_nothing_once_it_is_confirmed(tmp_path: Path) -> None:
    run(arm(guard("echo back >>~/marks\n", 1)), tmp_path)
    assert parse_guard(run(confirm("app", "app-2"), tmp_path).stdout) == "confirmed"
    assert parse_guard(run(confirm("app", "app-3"), tmp_path).stdout) == "none"
    time.sleep(1.7)  # past its time, and one look of its own
    assert not (tmp_path / "marks").exists()
    assert seen(tmp_path) == [("confirmed", None)]


def test_a_newer_deployment_calls_the_older_guard_off(tmp_path: Path) -> None:
    run(arm(guard("echo old >>~/marks\n", 1)), tmp_path)
    run(arm(guard("echo new >>~/marks\n", 2, "app-3.web1.switch.1")), tmp_path)
    wait_until_decided(tmp_path, "fired")
    assert (tmp_path / "marks").read_text() == "new\n"


def test_a_revert_that_fails_is_told_and_leaves_the_record(tmp_path: Path) -> None:
    run(arm(guard("exit 3\n", 1)), tmp_path)
    wait_until_decided(tmp_path, "fired")
    assert seen(tmp_path) == [("fired", 3)]
    assert not (tmp_path / ".sane/keys/app").exists()


def test_a_guard_that_fires_waits_for_who_writes_the_record_of_the_same_home(tmp_path: Path) -> None:
    changing = tmp_path / ".sane/keys/app/changing"
    changing.mkdir(parents=True)
    run(arm(guard("echo back >>~/marks\n", 1)), tmp_path)
    deadline = time.monotonic() + 8
    while not list(changing.parent.glob("waiting.*")):
        assert time.monotonic() < deadline, os.listdir(changing.parent)
        time.sleep(0.01)  # the guard is a process of its own: its files are all that is seen of it
    assert (seen(tmp_path), (changing.parent / "current").exists()) == ([("fired", None)], False)
    changing.rmdir()
    wait_until_decided(tmp_path, "fired")
    (key,) = parse_truth(run(read_truth(), tmp_path).stdout).keys
    assert (key.current, key.history, sorted(os.listdir(changing.parent))) == (OLD, (OLD,), ["current", "history"])


def test_script_runs_the_steps_with_their_values_as_data(tmp_path: Path) -> None:
    steps = (
        Step("one", "run-command", {"command": "printf '%s|' {{ previous_version }} \"$SANE_VAR_WORD\" >>~/out"}),
        Step("two", "run-command", {"command": "false"}, retries=1),
        Step("three", "run-command", {"command": "echo never >>~/out"}),
    )
    word = 'it\'s $(touch ~/no) `x` "y"'
    workflow = Workflow("w", "app", vars={"word": word}, revert=steps)
    text = revert_script(steps, Binding(workflow, Host("web1"), "2.0", previous_version="1.0"), {})
    ended = subprocess.run(["sh"], input=text.encode(), env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert ended.returncode == 1
    assert (tmp_path / "out").read_text() == f"1.0|{word}|"
    assert not (tmp_path / "no").exists()


def test_script_activates_a_release_and_notices_when_it_can_not(tmp_path: Path) -> None:
    (tmp_path / "app/releases/1.0").mkdir(parents=True)
    step = Step("back", "activate-release", {"root": "~/app", "release": "{{ previous_version }}"})
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for previous, code in (("1.0", 0), ("0.9", 1)):
        binding = Binding(Workflow("w", "app", revert=(step,)), Host("web1"), "2.0", previous_version=previous)
        ended = subprocess.run(["sh"], input=revert_script((step,), binding, {}).encode(), env=env, capture_output=True)
        assert ended.returncode == code
    assert os.readlink(tmp_path / "app/current") == "releases/1.0"


def test_refuses_what_a_host_can_not_do_alone() -> None:
    put = Step("put", "create-file", {"path": "~/x", "content": "x"}, line=7)
    with pytest.raises(ConfigError, match="can't run on the host"):
        check_dead_man(Workflow("w", "app", policy=GUARDED, revert=(put,)))
    with pytest.raises(ConfigError, match="needs a revert part"):
        check_dead_man(Workflow("w", "app", policy=GUARDED))
    late = Step("late", "run-command", {"command": "echo {{ results.x.output }}"})
    with pytest.raises(ConfigError, match="answer of another"):
        check_dead_man(Workflow("w", "app", policy=GUARDED, revert=(late,)))
    check_dead_man(Workflow("w", "app", revert=(put,)))
    with pytest.raises(UsageError, match="longer than min_healthy"):
        RolloutPolicy(dead_man_ms=10_000)

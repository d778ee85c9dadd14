"""One step, on this machine, with the real shell text: once, and taken over where it was begun before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sane.core.command import Command, CommandResult
from sane.core.fleet.inventory import Host
from sane.core.host.detached import Operation, launch
from sane.core.target import Target
from sane.core.workflow.binding import Binding
from sane.core.workflow.gates import compile_gate
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.engine.context import AsyncContext
from sane.engine.steps import Place, StepResult, run_step
from sane.errors import LostError
from sane.transports.local import LocalTransport
from tests.processes import is_running

HERE = Target(None, None)
COUNT = 'echo x >>"$HOME/count"'


@pytest.fixture
async def context() -> AsyncIterator[AsyncContext]:
    opened = AsyncContext()
    yield opened
    await opened.close()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def step_of(command: str, **fields: Any) -> Step:
    values = {"name": "go", "verb": "run-command", "arguments": {"command": command}, **fields}
    return Step(**values)


def binding() -> Binding:
    workflow = Workflow(name="app", key="app", health=HealthFile(path="health.json"), vars={"color": "red"})
    return Binding(workflow, Host("web1"), "1.0.0", nonce="n1")


PLACE = Place(HERE, HERE, False, {})


async def run(context: AsyncContext, step: Step, *, resumed: bool = False, place: Place = PLACE) -> StepResult:
    return await run_step(context, place, step, binding(), "app-1.web1.stage.1.1", resumed=resumed)


def count(home: Path) -> int:
    path = home / "count"
    return len(path.read_text().splitlines()) if path.exists() else 0


async def test_a_step_answers_its_output_and_sees_its_environment(context: AsyncContext, home: Path) -> None:
    result = await run(context, step_of('echo "$SANE_HOST $SANE_VERSION $SANE_NONCE $SANE_VAR_COLOR"; echo no >&2'))
    assert (result.outcome, result.exit_code) == ("ok", 0)
    assert result.output == b"web1 1.0.0 n1 red\nno\n"


async def test_a_failed_step_has_its_code_its_last_line_and_a_hint(context: AsyncContext, home: Path) -> None:
    result = await run(context, step_of("echo before; echo 'x: No space left on device' >&2; exit 9"))
    assert (result.outcome, result.exit_code, result.error) == ("failed", 9, "x: No space left on device")
    assert "Free space" in result.hint


async def test_a_retry_is_an_operation_of_its_own_and_stops_at_success(context: AsyncContext, home: Path) -> None:
    step = step_of(f'{COUNT}; [ "$(wc -l <"$HOME/count")" -ge 2 ]', retries=5, retry_delay_ms=1)
    assert (await run(context, step)).outcome == "ok"
    assert count(home) == 2


@pytest.mark.parametrize(
    ("condition", "outcome", "ran"),
    [("vars.color == 'red'", "ok", 1), ("vars.color == 'blue'", "skipped", 0), ("vars.size == 'big'", "failed", 0)],
)
async def test_when_decides_only_where_it_can(
    context: AsyncContext, home: Path, condition: str, outcome: str, ran: int
) -> None:
    assert (await run(context, step_of(COUNT, when=compile_gate(condition)))).outcome == outcome
    assert count(home) == ran


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [("exit_code == `3`", "ok"), ("exit_code == `0`", "failed"), ("nothing == `0`", "failed")],
)
async def test_expect_decides_in_place_of_the_exit_code(
    context: AsyncContext, home: Path, condition: str, outcome: str
) -> None:
    assert (await run(context, step_of("exit 3", expect=compile_gate(condition)))).outcome == outcome


async def test_a_step_that_takes_too_long_is_ended_with_all_it_started(context: AsyncContext, home: Path) -> None:
    result = await run(context, step_of('echo $$ >"$HOME/pid"; sleep 30 & sleep 30', timeout_ms=300))
    assert (result.outcome, result.exit_code) == ("failed", 124)
    assert not is_running((home / "pid").read_text().strip())


async def test_what_has_ended_is_adopted_and_not_run_again(context: AsyncContext, home: Path) -> None:
    step = step_of(f"{COUNT}; echo done; exit 4")
    first = await run(context, step)
    second = await run(context, step, resumed=True)
    assert (second.outcome, second.exit_code, second.output) == ("failed", 4, first.output)
    assert count(home) == 1


async def test_what_left_no_trace_is_run(context: AsyncContext, home: Path) -> None:
    assert (await run(context, step_of(COUNT), resumed=True)).outcome == "ok"
    assert count(home) == 1


async def test_what_still_runs_is_attached_to(context: AsyncContext, home: Path) -> None:
    step = step_of(f'{COUNT}; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo waited')
    first = asyncio.create_task(run(context, step))
    while count(home) == 0:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(run(context, step, resumed=True))
    blind = asyncio.create_task(run(context, step))  # one that does not know that it was begun
    await asyncio.sleep(0)
    (home / "go").touch()
    results = await asyncio.wait_for(asyncio.gather(first, second, blind), 10)
    assert [(result.outcome, result.output) for result in results] == [("ok", b"waited\n")] * 3
    assert count(home) == 1


async def test_a_waiting_shell_that_is_killed_is_not_taken_for_the_step(context: AsyncContext, home: Path) -> None:
    step = step_of(f"{COUNT}; kill -9 $(ps -o ppid= -p $PPID); sleep 0.3; echo done; exit 4")
    result = await run(context, step)
    assert (result.outcome, result.exit_code, result.output) == ("failed", 4, b"done\n")
    assert count(home) == 1


async def test_a_step_that_is_killed_has_its_own_code(context: AsyncContext, home: Path) -> None:
    result = await run(context, step_of("echo begun; kill -9 $$"))
    assert (result.outcome, result.exit_code) == ("failed", 137)
    assert result.output.startswith(b"begun\n")


async def test_what_nobody_can_know_is_lost_and_not_run_again(context: AsyncContext, home: Path) -> None:
    (home / ".sane/operations/app-1.web1.stage.1.1.1").mkdir(parents=True)
    result = await run(context, step_of(COUNT), resumed=True)
    assert result.outcome == "lost"
    assert count(home) == 0


async def test_a_newer_token_on_the_host_keeps_the_step_from_running(context: AsyncContext, home: Path) -> None:
    holder = home / ".sane/leases/app/holder"
    holder.parent.mkdir(parents=True)
    holder.write_text("8 other 9999999999 1\n")
    result = await run(context, step_of(COUNT), place=replace(PLACE, lease="app", token=7))
    assert (result.outcome, result.exit_code) == ("failed", 96)
    assert "held by other with token 8" in result.error
    assert (await run(context, step_of(COUNT), place=replace(PLACE, lease="app", token=8))).outcome == "ok"
    assert count(home) == 1


async def test_a_newer_token_on_the_host_keeps_a_release_from_being_activated(
    context: AsyncContext, home: Path
) -> None:
    for name in ("1", "2"):
        (home / "app/releases" / name).mkdir(parents=True)
    (home / "app/current").symlink_to("releases/1")
    holder = home / "kept/leases/app/holder"
    holder.parent.mkdir(parents=True)
    holder.write_text("8 other 9999999999 1\n")
    step = Step("turn", "activate-release", {"root": str(home / "app"), "release": "2"})
    place = replace(PLACE, lease="app", token=7, env={"SANE_HOST_DIR": str(home / "kept")})
    result = await run(context, step, place=place)
    assert result.outcome == "failed"
    assert "held by other with token 8; ours is 7" in result.error
    assert (home / "app/current").readlink() == Path("releases/1")
    assert (await run(context, step, place=replace(place, token=8))).outcome == "ok"
    assert (home / "app/current").readlink() == Path("releases/2")


async def test_a_newer_token_on_the_host_keeps_a_file_from_being_copied(context: AsyncContext, home: Path) -> None:
    holder = home / ".sane/leases/app/holder"
    holder.parent.mkdir(parents=True)
    holder.write_text("8 other 9999999999 1\n")
    (home / "ours").write_text("ours")
    (home / "there").write_text("theirs")
    step = Step("copy", "transfer-from-workstation", {"code": str(home / "ours"), "path": str(home / "there")})
    result = await run(context, step, place=replace(PLACE, lease="app", token=7))
    assert result.outcome == "failed"
    assert result.error == "the lease on app is held by other with token 8; ours is 7"
    assert (home / "there").read_text() == "theirs"
    assert (await run(context, step, place=replace(PLACE, lease="app", token=8))).outcome == "ok"
    assert (home / "there").read_text() == "ours"


async def test_a_newer_token_on_the_host_keeps_keys_from_being_pressed(context: AsyncContext, home: Path) -> None:
    holder = home / ".sane/leases/app/holder"
    holder.parent.mkdir(parents=True)
    holder.write_text("8 other 9999999999 1\n")
    step = Step("press", "send-keys", {"target": "nowhere", "keys": ["Enter"]})
    old = await run(context, step, place=replace(PLACE, lease="app", token=7))
    assert old.error == "the lease on app is held by other with token 8; ours is 7"
    assert "nowhere" in (await run(context, step, place=replace(PLACE, lease="app", token=8))).error


async def test_another_verb_is_called_with_its_arguments(context: AsyncContext, home: Path) -> None:
    step = Step("write", "create-file", {"path": str(home / "v"), "content": "{{ version }}", "backup": False})
    result = await run(context, step, resumed=True)  # it may be done twice
    assert result.outcome == "ok", result.error
    assert (home / "v").read_text().strip() == "1.0.0"


async def test_a_launch_that_is_cut_off_leaves_a_step_that_goes_on(context: AsyncContext, home: Path) -> None:
    script = f'{COUNT}; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo waited'
    command = launch(Operation("app-1.web1.stage.1.1.1", script), env={}, cwd=None, timeout_s=20.0)
    cut = asyncio.create_task(LocalTransport().run(Command(command.script, env=command.env, timeout_s=20.0)))
    while count(home) == 0:
        await asyncio.sleep(0.01)
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    (home / "go").touch()
    result = await run(context, step_of(script), resumed=True)
    assert (result.outcome, result.output) == ("ok", b"waited\n")
    assert count(home) == 1


class _LosingTransport(LocalTransport):
    """Lose the connection at the first command: before it was sent, or behind it."""

    def __init__(self, *, arrives: bool) -> None:
        super().__init__()
        self._arrives = arrives
        self._lost = False

    async def run(self, command: Command, on_output: Any = None) -> CommandResult:
        if self._lost:
            return await super().run(command, on_output)
        self._lost = True
        if self._arrives:
            await super().run(command, on_output)
        raise LostError("the connection went away", phase="command", host="web1")


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_step_whose_connection_broke_runs_once_whether_it_had_arrived_or_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, arrives: bool
) -> None:
    context, transport = AsyncContext(), _LosingTransport(arrives=arrives)

    async def open_it(target: Target) -> LocalTransport:
        return transport

    monkeypatch.setattr(context, "transport", open_it)
    result = await run(context, step_of(f"{COUNT}; echo done"))
    assert (result.outcome, result.output) == ("ok", b"done\n")
    assert count(home) == 1

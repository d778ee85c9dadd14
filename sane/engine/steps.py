"""One step on one host: render it, run it so that it outlives us, and say what came of it.

A command runs under an operation id (`sane.core.host.detached`): begun once, attached or adopted afterwards. Every
other verb says of itself whether it may be called again (`idempotent`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult
from sane.core.host.detached import (
    ALREADY_STARTED,
    FENCED,
    NOT_STARTED,
    Operation,
    attach,
    inspect,
    launch,
    launch_in_pane,
    parse_inspection,
    stop,
)
from sane.core.rollout.hints import hint_for
from sane.core.target import Target
from sane.core.valid_json import to_json
from sane.core.workflow.binding import Binding, environment, fill_arguments
from sane.core.workflow.gates import evaluate
from sane.core.workflow.steps import Step
from sane.engine.fenced import FencedContext
from sane.errors import (
    AuthError,
    LostError,
    PaneError,
    SaneError,
    TransportError,
    UnavailableError,
    UnreachableError,
)
from sane.transports.base import Transport
from sane.transports.context import Context
from sane.verbs.registry import as_json, bind, load_verb

Outcome = Literal["ok", "skipped", "failed", "unreachable", "lost"]
STEP_TIMEOUT_S = 300.0  # of a step that names none: as long as a healthy host may take (healthy_deadline)
RECONTACT_S = 20.0  # a host whose connection broke inside a step is asked again for so long
TAIL_CHARS = 4_000
ERROR_CHARS = 300  # of the last line that a failed step wrote


@dataclass(frozen=True, slots=True)
class StepResult:
    """Hold what came of one step; `output` is all it wrote, `answer` what `expect` and later steps see.

    `begun` is False where it certainly was not begun on the host.
    """

    outcome: Outcome
    exit_code: int | None = None
    output: bytes = b""
    error: str = ""
    hint: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Say where a host's steps run, whether that is a pane, and where its questions are asked.

    `control` is the host without its window, so that a watcher sees the steps and nothing else. `env` says where the
    host keeps its receipts.
    """

    target: Target
    control: Target
    in_pane: bool
    env: Mapping[str, str]
    lease: str = ""
    token: int = 0


async def run_step(
    context: Context, place: Place, step: Step, binding: Binding, operation: str, *, resumed: bool
) -> StepResult:
    """Run a step with its retries. Never raises for what the host did or is.

    `operation` is the id of this step of this effect; `resumed`: an earlier controller may have begun it.
    """
    if step.when is not None:
        decided = evaluate(step.when, binding.document())
        if decided.outcome == "fail":
            return StepResult("skipped", error=decided.detail, begun=False)
        if not decided.passed:
            # Whether the step is wanted is not known: to leave it out would be a guess.
            error = f"when is inconclusive: {decided.detail or step.when.expression}"
            hint = "Say what absence means: a || b, or a == `null`."
            return StepResult("failed", error=error, hint=hint, begun=False)
    result, begun = StepResult("failed"), False
    for attempt in range(1, step.retries + 2):
        result = await _attempt(context, place, step, binding, f"{operation}.{attempt}", resumed=resumed)
        begun = begun or result.outcome != "unreachable"
        if result.outcome != "failed" or attempt > step.retries:
            break
        await asyncio.sleep(step.retry_delay_ms / 1000)
    return replace(result, begun=begun)


async def _attempt(
    context: Context, place: Place, step: Step, binding: Binding, operation: str, *, resumed: bool
) -> StepResult:
    try:
        if step.verb == "run-command":
            result = await _run_command(context, place, step, binding, operation, resumed=resumed)
        else:
            result = await _call_verb(context, place, step, binding, resumed=resumed)
    except SaneError as error:
        if isinstance(error, TransportError) or (resumed and is_out_of_reach(error)):
            never_began = isinstance(error, UnreachableError | AuthError) and not resumed
            return StepResult("unreachable" if never_began else "lost", error=error.message, hint=error.hint)
        return StepResult("failed", error=error.message, hint=error.hint or hint_for(None, error.message))
    return _judge(step, result)


def is_out_of_reach(error: SaneError) -> bool:
    """Return whether an error says that a host or its pane can't be asked now: what began there is not known then."""
    return isinstance(error, TransportError | PaneError | UnavailableError)


def _judge(step: Step, result: StepResult) -> StepResult:
    if step.expect is None or result.outcome not in ("ok", "failed"):
        return result
    judged = evaluate(step.expect, dict(result.answer))
    if judged.passed:
        return replace(result, outcome="ok", error="", hint="")
    error = result.error or f"expect was not met: {judged.detail or step.expect.expression}"
    return replace(result, outcome="failed", error=error)


async def _call_verb(context: Context, place: Place, step: Step, binding: Binding, *, resumed: bool) -> StepResult:
    verb = load_verb(step.verb)
    if resumed and not verb.idempotent:
        return StepResult("lost", error=f"{step.verb} may have been done already, and can't be done twice")
    arguments: dict[str, object] = fill_arguments(step, binding)
    if any(p.name == "target" for p in verb.parameters):
        arguments.setdefault("target", str(place.target))
    timeout_s = step.timeout_ms / 1000 if step.timeout_ms else STEP_TIMEOUT_S
    try:
        async with asyncio.timeout(timeout_s):
            fenced = FencedContext(context, place.target, place.control, place.lease, place.token, place.env)
            answer = as_json(await verb.function(fenced if place.lease else context, **bind(verb, arguments)))
    except TimeoutError:
        return StepResult("failed", TIMEOUT_EXIT_CODE, error=f"no answer within {timeout_s:g} s")
    output = to_json(answer, (", ", ": ")).encode()
    if verb.ok(answer):
        return StepResult("ok", 0, output, answer=answer)
    error = str(answer.get("error") or answer.get("message") or f"{step.verb} failed")
    return StepResult("failed", 1, output, error=error, hint=hint_for(1, error), answer=answer)


async def _run_command(
    context: Context, place: Place, step: Step, binding: Binding, operation_id: str, *, resumed: bool
) -> StepResult:
    arguments = fill_arguments(step, binding)
    timeout_s = _timeout_s(step, arguments)
    operation = Operation(operation_id, str(arguments["command"]), lease=place.lease, token=place.token)
    env = {**environment(binding, step), **place.env}
    transport, control = await context.transport(place.target), await context.transport(place.control)
    make = launch_in_pane if place.in_pane else launch
    command = make(operation, env=env, cwd=None, timeout_s=timeout_s)
    begun = resumed
    try:
        if resumed:
            result = await _take_over(transport, control, command, operation_id, place, timeout_s)
        else:
            result, begun = await transport.run(command), True
            if result.exit_code == ALREADY_STARTED:
                result = await _take_over(transport, control, command, operation_id, place, timeout_s)
            elif not result.timed_out and _is_a_signals(result):
                result = await _ask_the_host(control, operation_id, place, result, timeout_s)
    except SaneError as error:
        if not (isinstance(error, LostError) or (begun and is_out_of_reach(error))):
            raise
        result = await _contact_again(transport, control, command, operation_id, place, timeout_s, error)
    if result is None:
        return StepResult("lost", error="the host does not know what became of the step")
    return await _settle(control, operation_id, place, result, timeout_s)


def _is_a_signals(result: CommandResult) -> bool:
    """Return whether the code may be the waiting shell's own: a signal killed it, or stopped the step in a pane."""
    return result.exit_code is None or 128 < result.exit_code < 255


async def _ask_the_host(
    control: Transport, operation_id: str, place: Place, result: CommandResult, timeout_s: float
) -> CommandResult | None:
    """Return what came of a step whose end nobody may have seen; None where the host does not know it either.

    A step that a person stopped in its window (Ctrl-Z) is waited for: `fg` there lets it go on.
    Raises LostError where the waiting shell or its window went away: the host is to be contacted again.
    """
    if result.exit_code is None or not place.in_pane:
        raise LostError("nobody saw how the step ended", phase="command", host=place.control.host or "")
    state, _ = parse_inspection((await control.run(_quietly(inspect(operation_id), place))).output)
    if state == "running":
        return await control.run(_quietly(attach(operation_id, timeout_s=timeout_s), place))
    return result if state == "finished" else None


def _timeout_s(step: Step, arguments: Mapping[str, object]) -> float:
    if step.timeout_ms:
        return step.timeout_ms / 1000
    given = arguments.get("timeout_s")
    return float(given) if isinstance(given, int | float) else STEP_TIMEOUT_S


async def _take_over(
    transport: Transport, control: Transport, command: Command, operation_id: str, place: Place, timeout_s: float
) -> CommandResult | None:
    """Adopt what has ended, attach to what runs, start what left no trace; None where nobody can know."""
    inspected = await control.run(_quietly(inspect(operation_id), place))
    state, _ = parse_inspection(inspected.output)
    if state == "absent":
        return await transport.run(command)
    if state == "ambiguous":
        return None
    return await control.run(_quietly(attach(operation_id, timeout_s=timeout_s), place))


async def _contact_again(
    transport: Transport,
    control: Transport,
    command: Command,
    operation_id: str,
    place: Place,
    timeout_s: float,
    why: SaneError,
) -> CommandResult | None:
    """Take over a step that was begun, as soon as the host can be reached again; None where nobody can know.

    What left no trace is started, outside panes: should the lost attempt still arrive there, only one of the two gets
    the operation's id. Raises LostError with the words of `why` where the host can't be reached in time.
    """
    delay_s = 0.2
    deadline = asyncio.get_running_loop().time() + RECONTACT_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            async with asyncio.timeout(max(0.1, deadline - asyncio.get_running_loop().time())):
                inspected = await control.run(_quietly(inspect(operation_id), place))
            state, _ = parse_inspection(inspected.output)
            if state == "ambiguous" or (state == "absent" and place.in_pane):
                return None
            if state == "absent" and (result := await transport.run(command)).exit_code != ALREADY_STARTED:
                return result
            return await control.run(_quietly(attach(operation_id, timeout_s=timeout_s), place))
        except (TransportError, PaneError, UnavailableError, TimeoutError):
            await asyncio.sleep(delay_s)
            delay_s = min(2.0, delay_s * 2)
    raise LostError(why.message, phase="command", host=place.control.host or "", hint=why.hint)


async def _settle(
    control: Transport, operation_id: str, place: Place, result: CommandResult, timeout_s: float
) -> StepResult:
    output = result.output + result.stderr
    if result.timed_out:
        # The wait ended; the step itself runs on until it is told to stop.
        late = f"no end within {timeout_s:g} s"
        try:
            await control.run(_quietly(stop(operation_id), place))
        except SaneError as error:
            problem = f"{late}, and it could not be stopped: {error.message}"
            return StepResult("lost", None, output, problem, error.hint)
        return StepResult("failed", TIMEOUT_EXIT_CODE, output, late, hint_for(124, ""))
    code = result.exit_code
    text = output[-TAIL_CHARS:].decode("utf-8", "replace")
    if code in (FENCED, NOT_STARTED):
        last = text.strip().splitlines()[-1:] or ["the step could not be started"]
        return StepResult("failed", code, output, last[0], hint_for(code, text))
    if code is None or (code == 255 and "without a receipt" in text):
        return StepResult("lost", None, output, "the step was ended from outside, without a receipt")
    answer = {"output": text, "exit_code": code, "duration_ms": result.duration_ms, "timed_out": False}
    if code == 0:
        return StepResult("ok", 0, output, answer=answer)
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return StepResult("failed", code, output, said[-1][:ERROR_CHARS] if said else "", hint_for(code, text), answer)


def _quietly(command: Command, place: Place) -> Command:
    return replace(command, env={**command.env, **place.env}, display="# sane: look what became of the step")

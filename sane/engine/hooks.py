"""Hooks: steps that run once a deployment, on this machine, before it, after it, and when it failed.

What ran is in the log, so a controller that resumes does not run a hook again. They run detached with a receipt like
any other step: one that was cut off is adopted or attached to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sane.core.events import Event
from sane.core.host.detached import operation_id
from sane.core.rollout.controller import RolloutState
from sane.core.target import Target
from sane.core.workflow.binding import Binding
from sane.engine.context import AsyncContext
from sane.engine.plan import DeploymentPlan
from sane.engine.steps import Place, StepResult, run_step
from sane.store.base import Store
from sane.store.outputs import open_output
from sane.store.reading import read_events

HERE = Place(Target(None, None), Target(None, None), False, {})
GOOD = {"ok", "skipped"}
FAILED = ("failed", "reverted", "partial", "reverting")


def hook_after(state: RolloutState) -> str:
    """Return which hook a deployment's end calls for: post_deploy, on_failure, or none when it was cancelled."""
    if state.status == "successful":
        return "post_deploy"
    return "on_failure" if state.status in FAILED else ""


def hook_error(hook: str, step: str, error: str) -> str:
    """Return the words for a hook that failed."""
    return f"hook {hook}, step '{step}': {error or 'failed'}"


async def run_hook(
    store: Store,
    context: AsyncContext,
    plan: DeploymentPlan,
    state: RolloutState,
    hook: str,
    now_ms: Callable[[], int],
) -> StepResult | None:
    """Run a hook's steps, those that did not end before; return the first that failed, None when all went well."""
    binding = Binding(
        plan.workflow,
        None,
        state.version,
        key=state.key,
        revision=state.revision,
        deployment=state.id,
        given=plan.given,
    )
    steps = plan.workflow.part(hook)
    if not steps:
        return None
    begun, ended = await _begun_and_ended(store, state.id, hook)
    if not set(ended.values()) <= GOOD:
        return None  # it failed, and that was told
    for number, step in enumerate(steps, 1):
        if step.name in ended:
            continue
        data: dict[str, Any] = {"step": step.name, "part": hook}
        await store.append([_event("step_started", state, now_ms(), {**data, "verb": step.verb})])
        operation, began_ms = operation_id(f"{state.id}.{hook}.{number}"), now_ms()
        result = await run_step(context, HERE, step, binding, operation, resumed=step.name in begun)
        data |= {"outcome": result.outcome, "exit_code": result.exit_code, "duration_ms": now_ms() - began_ms}
        if result.output:
            with open_output(context.state_dir, state.id, "hooks", f"{hook}-{step.name}", 1) as file:
                file.write(result.output)
            data["output_file"] = str(file.path)
        if result.error:
            data |= {"error": result.error, "hint": result.hint}
        await store.append([_event("step_finished", state, now_ms(), data)])
        if result.outcome not in GOOD:
            return replace(result, error=hook_error(hook, step.name, result.error))
        if step.register:
            binding = replace(binding, results={**binding.results, step.register: dict(result.answer)})
    return None


async def is_left_over(store: Store, plan: DeploymentPlan, state: RolloutState) -> bool:
    """Return whether the hook that a deployment's end calls for was not run to its end."""
    steps = plan.workflow.part(hook) if (hook := hook_after(state)) else ()
    _, ended = await _begun_and_ended(store, state.id, hook)
    return set(ended.values()) <= GOOD and any(step.name not in ended for step in steps)


async def _begun_and_ended(store: Store, deployment: str, hook: str) -> tuple[set[str], dict[str, str]]:
    """Return the steps of a hook that were begun, and the outcomes of those that ended."""
    begun, ended = set[str](), dict[str, str]()
    async for event in read_events(store, deployment=deployment, kinds=("step_started", "step_finished")):
        if event.host or event.data.get("part") != hook:
            continue
        begun.add(str(event.data["step"]))
        if event.kind == "step_finished":
            ended[str(event.data["step"])] = str(event.data["outcome"])
    return begun, ended


def _event(kind: str, state: RolloutState, at_ms: int, data: dict[str, Any]) -> Event:
    return Event(kind, at_ms, key=state.key, deployment=state.id, data=data)

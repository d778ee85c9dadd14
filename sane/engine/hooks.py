"""Hooks: steps that run once a deployment, on this machine, before it, after it, and when it failed.

What ran is in the log, so a controller that resumes does not run a hook again. They run detached with a receipt like
any other step: one that was cut off is adopted or attached to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sane.core.binding import Binding
from sane.core.events import Event
from sane.core.rollout import RolloutState
from sane.core.target import Target
from sane.engine.context import AsyncContext
from sane.engine.plan import DeploymentPlan
from sane.engine.steps import Place, StepResult, run_step
from sane.store.base import Store
from sane.store.reading import read_events

HERE = Place(Target(None, None), Target(None, None), False, {})
READ_PAGE = 1000
FAILED = ("failed", "reverted", "partial", "reverting")


def hook_after(state: RolloutState) -> str:
    """Return which hook a deployment's end calls for: post_deploy, on_failure, or none when it was cancelled."""
    if state.status == "successful":
        return "post_deploy"
    return "on_failure" if state.status in FAILED else ""


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
    ended = await _ended(store, state.id, hook)
    for number, step in enumerate(steps, 1):
        if step.name in ended:
            continue
        data: dict[str, Any] = {"step": step.name, "part": hook}
        await store.append([_event("step_started", state, now_ms(), {**data, "verb": step.verb})])
        result = await run_step(context, HERE, step, binding, f"{state.id}.{hook}.{number}", resumed=bool(ended))
        data |= {"outcome": result.outcome, "exit_code": result.exit_code}
        if result.error:
            data |= {"error": result.error, "hint": result.hint}
        await store.append([_event("step_finished", state, now_ms(), data)])
        if result.outcome not in ("ok", "skipped"):
            return replace(result, error=f"hook {hook}, step '{step.name}': {result.error or 'failed'}")
        if step.register:
            binding = replace(binding, results={**binding.results, step.register: dict(result.answer)})
    return None


async def _ended(store: Store, deployment: str, hook: str) -> set[str]:
    ended = read_events(store, deployment=deployment, kinds=("step_finished",))
    return {str(e.data["step"]) async for e in ended if not e.host and e.data.get("part") == hook}


def _event(kind: str, state: RolloutState, at_ms: int, data: dict[str, Any]) -> Event:
    return Event(kind, at_ms, key=state.key, deployment=state.id, data=data)

"""Carry a plan out: operations on deployments, verbs on hosts, one step after another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sane.core.events import Event
from sane.core.rollout.controller import RolloutState
from sane.core.rollout.table import BAD, NO_PREVIOUS, PARTIAL, REVERT_FAILED
from sane.core.watch.escalation_state import Episode
from sane.core.watch.plan import OPERATION_VERBS, Plan, PlanStep
from sane.engine.alerts import Delivery
from sane.engine.planner import call_on_host
from sane.errors import ConflictError, SaneError, UsageError
from sane.operations.again import create_again
from sane.operations.deployments import (
    create_retry,
    find_deployment,
    request,
)
from sane.operations.drive import drive
from sane.operations.rollback import create_rollback
from sane.store.base import Store
from sane.transports.context import Context
from sane.verbs.registry import load_verb

GOOD = ("successful", "awaiting_promotion")  # a canary that waits for a person was carried out
NEWEST = 50
WELL = ("healthy", "unchanged")
Notify = Callable[[Episode, str, str], Awaitable[Delivery]]


class PlanRunner:
    """Run plans for one watch; `key` is the deployment key that a step without one means ("": none)."""

    def __init__(
        self,
        store: Store,
        context: Context,
        targets: Mapping[str, str],
        key: str,
        *,
        notify: Notify,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._context = context
        self._targets = targets
        self._key = key
        self._notify = notify
        self._say = say
        self._turn = asyncio.Lock()  # plans of several episodes may mean one deployment key

    async def run(self, episode: Episode, plan: Plan) -> tuple[str, str]:
        """Run the steps in order until one fails, and return `done` or `failed` and what each came to."""
        told: list[str] = []
        for number, step in enumerate(plan.steps):
            outcome, detail = await self._step(episode, plan, step, number)
            told.append(f"{step.verb}: {detail}")
            if outcome == "failed":
                return "failed", "; ".join(told)
        return "done", "; ".join(told)

    async def _step(self, episode: Episode, plan: Plan, step: PlanStep, number: int) -> tuple[str, str]:
        try:
            if step.verb not in OPERATION_VERBS:
                return await self._call(step)
            match step.verb:
                case "wait":
                    seconds = float(step.arguments["seconds"])
                    await asyncio.sleep(seconds)
                    return "done", f"waited {seconds:g} s"
                case "alert":
                    message = str(step.arguments.get("message") or plan.reason)
                    delivery = await self._notify(episode, message, f"{episode.id}-plan-{number}")
                    return ("done" if delivery.is_sent else "failed"), str(delivery)
                case _:
                    async with self._turn:
                        return await self._operate(episode, step)
        except (SaneError, TimeoutError) as error:
            return "failed", error.message if isinstance(error, SaneError) else "no answer in time"

    async def _call(self, step: PlanStep) -> tuple[str, str]:
        verb = load_verb(step.verb)
        failed: list[str] = []
        for host in step.hosts or tuple(self._targets):
            answer = await call_on_host(verb, self._context, self._targets, {**step.arguments, "target": host})
            if not verb.ok(answer) or answer.get("exit_code", 0) != 0:
                failed.append(host)
        hosts = len(step.hosts or self._targets)
        return ("failed" if failed else "done"), f"ok on {hosts - len(failed)} of {hosts} hosts"

    async def _operate(self, episode: Episode, step: PlanStep) -> tuple[str, str]:
        key = str(step.arguments.get("key") or self._key)
        if not key:
            raise UsageError(f"'{step.verb}' needs a deployment key", hint="Watch with --key, or name it in the plan.")
        reason = str(step.arguments.get("reason") or "asked for by a plan")
        match step.verb:
            case "retry":
                created = await self._retry(key, step)
            case "rollback":
                revision = step.arguments.get("to_revision")
                if revision is None:
                    await self._check_is_as_it_was(episode, key)
                created = await create_rollback(
                    self._store, key, int(revision) if revision is not None else None, None, reason=reason
                )
            case word:
                row = await find_deployment(self._store, key)
                await request(self._store, row.id, word, reason)
                return "done", f"asked {row.id} to {word}"
        return await self._drive(created, step.hosts)

    async def _check_is_as_it_was(self, episode: Episode, key: str) -> None:
        """Refuse to go back twice: another episode's rollback may have changed the version since this one opened."""
        rows = await self._store.list_deployments(key=key, limit=NEWEST)
        before = next((row for row in rows if row.created_at_ms <= episode.opened_ms), None)
        if before is not None and (rows[0].version, rows[0].digest) != (before.version, before.digest):
            raise ConflictError(
                f"{key} went from {before.version} to {rows[0].version} since the episode was opened",
                hint="Name the revision in the plan, or roll back by hand.",
            )

    async def _retry(self, key: str, step: PlanStep) -> Event:
        """Retry the newest deployment; where all its hosts had become healthy, deploy it again to the step's hosts."""
        row = await find_deployment(self._store, key)
        try:
            return await create_retry(self._store, row.id)
        except ConflictError:  # all its hosts had become healthy; those of the step went bad since
            return await create_again(
                self._store, row.id, step.hosts, reason=f"again, for {', '.join(step.hosts)}"[:200]
            )

    async def _drive(self, created: Event, hosts: Sequence[str]) -> tuple[str, str]:
        state: RolloutState = await drive(
            self._store, created.deployment, say=self._say, wait_for_people=False, with_keyboard=False
        )
        return what_came_of(state, hosts)


def what_came_of(state: RolloutState, hosts: Sequence[str]) -> tuple[str, str]:
    """Return `done` or `failed`, and how a deployment stands: where it did not help, its first bad host and why."""
    told = f"{state.id} is {state.status}"
    if did_help(state, hosts):
        return "done", told
    bad = [host for host in state.hosts if host.status in (*BAD, REVERT_FAILED, NO_PREVIOUS) or host.cause]
    if not bad:
        return "failed", f"{told}: {state.reason}" if state.reason else told
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    return "failed", f"{told}: {bad[0].spec.name}: {bad[0].cause or bad[0].error or bad[0].status}{more}"


def did_help(state: RolloutState, hosts: Sequence[str]) -> bool:
    """Return whether a deployment did what a step wanted: a partial one only where the step's own hosts are well."""
    if state.status != PARTIAL:
        return state.status in GOOD
    rows = [state.hosts[state.index[host]] for host in hosts if host in state.index]
    return bool(rows) and all(row.status in WELL for row in rows)

"""Carry effects out on hosts: look, stage, switch, revert, probe. It decides nothing; it says what came of each.

For each part the workflow's steps run in order until one fails. Every step is announced and its end noted, its whole
output goes to a file, and the event that ends the effect carries the step, the exit code, the error and a hint.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.host.detached import operation_id
from sane.core.host.lease import fence
from sane.core.host.record import HostFacts, HostRecord, look, mark_proven, parse_look, write_record
from sane.core.host.source import pack_source
from sane.core.rollout.actions import part_of
from sane.core.rollout.controller import Effect, JudgeGates, Preflight, ProbeHealth, RolloutState, finished, observed
from sane.core.rollout.hints import hint_for
from sane.core.rollout.table import GOOD, REVERTING
from sane.core.workflow.binding import Binding
from sane.core.workflow.steps import Step
from sane.engine.context import AsyncContext
from sane.engine.dead_man import arm_guard, call_off, has_fired, proves
from sane.engine.host_leases import HostLeases
from sane.engine.hosts import HostPlaces
from sane.engine.plan import DeploymentPlan, nonce_of
from sane.engine.probes import judge_gates, probe_host
from sane.engine.steps import Place, StepResult, is_out_of_reach, run_step
from sane.errors import ConflictError, LostError, RemoteError, SaneError, TransportError
from sane.store.outputs import open_output


class WorkflowPerformer:
    """Perform a workflow's parts on the hosts of one deployment."""

    def __init__(
        self,
        plan: DeploymentPlan,
        context: AsyncContext,
        places: HostPlaces,
        owner: str,
        rank: Callable[[], int],
        now_ms: Callable[[], int],
        note: Callable[[Event], None],
    ) -> None:
        self._plan = plan
        self._context = context
        self._places = places
        self._now_ms = now_ms
        self._note = note
        self._leases = HostLeases(plan.workflow.key, owner, rank, self._run)
        self._begun_ms: dict[str, int] = {}
        self._begun_here: dict[str, bool] = {}
        self._changing: set[str] = set()  # operations of which something began on the host, or may have
        self._unproven: dict[str, str] = {}  # hosts that have the digest, and the deployment that did not prove it

    async def perform(self, action: Effect | JudgeGates, state: RolloutState, *, resumed: bool) -> Event:
        """Carry an effect out and return the event that says what came of it."""
        if isinstance(action, JudgeGates):
            outcome, why = await judge_gates(self._context, self._places, self._plan, state, action)
            return finished(action, state, self._now_ms(), outcome, **({"error": why} if why else {}))
        if isinstance(action, ProbeHealth):
            return await self._probe(action, state)
        try:
            if isinstance(action, Preflight):
                return await self._preflight(action, state)
            if resumed:
                self._changing.add(action.operation)
            async with self._leases.held(action.host):
                return await self._part(action, state, resumed=resumed)
        except LostError as error:
            return self._ended(action, state, "lost", error=error.message, hint=error.hint)
        except SaneError as error:
            outcome = "unreachable" if isinstance(error, TransportError) else "failed"
            if resumed and not isinstance(action, Preflight) and is_out_of_reach(error):
                outcome = "lost"  # an earlier controller may have begun its steps
            return self._ended(action, state, outcome, error=error.message, hint=error.hint)

    def _ended(self, action: Effect, state: RolloutState, outcome: str, **details: Any) -> Event:
        told = {k: v for k, v in details.items() if v not in ("", None)}
        sure = action.part in ("stage", "switch") and outcome in ("unreachable", "failed")
        if sure and action.operation not in self._changing:
            told["begun"] = False
        return finished(action, state, self._now_ms(), outcome, **told)

    async def _preflight(self, action: Effect, state: RolloutState) -> Event:
        async with self._leases.looking(action.host):
            facts = await self._look(action.host, state)
            if not facts.problem and not _has(facts, action):
                self._leases.mark(action.host)
        if not facts.problem and not _has(facts, action):
            try:
                # What was seen without the lease may have changed since.
                facts = await self._leases.take_in_order(action.host)
            except ConflictError as error:
                return self._ended(action, state, "failed", error=error.message, hint=error.hint, conflict=True)
        if facts.problem:
            hint = hint_for(None, facts.problem)
            return self._ended(action, state, "failed", step="preflight", error=facts.problem, hint=hint)
        had = facts.record
        if had is not None and not had.proven and _has(facts, action):
            self._unproven[action.host] = had.deployment
        previous = {"previous_version": had.version, "previous_digest": had.digest} if had else {}
        return self._ended(action, state, "unchanged" if _has(facts, action) else "ok", **previous)

    async def _look(self, host: str, state: RolloutState) -> HostFacts:
        return parse_look((await self._run(host, look(state.key))).output)

    async def _part(self, action: Effect, state: RolloutState, *, resumed: bool) -> Event:
        part, host = part_of(action), state.hosts[state.index[action.host]]
        place = await self._places.place(self._plan.host(action.host))
        place = replace(place, lease=state.key, token=self._leases.token(action.host))
        # In a revert, too, `version` is what was deployed, and `previous_version` what the host had before.
        binding = self._plan.binding(state, action.host, host.spec.version, nonce_of(state, action.host, part))
        # What an earlier controller began may have written its health before we came.
        self._begun_ms[action.host] = host.started_ms if resumed else self._now_ms()
        self._begun_here[action.host] = not resumed
        if part == "revert":
            await call_off(state, action.host, self._run)  # or the host's guard would do the same once more
        elif part == self._last_part(part):
            if state.policy.dead_man_ms:
                self._changing.add(action.operation)  # a guard that was left there acts without us
            await arm_guard(self._plan, state, action, place.env, self._now_ms(), self._run_fenced)
        for number, step in enumerate(self._plan.workflow.part(part), 1):
            name = operation_id(f"{action.operation.replace('/', '.')}.{number}")
            result = await self._step(action, state, place, step, binding, name, resumed=resumed)
            if result.begun:
                self._changing.add(action.operation)
            if result.outcome not in ("ok", "skipped"):
                facts = {"step": step.name, "exit_code": result.exit_code, "error": result.error, "hint": result.hint}
                return self._ended(action, state, result.outcome, **facts)
            if step.register:
                binding = replace(binding, results={**binding.results, step.register: dict(result.answer)})
        if part == self._last_part(part):
            self._changing.add(action.operation)
            await self._record(action, state)
        return self._ended(action, state, "ok")

    def _last_part(self, part: str) -> str:
        """Return the part after which a host has the version: switch, or stage where there is no switch."""
        return part if part == "revert" else "switch" if self._plan.workflow.switch else "stage"

    async def _record(self, action: Effect, state: RolloutState) -> None:
        name, source = pack_source(self._plan.as_host_source(state))
        record = HostRecord(
            action.version,
            action.digest,
            state.revision,
            state.id,
            self._now_ms() // 1000,
            name,
            action.part == "revert",
            "probe" not in state.parts,
        )
        written = await self._run_fenced(action.host, write_record(state.key, record, source))
        if written.exit_code != 0:
            text = written.text + written.stderr.decode("utf-8", "replace")
            problem = text.strip()[-300:]
            raise RemoteError(f"the host could not record what it has: {problem}", hint=hint_for(None, text))

    async def _step(
        self,
        action: Effect,
        state: RolloutState,
        place: Place,
        step: Step,
        binding: Binding,
        operation: str,
        *,
        resumed: bool,
    ) -> StepResult:
        part, started_ms = part_of(action), self._now_ms()
        self._say("step_started", state, action.host, step=step.name, part=part, verb=step.verb)
        result = await run_step(self._context, place, step, binding, operation, resumed=resumed)
        details: dict[str, Any] = {"step": step.name, "part": part, "outcome": result.outcome}
        details |= {"exit_code": result.exit_code, "duration_ms": self._now_ms() - started_ms}
        if pruned := result.answer.get("pruned"):
            details["pruned"] = pruned  # the log knows which releases no rollback can go back to
        if result.output:
            details["output_file"] = self._keep(state, action.host, f"{part}-{step.name}", result.output)
        self._say("step_finished", state, action.host, **details)
        return result

    def _keep(self, state: RolloutState, host: str, step: str, output: bytes) -> str:
        with open_output(self._context.state_dir, state.id, host, step, 1) as file:
            file.write(output)
        return str(file.path)

    def _say(self, kind: str, state: RolloutState, host: str, **data: Any) -> None:
        self._note(Event(kind, self._now_ms(), key=state.key, deployment=state.id, host=host, data=data))

    async def _probe(self, action: ProbeHealth, state: RolloutState) -> Event:
        await asyncio.sleep(max(0.0, (action.at_ms - self._now_ms()) / 1000))
        host = state.hosts[state.index[action.host]]
        begun_ms = self._begun_ms.get(action.host, host.started_ms)
        try:
            here = self._begun_here.get(action.host, False)
            seen = await probe_host(
                self._context, self._places, self._plan, state, action, begun_ms, here, self._now_ms
            )
            if seen.verdict != "pass" and action.activated and await has_fired(state, host, self._run):
                reason = f"its dead-man guard took it back to {host.previous_version}"
                seen = replace(seen, verdict="fail", reason=reason, rule="dead_man")
        except (SaneError, TimeoutError) as error:
            reason = error.message if isinstance(error, SaneError) else "the host did not answer in time"
            return observed(action, state, self._now_ms(), "unreachable", reason=reason)
        facts = {"status": seen.status, "version": seen.version, "reason": seen.reason, "rule": seen.rule}
        at_ms = self._now_ms()
        if seen.verdict == "pass" and action.side == "live" and proves(state, host, at_ms):
            try:
                gone = await call_off(state, action.host, self._run)
            except SaneError as error:  # not called off, so not proven: the guard may still take it back
                return observed(action, state, self._now_ms(), "unreachable", reason=error.message)
            if gone and host.status != "reverting":
                reason = "its dead-man guard took it back before it was confirmed"
                return observed(action, state, self._now_ms(), "fail", reason=reason, rule="dead_man")
        if seen.verdict == "pass" and action.side == "live" and (action.activated or action.host in self._unproven):
            await self._mark_proven(action, state, at_ms)
        return observed(action, state, at_ms, seen.verdict, **facts)

    async def _mark_proven(self, action: ProbeHealth, state: RolloutState, at_ms: int) -> None:
        """Let the host keep that it was proven, where this sample proves it: `sane adopt` has nobody else to ask."""
        host = state.hosts[state.index[action.host]]
        at_once = host.status == REVERTING or not action.activated
        if host.status in GOOD or not (at_once or proves(state, host, at_ms)):
            return
        deployment = state.id if action.activated else self._unproven.pop(action.host)
        with contextlib.suppress(SaneError):  # without the mark it counts as unproven, and nothing else hangs on it
            await self._run(action.host, mark_proven(state.key, deployment, reverted=host.status == REVERTING))

    async def _run(self, host: str, command: Command) -> CommandResult:
        place = await self._places.place(self._plan.host(host))
        transport = await self._context.transport(place.control)
        quiet = replace(
            command, env={**command.env, **place.env}, display=command.display or "# sane: look at the host"
        )
        return await transport.run(quiet)

    async def _run_fenced(self, host: str, command: Command) -> CommandResult:
        return await self._run(host, fence(command, self._plan.workflow.key, self._leases.token(host)))

    async def release(self, left: Iterable[str]) -> None:
        """Give up the leases on all hosts, and those that earlier controllers may have left on `left`, within 5 s.

        On a host that can't be reached it expires.
        """
        await self._leases.release(left)


def _has(facts: HostFacts, action: Effect) -> bool:
    return facts.record is not None and facts.record.digest == action.digest

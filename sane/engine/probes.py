"""Read and judge the health of hosts: one round trip each, the proof by the pure rules of `sane.core.health`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sane.core.command import Command
from sane.core.fleet.hostset import fold
from sane.core.health import AGE_IN_POLLS, Facts, GateSaid, HealthVerdict, judge
from sane.core.health import Gate as HealthGate
from sane.core.host.health_probe import ProbeReading, health_probe_script, parse_probe
from sane.core.rollout.controller import JudgeGates, ProbeHealth, RolloutState
from sane.core.strict_json import RefusedError, parse_document
from sane.core.workflow.gates import Gate, evaluate
from sane.engine.context import AsyncContext
from sane.engine.fan_out import ask_all
from sane.engine.hosts import HostPlaces
from sane.engine.plan import DeploymentPlan, nonce_of
from sane.errors import SaneError, UnreachableError
from sane.transports.base import Transport

PROBE_TIMEOUT_S = 15.0  # connect, banner and login have their own, shorter ones
PROVING = ("checking", "reverting", "unknown")
TORN_AGAIN_S = 0.05  # a writer that is in the middle of a small file is done by then


async def probe_host(
    context: AsyncContext,
    places: HostPlaces,
    plan: DeploymentPlan,
    state: RolloutState,
    action: ProbeHealth,
    begun_ms: int,
    begun_here: bool,
    now_ms: Callable[[], int],
) -> HealthVerdict:
    """Return what a host's health file proves for a probe. `begun_ms` is when the activation began, by our clock.

    A file that a deployment writes once must outlast the proof, and is old and true when it is asked later: where the
    workflow names no `max_age`, its age counts only while an activation that began here is proven, with `min_healthy`
    added, and only where the file does not name that activation.
    Raises SaneError where the host can't be asked, TimeoutError where it does not answer.
    """
    back = state.hosts[state.index[action.host]].status in ("reverting", "reverted", "revert_failed")
    nonce = nonce_of(state, action.host, "revert" if back else "forward")
    binding = plan.binding(state, action.host, action.version, nonce)
    facts = _facts(plan, state, action, nonce if action.activated else "", begun_here=begun_here)

    def facts_of(reading: ProbeReading) -> Facts:
        if not (action.activated and begun_ms and reading.host_now_ms is not None):
            return facts
        # The host's own clock at activation: its time now, less the time that has passed here.
        return replace(facts, activated_at_ms=reading.host_now_ms - max(0, now_ms() - begun_ms))

    place = await places.place(plan.host(action.host))
    transport = await context.transport(place.control)
    path, max_bytes = binding.health_path(), plan.workflow.health.max_bytes
    verdict, _ = await read_and_judge(transport, path, max_bytes, place.env, facts_of)
    return verdict


def _facts(plan: DeploymentPlan, state: RolloutState, action: ProbeHealth, nonce: str, *, begun_here: bool) -> Facts:
    """Return what the file must prove, but for the time of activation."""
    status, limit_ms = state.hosts[state.index[action.host]].status, plan.workflow.health.max_age_ms
    return Facts(
        version=action.version,
        digest=action.digest,
        nonce=nonce,
        poll_interval_ms=state.policy.poll_interval_ms,
        max_bytes=plan.workflow.health.max_bytes,
        fresh=limit_ms is not None or (action.activated and begun_here and status in PROVING),
        max_age_ms=limit_ms or AGE_IN_POLLS * state.policy.poll_interval_ms + state.policy.min_healthy_ms,
        written_once=limit_ms is None,
        health_check=state.policy.health_check,
        gates=gates_of(plan.workflow.health.gates),
    )


async def read_and_judge(
    transport: Transport,
    path: str,
    max_bytes: int,
    env: Mapping[str, str],
    facts_of: Callable[[ProbeReading], Facts],
) -> tuple[HealthVerdict, ProbeReading]:
    """Return what a health file proves, and what was read of it; one that looks cut is read once more."""
    reading = await _read(transport, path, max_bytes, env)
    verdict = _judge(reading, facts_of(reading))
    if verdict.torn:
        await asyncio.sleep(TORN_AGAIN_S)
        reading = await _read(transport, path, max_bytes, env)
        verdict = _judge(reading, facts_of(reading))
    return verdict, reading


def _judge(reading: ProbeReading, facts: Facts) -> HealthVerdict:
    measured = replace(
        facts,
        mtime_ms=reading.mtime_ms,
        mtime_resolution_ms=reading.mtime_resolution_ms,
        host_now_ms=reading.host_now_ms,
        size_bytes=reading.size_bytes,
    )
    verdict = judge(reading.content, measured)
    return replace(verdict, reason=reading.problem) if reading.problem else verdict


async def _read(transport: Transport, path: str, max_bytes: int, env: Mapping[str, str]) -> ProbeReading:
    command: Command = health_probe_script(path, max_bytes)
    async with asyncio.timeout(PROBE_TIMEOUT_S):
        result = await transport.run(replace(command, env={**command.env, **env}))
    if result.timed_out:
        raise UnreachableError("the health probe got no answer in time", phase="command")
    return parse_probe(result.output)


def gates_of(gates: Sequence[Gate]) -> list[tuple[str, HealthGate]]:
    """Return gates as the judge takes them: a name, and a function that answers true, false or None, and why."""
    answers: dict[str, bool | None] = {"pass": True, "fail": False, "inconclusive": None}

    def asker(gate: Gate) -> HealthGate:
        def ask(document: Mapping[str, Any]) -> GateSaid:
            result = evaluate(gate, document)
            return GateSaid(answers[result.outcome], result.detail)

        return ask

    return [(gate.expression, asker(gate)) for gate in gates]


async def judge_gates(
    context: AsyncContext, places: HostPlaces, plan: DeploymentPlan, state: RolloutState, action: JudgeGates
) -> tuple[Literal["pass", "fail", "inconclusive"], str]:
    """Return what the gates over the canaries against the control hosts say, and why; the worst one decides.

    The gates see `canary` and `control`, each a list of the hosts' health documents under `host` and `health`.
    """
    controls = [name for name in action.controls if name not in action.canaries]
    names = [*action.canaries, *controls]
    documents = await ask_all(names, lambda name: _document(context, places, plan, state, name))
    found = dict(zip(names, documents, strict=True))
    seen = {
        "canary": [found[name] for name in action.canaries if found[name]],
        "control": [found[name] for name in controls if found[name]],
    }
    results = [evaluate(gate, seen) for gate in plan.workflow.canary_gates]
    worst = next((r for word in ("fail", "inconclusive") for r in results if r.outcome == word), None)
    if worst is None:
        return "pass", ""
    silent = [name for name in names if not found[name]]
    return worst.outcome, worst.detail + (f"; no health could be read of {fold(silent)}" if silent else "")


async def _document(
    context: AsyncContext, places: HostPlaces, plan: DeploymentPlan, state: RolloutState, name: str
) -> dict[str, Any] | None:
    version = state.hosts[state.index[name]].spec.version if name in state.index else state.version
    binding = plan.binding(state, name, version, "")
    try:
        place = await places.place(plan.host(name))
        transport = await context.transport(place.control)
        reading = await _read(transport, binding.health_path(), plan.workflow.health.max_bytes, place.env)
        return {"host": name, "health": parse_document(reading.content or b"")}
    except (SaneError, TimeoutError, RefusedError):
        return None  # absent: the gate that needs it is inconclusive

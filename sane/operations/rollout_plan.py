"""Plan a rollout: ask the hosts what they have, play it through, keep the plan under the hash of all it rests on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sane.core.fleet.inventory import Host
from sane.core.host.record import HostRecord
from sane.core.paths import state_dir
from sane.core.rollout.controller import RolloutState, apply, policy_as_json
from sane.core.rollout.simulate import Present, simulate
from sane.core.workflow.binding import fill_arguments
from sane.core.workflow.gates import evaluate
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import guard_warnings, warnings_of
from sane.engine.context import open_context
from sane.engine.plan import DeploymentPlan
from sane.errors import ConfigError, ConflictError, NotFoundError
from sane.operations.inputs import DeployRequest, created_event, load_plan, specs_of
from sane.operations.truth import HostAnswered, ask_hosts
from sane.store.base import Store

KEPT_PLANS = 50
NONCE = "NONCE"  # stands where the activation's own word will be
DEPLOYMENT = "DEPLOYMENT"  # likewise the id, which ends in a random word
_HASH = re.compile(r"[0-9a-f]{8,64}")


async def make_plan(store: Store, asked: DeployRequest) -> dict[str, Any]:
    """Return what a deployment would do now, with its hash; nothing is written anywhere.

    Raises ConfigError, UsageError and NotFoundError as the deployment itself would.
    """
    plan = load_plan(asked)
    hosts = plan.inventory.select(asked.limit)
    context = open_context(plan.inventory)
    try:
        answers = await ask_hosts(context, hosts)
    finally:
        await context.close()
    revision = await store.next_revision(plan.workflow.key)
    created = created_event(plan, asked, specs_of(plan, hosts, asked.version), DEPLOYMENT, revision)
    has = {answer.host: _record(answer, plan.workflow.key) for answer in answers}
    present = {name: Present(record.version, record.digest) for name, record in has.items() if record}
    unreachable = {answer.host: answer.error for answer in answers if answer.truth is None}
    played = simulate(created, present, unreachable)
    state = apply(None, created)
    shown = [_host(plan, state, host, has[host.name], unreachable) for host in hosts]
    parts = _components(plan, asked, revision, has, unreachable)
    return {
        "plan": _hash(parts),
        "key": plan.workflow.key,
        "revision": revision,
        "version": asked.version,
        "ends": played.status,
        "reason": played.reason,
        "batches": [{"kind": b.kind, "group": b.group, "hosts": list(b.hosts)} for b in played.batches],
        "peak_exposure": {"hosts": played.peak, "share": round(played.peak / len(hosts), 4)},
        "hosts": shown,
        "unreachable": unreachable,
        "warnings": list((guard_warnings if all(host.health_path for host in hosts) else warnings_of)(plan.workflow)),
        "policy": policy_as_json(plan.workflow.policy),
        "components": parts,
    }


def _record(answer: HostAnswered, key: str) -> HostRecord | None:
    keys = answer.truth.keys if answer.truth else ()
    return next((known.current for known in keys if known.key == key), None)


def _host(
    plan: DeploymentPlan, state: RolloutState, host: Host, had: HostRecord | None, unreachable: Mapping[str, str]
) -> dict[str, Any]:
    spec = state.hosts[state.index[host.name]].spec
    same = had is not None and had.digest == spec.digest
    change = "unreachable" if host.name in unreachable else "unchanged" if same else "change" if had else "new"
    shown: dict[str, Any] = {"name": host.name, "group": spec.group, "change": change}
    shown |= {"has": had.version if had else None, "gets": spec.version, "digest": spec.digest[:16]}
    shown["has_digest"] = had.digest[:16] if had else None
    steps = _steps(plan, state, host, spec.version, had) if change in ("new", "change") else []
    return shown | {"steps": steps}


def _steps(
    plan: DeploymentPlan, state: RolloutState, host: Host, version: str, had: HostRecord | None
) -> list[dict[str, Any]]:
    known = {"previous_version": had.version, "previous_digest": had.digest} if had else {}
    binding = replace(plan.binding(state, host.name, version, NONCE), **known)
    found: list[dict[str, Any]] = []
    for part in ("stage", "switch"):
        for step in plan.workflow.part(part):
            shown = {"part": part, "step": step.name, "verb": step.verb, "command": _command(step, binding)}
            if step.when is not None:
                outcome = evaluate(step.when, binding.document()).outcome
                shown["when"] = {"pass": "runs", "fail": "is skipped"}.get(outcome, "is decided there")
            found.append(shown)
    return found


def _command(step: Step, binding: Any) -> str:
    try:
        arguments = fill_arguments(step, binding)
    except ConfigError:
        arguments = dict(step.arguments)  # it needs what an earlier step answers
    if step.verb == "run-command":
        return str(arguments["command"])
    return " ".join([step.verb, *(f"{name}={value}" for name, value in arguments.items())])


def _components(
    plan: DeploymentPlan,
    asked: DeployRequest,
    revision: int,
    has: Mapping[str, HostRecord | None],
    unreachable: Mapping[str, str],
) -> dict[str, str]:
    """Return all that a plan rests on, each thing under the name that a drift is told by."""
    parts = {
        "the workflow": _sha(plan.workflow_source.text),
        "the inventory": _sha(plan.inventory_source.text),
        "the key": plan.workflow.key,
        "the version": asked.version,
        "the limit": asked.limit,
        "the controls": asked.controls,
        "the way": asked.via,
        "the variables": _sha(json.dumps(dict(asked.given), sort_keys=True, default=str)),
        "the policy": json.dumps(policy_as_json(plan.workflow.policy), sort_keys=True),
        "the next revision": str(revision),
    }
    parts |= {f"the bundle {path}": digest for path, digest in plan.bundles.items()}
    for name, record in has.items():
        now = f"{record.version} ({record.digest[:16]})" if record else "nothing"
        parts[f"host {name}"] = "unreachable" if name in unreachable else now
    return parts


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _hash(parts: Mapping[str, str]) -> str:
    return _sha(json.dumps(parts, sort_keys=True))


def save_plan(plan: Mapping[str, Any], asked: DeployRequest) -> Path:
    """Keep a plan for `apply`, readable by the caller alone; the oldest beyond 50 are removed."""
    directory = state_dir(os.environ) / "plans"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    request = {
        **asdict(asked),
        "workflow": str(asked.workflow.absolute()),
        "inventory": str(asked.inventory.absolute()),
    }
    request["policy"] = {name: str(value) if name in _AMOUNTS else value for name, value in asked.policy.items()}
    path = directory / f"{plan['plan']}.json"
    new = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"request": request, "plan": plan}, file, ensure_ascii=False)
    new.replace(path)
    kept = sorted(directory.glob("*.json"), key=_written_s, reverse=True)
    for old in kept[KEPT_PLANS:]:
        old.unlink(missing_ok=True)
    return path


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # by another who plans, and who removes the oldest too
        return 0.0


_AMOUNTS = ("max_parallel", "canary", "max_failures")


def find_plan(name: str) -> tuple[dict[str, Any], DeployRequest]:
    """Return a kept plan, by its hash or the first 8 or more digits of it, and its request. Raises NotFoundError."""
    directory = state_dir(os.environ) / "plans"
    found = sorted(directory.glob(f"{name}*.json")) if _HASH.fullmatch(name) else []
    if len(found) != 1:
        problem = "more than one plan begins with" if found else "there is no plan"
        raise NotFoundError(f"{problem} '{name[:80]}'", hint="sane plan prints the hash; the last 50 plans are kept.")
    kept = json.loads(found[0].read_text())
    request = dict(kept["request"])
    request |= {"workflow": Path(request["workflow"]), "inventory": Path(request["inventory"])}
    request["policy"] = _policy(request["policy"])
    return kept["plan"], DeployRequest(**request)


def _policy(given: Mapping[str, Any]) -> dict[str, Any]:
    from sane.core.units import parse_amount

    return {name: parse_amount(value, name) if name in _AMOUNTS else value for name, value in given.items()}


def drift(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what changed between two plans, one sentence each, [] for nothing."""
    found: list[str] = []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name), now.get(name)
        if was == is_now:
            continue
        if was is None or is_now is None:
            found.append(f"{name} is {'new' if was is None else 'gone'}")
        elif name.startswith(("host ", "the next", "the version", "the key")):
            found.append(f"{name}: {was} was planned on, {is_now} is there now")
        else:
            found.append(f"{name} changed")
    return found


async def check_plan(store: Store, kept: Mapping[str, Any], asked: DeployRequest) -> DeployRequest:
    """Return the request to deploy where nothing drifted since the plan. Raises ConflictError naming all that did."""
    now = await make_plan(store, asked)
    if changes := drift(kept["components"], now["components"]):
        raise ConflictError(f"the plan {kept['plan'][:12]} drifted: {'; '.join(changes[:20])}", hint="Plan again.")
    return replace(asked, expect_revision=int(kept["revision"]))

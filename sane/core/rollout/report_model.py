"""The one report of a deployment, computed from its state; every surface shows this and computes nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sane.core.rollout import table as t
from sane.core.rollout.fingerprint import Failure, group_failures
from sane.core.rollout.hints import hint_for_health, way_on
from sane.core.rollout.host_rows import bits
from sane.core.rollout.reconcile import NOTHING_BEFORE, PREFLIGHT_DONE
from sane.core.rollout.state import HookFailed, HostState, RolloutState

_FAILED = (*t.BAD, t.REVERT_FAILED, t.NO_PREVIOUS)


@dataclass(frozen=True, slots=True)
class HostOutput:
    """Name the whole output of a host's last step, and hold its last lines; `names` are other names of the host."""

    tail: str = ""
    file: str = ""
    names: tuple[str, ...] = ()


def report(state: RolloutState, outputs: Mapping[str, HostOutput] | None = None) -> dict[str, Any]:
    """Return the JSON report of a deployment.

    Its shape is {deployment, key, revision, version, status, description, counts, hosts, fingerprints, hooks}; a value
    that is not known is None, and `hooks` are those that failed. `outputs` holds what is kept of each host's output, by
    host name.
    """
    outputs = outputs or {}
    return {
        "deployment": state.id,
        "key": state.key,
        "revision": state.revision,
        "version": state.version,
        "status": state.status,
        "description": state.reason,
        "counts": _counts(state),
        "hosts": [
            _host(state, number, host, outputs.get(host.spec.name, HostOutput()))
            for number, host in enumerate(state.hosts)
        ],
        "fingerprints": _fingerprints(state, outputs),
        "hooks": [_hook(hook) for hook in state.failed_hooks],
    }


def describe(status: str, reason: str, heard_ms: int) -> str:
    """Return why a deployment is as a person sees it; `heard_ms` is the time of its last event, epoch milliseconds."""
    if status != t.INTERRUPTED:
        return reason
    from datetime import UTC, datetime  # 2 ms that only this needs

    heard = datetime.fromtimestamp(heard_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    doing = reason.removeprefix(PREFLIGHT_DONE).removeprefix("; ")
    return f"its controller went away, last heard of at {heard}" + (f"; {doing}" if doing else "")


def _hook(hook: HookFailed) -> dict[str, Any]:
    return {name: value if value != "" else None for name, value in hook._asdict().items()}


def _counts(state: RolloutState) -> dict[str, int]:
    counts = {status: state.count(status) for status in t.HOST_STATES if state.count(status)}
    return {"total": state.total, **counts}


def _host(state: RolloutState, number: int, host: HostState, output: HostOutput) -> dict[str, Any]:
    seen, key = host.health, state.key
    beside = bool(state.unswitched >> number & 1)
    reason = seen.reason if seen else ""
    if beside and not reason:
        reason = f"{host.spec.version} stands beside it, and takes no traffic"
    health = {
        "status": (seen.status or None) if seen else None,
        "version": (seen.version or None) if seen else None,
        "verdict": seen.verdict if seen else None,
        "reason": reason or None,
    }
    unproven = host.status in _FAILED and host.part == "probe" and seen is not None
    switched = host.status != t.FAILED or bool(state.switched >> number & 1)
    explained = ""
    if host.status == t.NO_PREVIOUS and host.error == NOTHING_BEFORE and host.started_ms:
        explained = "It was healthy, and keeps what it has: deploy again once the cause is mended."
    elif unproven and seen:
        explained = hint_for_health(seen.verdict, host.spec.name, key, seen.rule, switched=switched)
    ended = host.ended_ms if host.ended_ms and host.started_ms else 0
    return {
        "name": host.spec.name,
        "status": host.status,
        "version": _version(host, beside=beside),
        "step": None if unproven and not host.failed_step else host.step or None,
        "exit_code": None if unproven else host.exit_code,
        "health": health,
        "previous_version": host.previous_version or None,
        "duration_ms": ended - host.started_ms if ended else None,
        "output_tail": output.tail or None,
        "output_file": output.file or None,
        "error": host.error or host.cause or None,
        "hint": explained or host.hint or _way_on(host, key) or None,
    }


def _version(host: HostState, *, beside: bool) -> str | None:
    """Return the version that is known to take the host's traffic, whether or not its health names one.

    `beside`: the new one is proven beside the old one, and not switched to.
    """
    if host.status in (*t.GOOD, t.REVERTED):
        return (host.previous_version if beside or host.status == t.REVERTED else host.spec.version) or None
    return None


def _way_on(host: HostState, key: str) -> str:
    if host.status in (t.FAILED, t.REVERT_FAILED):
        return way_on(key, retried=True)
    return way_on(key, retried=False) if host.status == t.NO_PREVIOUS or host.cause else ""


def _kind(host: HostState) -> str:
    return f"{host.status} {host.failed_step} {host.exit_code if host.failed_step else ''}"


def _fingerprints(state: RolloutState, outputs: Mapping[str, HostOutput]) -> list[dict[str, object]]:
    def names_of(host: HostState) -> tuple[str, ...]:
        return outputs.get(host.spec.name, HostOutput()).names

    failures = [
        Failure(host.spec.name, host.error or host.cause or host.status, names_of(host), _kind(host))
        for host in (state.hosts[number] for number in bits(state.among(*_FAILED, t.REVERTING, t.REVERTED)))
        if host.status in _FAILED or host.cause
    ]
    return [group.as_json() for group in group_failures(failures)]

"""How a deployment begins: anew, as a retry of one that ended, or as a rollback to an earlier revision.

Each function returns the event that creates the deployment; the caller allocates the revision number by
compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.controller import apply, policy_as_json
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.state import PARTS, HostSpec, HostState, RolloutState
from sane.errors import ConflictError, NotFoundError

RETRIED = (t.FAILED, t.UNREACHABLE, t.UNKNOWN, t.NOT_ATTEMPTED)


@dataclass(frozen=True, slots=True)
class Revision:
    """Keep one numbered deployment of a key as history has it; `stable`: it ended successful, and was not reverted.

    `hosts` are the names of those it was for.
    """

    revision: int
    version: str
    digest: str
    deployment: str
    status: str
    stable: bool
    pruned: bool = False
    hosts: frozenset[str] = frozenset()


def create(
    deployment: str,
    key: str,
    revision: int,
    version: str,
    hosts: Sequence[HostSpec],
    policy: RolloutPolicy,
    at_ms: int,
    *,
    digest: str = "",
    parts: Iterable[str] = PARTS,
    controls: Sequence[str] = (),
    gates: bool = False,
    skip_canary: bool = False,
    reason: str = "",
) -> Event:
    """Return the event that creates a deployment, hosts in the order in which they change, groups one after another.

    `digest` and `version` hold for every host that names none of its own. `parts` are those that the workflow has.
    `controls` are hosts that are not changed and whose health is judged beside the canaries'; `gates` says that there
    are gates over both. Raises UsageError for no host, a host named twice, or an unknown part.
    """
    data: dict[str, Any] = {
        "revision": revision,
        "version": version,
        "digest": digest,
        "hosts": [_spec_as_json(host) for host in hosts],
        "policy": policy_as_json(policy),
        "parts": sorted(parts),
        "controls": list(controls),
        "gates": gates,
        "skip_canary": skip_canary,
        "reason": reason,
    }
    return _checked(Event("deployment_created", at_ms, key=key, deployment=deployment, data=data))


def retry_of(state: RolloutState, deployment: str, revision: int, at_ms: int) -> Event:
    """Return the event that creates a retry: hosts that need it change again, healthy ones are only probed.

    A deployment whose revert did not end goes on with that revert, and touches no other host.
    Raises ConflictError for one that is active, was fully reverted, or leaves nothing to retry.
    """
    if not state.terminal:
        raise ConflictError(f"deployment {state.id} is {state.status}", hint="Resume it, or wait for its end.")
    if state.status == t.REVERTED:
        raise ConflictError(f"deployment {state.id} was reverted: there is nothing to retry", hint="Deploy again.")
    going_back = bool(state.to_revert)
    statuses = (t.REVERT_FAILED, t.REVERTING, t.PENDING) if going_back else RETRIED
    if not (state.among(*statuses) or (state.unswitched and not going_back)):
        hint = "The hosts had no previous version: deploy again." if going_back else "All of its hosts are healthy."
        raise ConflictError(f"no host of deployment {state.id} needs a retry", hint=hint)
    hosts = [_retried(state, number, host, going_back) for number, host in enumerate(state.hosts)]
    data: dict[str, Any] = {
        "revision": revision,
        "version": state.version,
        "hosts": hosts,
        "policy": policy_as_json(state.policy),
        "parts": sorted(state.parts),
        "controls": list(state.controls),
        "gates": state.gates,
        "skip_canary": state.promoted or state.skip_canary,
        "retry_of": state.id,
        "reason": f"retry of revision {state.revision}",
    }
    return _checked(Event("deployment_created", at_ms, key=state.key, deployment=deployment, data=data))


def _retried(state: RolloutState, number: int, host: HostState, going_back: bool) -> dict[str, Any]:
    entry = _spec_as_json(host.spec)
    entry |= {"previous_version": host.previous_version, "previous_digest": host.previous_digest}
    if going_back:
        again = host.status == t.REVERT_FAILED or bool(state.to_revert >> number & 1 and host.status == t.NO_PREVIOUS)
        return entry | ({"task": "revert"} if again else {"task": "keep", "status": host.status})
    needs_it = host.status in RETRIED or state.unswitched >> number & 1
    return entry | {"task": "redeploy" if needs_it else "probe"}


def rollback_to(
    history: Sequence[Revision],
    current: int,
    to_revision: int | None = None,
    expect_revision: int | None = None,
    *,
    unproven: bool = False,
) -> Revision:
    """Return the revision to roll back to: the one asked for, or the newest stable one before the current.

    Passed over are one that has fewer of the current one's hosts than another, for those it lacks would stay as they
    are, and, where the current one is stable, one of the same content: going back to it would change nothing.

    One that never was stable is taken where it is asked for by its number and `unproven` says that this is meant.

    Raises ConflictError where the key is not at `expect_revision`, or the target is the current one, pruned, or was
    never stable; NotFoundError where there is no such revision. All of it is known before any host is touched.
    """
    if expect_revision is not None and expect_revision != current:
        raise ConflictError(
            f"the current revision is {current}, not {expect_revision}", hint="Look again, then decide."
        )
    if to_revision is None:
        return _newest_stable(history, current)
    if to_revision == current:
        raise ConflictError(f"revision {to_revision} is the current one", hint="There is nothing to roll back.")
    found = next((r for r in history if r.revision == to_revision), None)
    if found is None:
        known = ", ".join(str(r.revision) for r in history) or "none"
        raise NotFoundError(f"there is no revision {to_revision}", hint=f"Known revisions: {known}.")
    if found.pruned:
        raise ConflictError(f"the files of revision {to_revision} were pruned", hint="Deploy that version again.")
    if not (found.stable or unproven):
        raise ConflictError(
            f"revision {to_revision} is {found.status}, and was never stable: its hosts were not all proven healthy",
            hint="Leave --to-revision out to take the newest stable one; with --unproven it is taken all the same.",
        )
    return found


def _newest_stable(history: Sequence[Revision], current: int) -> Revision:
    now = next((r for r in history if r.revision == current), None)
    before = [r for r in history if r.stable and not r.pruned and r.revision < current]
    if now is not None and now.stable and now.digest:
        before = [r for r in before if r.digest != now.digest]
    if not before:
        raise NotFoundError("there is no stable revision to roll back to", hint="Name one with --to-revision.")
    hosts = now.hosts if now is not None else frozenset[str]()
    return max(before, key=lambda r: (len(r.hosts & hosts), r.revision))


def rollback_of(
    target: RolloutState, hosts: Sequence[HostSpec], deployment: str, revision: int, at_ms: int, *, canary: bool = False
) -> Event:
    """Return the event that creates a new revision with the versions that `hosts` had in an earlier one.

    Canaries, and the gates over them, are skipped unless `canary` asks for them.
    """
    names = {host.name for host in hosts}
    return create(
        deployment,
        target.key,
        revision,
        target.version,
        [HostSpec(h.name, h.group, h.version, h.digest) for h in hosts],
        target.policy,
        at_ms,
        parts=target.parts,
        controls=[name for name in target.controls if name in names],
        gates=target.gates and canary,
        skip_canary=not canary,
        reason=f"rollback to revision {target.revision}",
    )


def _spec_as_json(spec: HostSpec) -> dict[str, Any]:
    optional = {"group": spec.group, "version": spec.version, "digest": spec.digest}
    task = {} if spec.task == "deploy" else {"task": spec.task}
    return {"name": spec.name, **{name: value for name, value in optional.items() if value}, **task}


def _checked(event: Event) -> Event:
    apply(None, event)
    return event

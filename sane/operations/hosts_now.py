"""The hosts of an earlier deployment, reached as an inventory of now says: they move, and go away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sane.core.events import Event
from sane.core.fleet.hostset import fold
from sane.core.rollout.controller import HostSpec, RolloutState
from sane.core.workflow.binding import check_variables
from sane.engine.plan import Source, digest_of
from sane.errors import ConfigError, ConflictError
from sane.operations.inputs import plan_of


@dataclass(frozen=True, slots=True)
class HostsNow:
    """Hold what a deployment is made of with another inventory; `gone` are hosts that this one does not have."""

    source: Mapping[str, Any]
    specs: Sequence[HostSpec]
    gone: Sequence[str]


def hosts_now(state: RolloutState, first: Event, inventory: Source) -> HostsNow:
    """Return the hosts of a deployment with their versions, as an inventory of now has them otherwise.

    Raises ConflictError where it has none of them, ConfigError where it can't fill in the workflow of then.
    """
    source = {**first.data["source"], "inventory": {"path": inventory.path, "text": inventory.text}}
    plan = plan_of(replace(first, data={**first.data, "source": source}), state)
    names = [host.spec.name for host in state.hosts]
    gone = [name for name in names if plan.inventory.find(name) is None]
    kept = [host.spec for host in state.hosts if host.spec.name not in set(gone)]
    if not kept:
        raise ConflictError(
            f"{inventory.path} has none of the hosts of revision {state.revision}: {fold(names)}",
            hint="Name another inventory with -i FILE.",
        )
    try:
        check_variables(plan.workflow, [plan.host(spec.name) for spec in kept], plan.given)
    except ConfigError as error:
        hint = f"The workflow is that of revision {state.revision}. Name an inventory that fits it with -i FILE."
        raise ConfigError(error.message, file=error.file, hint=hint) from None
    specs = [replace(spec, digest=digest_of(plan, plan.host(spec.name), spec.version)) for spec in kept]
    return HostsNow(source, specs, gone)

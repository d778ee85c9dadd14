"""What a deployment is made of: the files that a person names, read and checked, and what each host gets of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sane.core.document import Problems
from sane.core.events import Event
from sane.core.fleet.inventory import Host, Inventory
from sane.core.host.dead_man import check_dead_man
from sane.core.names import check_version
from sane.core.rollout.controller import HostSpec, RolloutState
from sane.core.rollout.policy import override_policy
from sane.core.rollout.revisions import create
from sane.core.workflow.binding import check_given, check_variables
from sane.core.workflow.workflow import Workflow, check_key, missing_revert
from sane.engine.plan import DeploymentPlan, Source, bundle_paths, digest_of, source_of
from sane.engine.runner import steady_clock
from sane.errors import ConfigError
from sane.operations.files import inventory_of, parse_yaml, read_bytes, workflow_of


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Hold what a person asks for; `policy` are fields that go before the workflow's, `given` its variables."""

    workflow: Path
    inventory: Path
    version: str
    key: str = ""
    limit: str = "all"
    via: str = "ssh"
    policy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str = ""
    idempotency_key: str = ""
    controls: str = ""  # a pattern of hosts, before the workflow's own
    expect_revision: int = 0  # 0: whichever is next


def load_plan(request: DeployRequest) -> DeploymentPlan:
    """Return the inputs of a deployment, read and checked. Raises ConfigError, UsageError, NotFoundError."""
    workflow_source, inventory_source = read_source(request.workflow), read_source(request.inventory)
    workflow, inventory = workflow_from(workflow_source), _inventory(inventory_source)
    policy = override_policy(workflow.policy, request.policy) if request.policy else workflow.policy
    key = check_key(request.key or workflow.key)
    plan = DeploymentPlan(
        replace(workflow, policy=policy, key=key),
        inventory,
        workflow_source,
        inventory_source,
        request.via,
        dict(request.given),
    )
    check_version(request.version)
    if message := missing_revert(plan.workflow):
        raise ConfigError(message, file=workflow.file, hint="Write revert: with its steps, or choose on_failure: stop.")
    check_dead_man(plan.workflow)
    hosts = inventory.select(request.limit)
    check_given(plan.workflow, workflow_source.text, hosts, plan.given)
    check_variables(plan.workflow, hosts, plan.given)
    return pin_bundles(plan, hosts, request.version)


def pin_bundles(plan: DeploymentPlan, hosts: Sequence[Host], version: str) -> DeploymentPlan:
    """Return the plan with the digests of its bundles as they are now. Raises NotFoundError, UsageError for one."""
    paths = {path for host in hosts for path in bundle_paths(plan, host, host.version or version)}
    if not paths:
        return plan
    from sane.primitives._bundle import read_manifest

    return replace(plan, bundles={path: read_manifest(path).digest for path in sorted(paths)})


def read_source(path: Path) -> Source:
    """Return a file with its absolute path. Raises NotFoundError, UsageError, ConfigError."""
    return Source(str(path.absolute()), read_bytes(path).decode("utf-8", "surrogateescape"))


@lru_cache(maxsize=4)  # 25 ms a time: who deploys reads the files to create the deployment, and again to drive it
def workflow_from(source: Source) -> Workflow:
    """Return the workflow in a text. Raises ConfigError."""
    problems = Problems()
    return workflow_of(parse_yaml(source.text.encode("utf-8", "surrogateescape"), source.path, problems), problems)


@lru_cache(maxsize=4)
def _inventory(source: Source) -> Inventory:
    problems = Problems()
    return inventory_of(parse_yaml(source.text.encode("utf-8", "surrogateescape"), source.path, problems), problems)


def plan_of(first: Event, state: RolloutState) -> DeploymentPlan:
    """Return the inputs of a deployment from the event that created it."""
    kept = first.data["source"]
    workflow_source, inventory_source = source_of(first, "workflow"), source_of(first, "inventory")
    workflow, inventory = workflow_from(workflow_source), _inventory(inventory_source)
    return DeploymentPlan(
        replace(workflow, policy=state.policy, key=state.key),
        inventory,
        workflow_source,
        inventory_source,
        str(kept["via"]),
        dict(kept["given"]),
        dict(kept.get("bundles", {})),
    )


def parts_of(workflow: Workflow) -> list[str]:
    """Return the parts that a deployment of a workflow goes through."""
    parts = [name for name in ("stage", "switch", "revert") if workflow.part(name)]
    return ["preflight", *parts, *(["probe"] if workflow.health.path else [])]


def specs_of(plan: DeploymentPlan, hosts: Sequence[Host], version: str) -> list[HostSpec]:
    """Return what each host gets: its own version before the deployment's, in its place among the ordered groups."""
    orders: dict[str, set[int]] = {}
    for host in hosts:
        for group in host.groups:
            orders.setdefault(group, set()).add(host.order)

    def spec(host: Host) -> HostSpec:
        # The group that has one place in the order: not a parent whose children have places of their own.
        group = next((name for name in host.groups if len(orders[name]) == 1), "".join(host.groups[:1]))
        own = check_version(host.version or version)
        return HostSpec(host.name, group, own, digest_of(plan, host, own))

    return [spec(host) for host in hosts]


def created_event(
    plan: DeploymentPlan, request: DeployRequest, specs: Sequence[HostSpec], deployment: str, revision: int
) -> Event:
    """Return the event that creates a deployment, without what the log keeps beside it."""
    return create(
        deployment,
        plan.workflow.key,
        revision,
        request.version,
        specs,
        plan.workflow.policy,
        steady_clock()(),
        digest=digest_of_all(specs),
        controls=controls_of(plan, request),
        parts=parts_of(plan.workflow),
        gates=bool(plan.workflow.canary_gates),
        reason=request.reason,
    )


def controls_of(plan: DeploymentPlan, request: DeployRequest) -> list[str]:
    """Return the hosts whose health is judged beside the canaries'. Raises NotFoundError for an unknown one."""
    pattern = request.controls or plan.workflow.controls
    return [host.name for host in plan.inventory.select(pattern)] if pattern else []


def digest_of_all(specs: Sequence[HostSpec]) -> str:
    """Return the digest of what all hosts of a deployment get."""
    return hashlib.sha256("".join(spec.digest for spec in specs).encode()).hexdigest()

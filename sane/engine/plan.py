"""What a deployment works with: the workflow, the hosts, and the values of who deploys, as the log holds them.

A deployment's files are kept in its `deployment_created` event, so that another terminal or another controller goes on
with exactly what was deployed, whatever has become of the files since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sane.core.events import Event
from sane.core.fleet.inventory import Host, Inventory
from sane.core.rollout.controller import RolloutState, policy_as_json
from sane.core.workflow.binding import Binding, bundle_source
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Source:
    """Keep a file as it was read: its path for people, its text for whoever goes on."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """Hold the inputs of a deployment; `via` is how hosts are reached, `given` the variables of who deploys.

    `bundles` are the digests of the bundles that push-bundle steps send, by their paths.
    """

    workflow: Workflow
    inventory: Inventory
    workflow_source: Source
    inventory_source: Source
    via: str = "ssh"
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bundles: Mapping[str, str] = field(default_factory=dict[str, str])

    def host(self, name: str) -> Host:
        """Return a host of the inventory."""
        found = self.inventory.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def binding(self, state: RolloutState, host: str, version: str, nonce: str) -> Binding:
        """Return what fills the workflow in for a host."""
        known = state.hosts[state.index[host]] if host in state.index else None
        return Binding(
            workflow=self.workflow,
            host=self.host(host),
            version=version,
            key=state.key,
            previous_version=known.previous_version if known else "",
            revision=state.revision,
            deployment=state.id,
            nonce=nonce,
            given=self.given,
            digest=known.spec.digest if known else "",
            previous_digest=known.previous_digest if known else "",
            bundles=self.bundles,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the event keeps of the plan."""
        return {
            "workflow": {"path": self.workflow_source.path, "text": self.workflow_source.text},
            "inventory": {"path": self.inventory_source.path, "text": self.inventory_source.text},
            "via": self.via,
            "given": dict(self.given),
            **({"bundles": dict(self.bundles)} if self.bundles else {}),
        }

    def as_host_source(self, state: RolloutState) -> dict[str, Any]:
        """Return what a host keeps of a deployment: not the inventory, whose other hosts are none of its business."""
        own = {name: value for name, value in self.as_json().items() if name != "inventory"}
        return {**own, "policy": policy_as_json(state.policy), "version": state.version, "hosts": state.total}


def digest_of(plan: DeploymentPlan, host: Host, version: str) -> str:
    """Return the digest of what a version means on a host: SHA-256 over steps, version, variables and bundles.

    The workflow's policy, hooks, revert, timeouts, comments and layout are no part of it: who changes those need not
    deploy again.
    """
    workflow = plan.workflow
    does = [_what_it_does(workflow.stage), _what_it_does(workflow.switch), dict(workflow.vars), workflow.health.path]
    parts: list[Any] = [does, version, dict(host.vars), dict(plan.given), host.health_path]
    if digests := [plan.bundles[path] for path in bundle_paths(plan, host, version) if path in plan.bundles]:
        parts.append(digests)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def _what_it_does(steps: Sequence[Step]) -> list[Any]:
    return [
        [s.verb, dict(s.arguments), s.register, *(gate.expression if gate else "" for gate in (s.when, s.expect))]
        for s in steps
    ]


def bundle_paths(plan: DeploymentPlan, host: Host, version: str) -> list[str]:
    """Return the paths of the bundles that a version means on a host, as far as they are known before it changes."""
    pushed = [step for step in (*plan.workflow.stage, *plan.workflow.switch) if step.verb == "push-bundle"]
    if not pushed:
        return []
    binding = Binding(plan.workflow, host, version, key=plan.workflow.key, given=plan.given)
    return [path for step in pushed if (path := bundle_source(step, binding))]


def nonce_of(state: RolloutState, host: str, part: str) -> str:
    """Return the nonce of one activation: the same for a controller that resumes, another for every other one."""
    back = "revert" if part == "revert" else "forward"
    return hashlib.sha256(f"{state.id}|{state.created_ms}|{host}|{back}".encode()).hexdigest()[:24]


def source_of(event: Event, name: str) -> Source:
    """Return a file that a `deployment_created` event keeps."""
    kept = event.data["source"][name]
    return Source(str(kept["path"]), str(kept["text"]))

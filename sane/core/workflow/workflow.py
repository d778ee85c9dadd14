"""How one host changes: the workflow that a file describes.

`stage` puts the new version beside the old and checks it, `switch` turns to it, `revert` turns back. Each is a list of
steps, and each step calls one verb. In what order hosts change is the policy's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sane.core.document import Fields, Node, Problems, with_units
from sane.core.rollout.policy import RolloutPolicy, read_policy
from sane.core.units import show_duration
from sane.core.workflow.gates import Gate, compile_gate
from sane.core.workflow.steps import HOOK_NAMES, HOST_NAMES, Step, VerbTable, check_names, read_steps
from sane.core.workflow.template import parse_template
from sane.errors import UsageError

PARTS = ("stage", "switch", "revert")
HOOKS = ("pre_deploy", "post_deploy", "on_failure")
GATE_SCOPES = ("host", "canary", "deployments")
HEALTH_PATH = "health.json"
MAX_HEALTH_BYTES = 64 << 10  # a status, a version, a nonce and some detail: far below it
_KEYS = (
    *(
        "name",
        "description",
        "vars",
        "parameters",
        "deployment",
        "policies",
        "policy",
        "health",
        "gates",
        "controls",
        "hooks",
    ),
    *PARTS,
)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class HealthFile:
    """Say where a host writes its health, how large that may be, and what its content must pass beside its verdict.

    `path` may hold `{{ name }}`; a host's own `health_path` goes before it. "" (`health: none` in the file) says that
    there is nothing to prove: a host whose steps succeeded counts as healthy. `max_age_ms` is for a file that its host
    writes again and again: older never counts. None: its age counts only while its own activation is proven.
    `is_assumed`: the file says nothing of health.
    """

    path: str = HEALTH_PATH
    gates: tuple[Gate, ...] = ()
    max_bytes: int = MAX_HEALTH_BYTES
    max_age_ms: int | None = None
    is_assumed: bool = False


@dataclass(frozen=True, slots=True)
class Workflow:
    """Hold a workflow that was read without a mistake.

    `vars` are the defaults of its variables; None must be given by the inventory or by who deploys. `key` is the
    deployment key, made of the name where none is given. `hooks` run once a deployment, on this machine; the parts run
    once a host. `deployment_gates` must pass before anything begins; `controls` is a pattern of hosts whose health is
    judged beside the canaries'.
    """

    name: str
    key: str
    description: str = ""
    vars: Mapping[str, Any] = field(default_factory=dict[str, Any])
    policy: RolloutPolicy = field(default_factory=RolloutPolicy)
    health: HealthFile = field(default_factory=HealthFile)
    canary_gates: tuple[Gate, ...] = ()
    deployment_gates: tuple[Gate, ...] = ()
    controls: str = ""
    stage: tuple[Step, ...] = ()
    switch: tuple[Step, ...] = ()
    revert: tuple[Step, ...] = ()
    hooks: Mapping[str, tuple[Step, ...]] = field(default_factory=dict[str, tuple[Step, ...]])
    file: str = ""

    def part(self, name: str) -> tuple[Step, ...]:
        """Return the steps of stage, switch, revert or a hook; none where the workflow has none."""
        parts = {"stage": self.stage, "switch": self.switch, "revert": self.revert}
        return parts.get(name) or self.hooks.get(name, ())


def check_key(key: str) -> str:
    """Return a deployment key that is safe as a directory's name. Raises UsageError for any other."""
    if not _KEY.fullmatch(key):
        hint = "Use letters, digits and . _ -, starting with a letter or digit, 100 at most."
        raise UsageError(f"deployment key {key[:120]!r} can't be used", hint=hint)
    return key


def read_workflow(node: Node, problems: Problems, verbs: VerbTable) -> Workflow:
    """Return the workflow of a file's root node, recording every mistake; it is whole only when there are none."""
    top = Fields(node, problems, "the workflow", _KEYS)
    variables = _read_vars(top, problems)
    name = _read_name(top, problems)
    health, policy = _read_health_and_policy(top, variables, problems)
    parts = {part: read_steps(top, part, (*HOST_NAMES, *variables), problems, verbs) for part in PARTS}
    hooks = top.mapping("hooks", HOOKS)
    hook_steps = {hook: read_steps(hooks, hook, (*HOOK_NAMES, *variables), problems, verbs) for hook in HOOKS}
    gates = top.mapping("gates", GATE_SCOPES)
    workflow = Workflow(
        name=name,
        key=_read_key(top, name, problems),
        description=top.text("description"),
        vars=variables,
        policy=policy,
        health=replace(health, gates=(*health.gates, *read_gates(gates, "host", problems))),
        canary_gates=read_gates(gates, "canary", problems),
        deployment_gates=read_gates(gates, "deployments", problems),
        controls=top.text("controls"),
        hooks={hook: steps for hook, steps in hook_steps.items() if steps},
        file=node.file,
        **parts,
    )
    _check_whole(workflow, top, problems)
    return workflow


def _read_name(top: Fields, problems: Problems) -> str:
    name, node = top.text("name"), top.get("name")
    if not name and top.node.kind == "map" and (node is None or node.kind == "scalar"):
        problems.add(top.key("name"), "the workflow has no name", "Write name: with a word for it.")
    return name


def _read_key(top: Fields, name: str, problems: Problems) -> str:
    deployment = top.mapping("deployment", ("key",))
    key = deployment.text("key") or re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "workflow"
    if not _KEY.fullmatch(key):
        problems.add(
            deployment.key("key"), f"deployment key '{key[:120]}' can't be used", "Use letters, digits and . _ -."
        )
    return key


def _read_vars(top: Fields, problems: Problems) -> dict[str, Any]:
    if "vars" in top and "parameters" in top:
        problems.add(top.key("parameters"), "parameters is another name of vars", "Write one of the two.")
    found: dict[str, Any] = {}
    for key, value in top.mapping("parameters" if "parameters" in top else "vars"):
        if not _VARIABLE.fullmatch(key.text):
            problems.add(key, f"'{key.text[:80]}' can't be the name of a variable", "Use letters, digits and _.")
        elif key.text in (*HOST_NAMES, "results", "vars"):
            problems.add(key, f"'{key.text}' has its value from the deployment", "Choose another name.")
        found[key.text] = value.value()
    return found


def _read_health_and_policy(
    top: Fields, variables: Mapping[str, Any], problems: Problems
) -> tuple[HealthFile, RolloutPolicy]:
    durations = with_units(("poll_interval", "max_age"))
    known = ("path", "gate", "gates", *durations, *with_units(("max_bytes",), ("_kb", "_mb")))
    policy = _read_policy(top, problems)
    written = top.get("health")
    if written is not None and written.kind == "scalar" and written.text == "none":
        return HealthFile(""), policy
    health = top.mapping("health", known)
    poll_ms = health.duration_ms("poll_interval", policy.poll_interval_ms)
    path, node = health.text("path", HEALTH_PATH), health.get("path")
    if node is not None and node.kind == "scalar":
        names = tuple(name for name in (*HOST_NAMES, *variables) if name != "health_path")
        template = problems.attempt(node, lambda: parse_template(path), None)
        check_names(node, template, names, (), problems)
    gates = (*read_gates(health, "gate", problems), *read_gates(health, "gates", problems))
    max_age_ms = health.duration_ms("max_age", 0, bare="s") or None
    file = HealthFile(path, gates, _read_max_bytes(health), max_age_ms, is_assumed=written is None)
    if poll_ms < 1:
        problems.add(health.key("poll_interval"), "poll_interval must be longer than 0")
        poll_ms = 1
    return file, replace(policy, poll_interval_ms=poll_ms)


def _read_max_bytes(health: Fields) -> int:
    return max(1, health.size_bytes("max_bytes", MAX_HEALTH_BYTES))


def _read_policy(top: Fields, problems: Problems) -> RolloutPolicy:
    policies = top.mapping("policies", ("update",))
    if top.get("policy") is not None and policies.get("update") is not None:
        problems.add(top.key("policy"), "policy is the short form of policies.update", "Write one of the two.")
    node = policies.get("update") or top.get("policy")
    return RolloutPolicy() if node is None else read_policy(node, problems)


def read_gates(read: Fields, name: str, problems: Problems) -> tuple[Gate, ...]:
    """Return the gates under a field: one expression, or a list of them."""
    found = [
        problems.attempt(node, lambda t=text, n=node: compile_gate(t, n.line), None)
        for text, node in read.strings(name)
    ]
    return tuple(gate for gate in found if gate is not None)


def _check_whole(workflow: Workflow, top: Fields, problems: Problems) -> None:
    """Record what is wrong between the parts of a workflow."""
    if problems.found:
        return
    if not (workflow.stage or workflow.switch):
        problems.add(top.node, "the workflow has no steps", "Write stage: or switch: with at least one step.")
    if message := missing_revert(workflow):
        problems.add(top.key("policies" if "policies" in top else "policy"), message, "Write revert: with its steps.")


def missing_revert(workflow: Workflow) -> str:
    """Return what is wrong where the policy reverts and the workflow can't, "" where nothing is."""
    on_failure = workflow.policy.on_failure
    return f"on_failure: {on_failure} needs a revert part" if on_failure != "stop" and not workflow.revert else ""


def warnings_of(workflow: Workflow) -> tuple[str, ...]:
    """Return what is no mistake and surprises who writes a workflow for the first time, one sentence each."""
    return (*_health_warnings(workflow), *guard_warnings(workflow))


def guard_warnings(workflow: Workflow) -> tuple[str, ...]:
    """Return that a dead-man guard is too quick for the health that would confirm it, where it is."""
    guard_ms, waits_ms = workflow.policy.dead_man_ms, workflow.policy.healthy_deadline_ms
    if not 0 < guard_ms < waits_ms:
        return ()
    shown = f"dead_man ({show_duration(guard_ms)}) is shorter than healthy_deadline ({show_duration(waits_ms)})"
    return (f"{shown}: a host that needs longer to become healthy is taken back by its own guard",)


def _health_warnings(workflow: Workflow) -> tuple[str, ...]:
    texts = [str(value) for part in ("stage", "switch") for s in workflow.part(part) for value in s.arguments.values()]
    words = ("health_path", "SANE_HEALTH_PATH", HEALTH_PATH)
    if not workflow.health.is_assumed or any(word in text for text in texts for word in words):
        return ()
    waits = show_duration(workflow.policy.healthy_deadline_ms)
    return (
        f"no step writes {HEALTH_PATH}: each host is waited for {waits} and fails, unless it has one; "
        "write health: {path: …} with the file of your hosts, or health: none where there is nothing to prove",
    )

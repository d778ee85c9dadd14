"""The steps of a workflow: one verb each, with what it needs, waits for and must answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sane.core.document import Fields, Node, Problems, describe, with_units
from sane.core.nearest import nearest_hint
from sane.core.units import parse_duration_ms
from sane.core.workflow.gates import Gate, compile_gate
from sane.core.workflow.template import Template, check_shell, has_references, parse_template

# What every template and condition of a host's step sees, beside the workflow's variables and the host's own.
HOOK_NAMES = ("version", "key", "revision", "deployment")
HOST_NAMES = (
    *(*HOOK_NAMES, "host", "address", "user", "previous_version", "nonce", "health_path"),
    *("digest", "previous_digest"),  # the first 16 digits of each
)
STEP_KEYS: tuple[str, ...] = (
    *("name", "when", "expect", "retries", "register"),
    *with_units(("retry_delay", "timeout"), ("_ms", "_s", "_seconds")),
)
MAX_STEPS = 200
_STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,79}")
_REGISTER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# The arguments that are shell text, where values are quoted.
SHELL_ARGUMENTS = frozenset({("run-command", "command")})


@dataclass(frozen=True, slots=True)
class Step:
    """Describe one call of a verb.

    `arguments` go by the verb's parameter names; their strings may hold `{{ name }}`. `when` must pass for the step to
    run, `expect` must pass on the verb's answer for it to succeed. `retries` follow a failure, `retry_delay_ms` apart.
    `timeout_ms` None is the verb's own.
    """

    name: str
    verb: str
    arguments: Mapping[str, Any]
    when: Gate | None = None
    expect: Gate | None = None
    retries: int = 0
    retry_delay_ms: int = 1_000
    timeout_ms: int | None = None
    register: str = ""
    line: int = 0


class VerbParameter(Protocol):
    """See a verb's parameter as the registry describes it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def positional(self) -> bool: ...


class VerbTable(Protocol):
    """Look verbs up; the registry stands above this layer."""

    @property
    def names(self) -> Collection[str]: ...
    def parameters(self, name: str) -> Sequence[Any]: ...
    def convert(self, parameter: Any, value: object) -> object: ...


def read_steps(
    top: Fields, part: str, names: Collection[str], problems: Problems, verbs: VerbTable
) -> tuple[Step, ...]:
    """Return the steps under a key; `names` may stand in their templates."""
    node = top.get(part)
    if node is None:
        return ()
    if node.kind != "list":
        problems.add(
            top.key(part), f"{part} must be a list of steps, got {describe(node)}", "Start each step with '- '."
        )
        return ()
    if len(node.items) > MAX_STEPS:
        problems.add(node, f"{part} has more than {MAX_STEPS} steps")
        return ()
    steps: list[Step] = []
    for number, item in enumerate(node.items, 1):
        registered = [step.register for step in steps if step.register]
        step = _StepReading(item, number, names, registered, problems, verbs).step()
        if step is not None and step.name in [other.name for other in steps]:
            problems.add(item, f"{part} has two steps named '{step.name}'", "Give each its own name.")
        if step is not None:
            steps.append(step)
    return tuple(steps)


def check_names(
    node: Node, template: Template | None, names: Collection[str], registered: Iterable[str], problems: Problems
) -> None:
    """Record each name in a template that nothing defines."""
    results = [f"results.{name}" for name in registered]
    for reference in template.references if template else ():
        first, _, rest = reference.name.partition(".")
        if first == "results" and f"results.{rest.partition('.')[0]}" not in results:
            hint = nearest_hint(reference.name, results) or "Write register: on an earlier step of this part."
            problems.add(node, f"no earlier step registers '{reference.name}'", hint, offset=reference.offset)
        elif first != "results" and first not in names:
            hint = f"{nearest_hint(first, names)} Every variable is declared in the workflow's vars.".strip()
            problems.add(node, f"'{reference.name}' is undefined", hint, offset=reference.offset)


class _StepReading:
    def __init__(
        self,
        node: Node,
        number: int,
        names: Collection[str],
        registered: Collection[str],
        problems: Problems,
        verbs: VerbTable,
    ) -> None:
        self.node, self.number, self.names, self.registered = node, number, names, registered
        self.problems, self.verbs = problems, verbs
        self.read = Fields(node, problems, "the step", (*STEP_KEYS, *verbs.names))

    def step(self) -> Step | None:
        """Return the step, None when it is not clear what it calls."""
        written = [key for key, _ in self.read if key.text in self.verbs.names]
        if self.node.kind != "map":
            return None
        if len(written) != 1:
            self._refuse_verbs(written)
            return None
        verb, read = written[0].text, self.read
        return Step(
            name=self._name(verb),
            verb=verb,
            arguments=self._arguments(verb, written[0]),
            when=self._gate("when"),
            expect=self._gate("expect"),
            retries=read.integer("retries", 0, low=0, high=100),
            retry_delay_ms=read.duration_ms("retry_delay", 1_000, bare="s"),
            timeout_ms=read.duration_ms("timeout", 0, bare="s") or None,
            register=self._register(),
            line=self.node.line,
        )

    def _refuse_verbs(self, written: Sequence[Node]) -> None:
        if written:
            listed = ", ".join(key.text for key in written)
            self.problems.add(
                written[1], f"a step calls one verb, this one {len(written)}: {listed}", "Make two steps."
            )
        elif not any(key.text not in (*STEP_KEYS, *self.verbs.names) for key, _ in self.node.entries):
            self.problems.add(self.node, "the step calls no verb", f"Verbs: {', '.join(sorted(self.verbs.names))}.")

    def _name(self, verb: str) -> str:
        name, node = self.read.text("name"), self.read.get("name")
        if node is not None and node.kind == "scalar" and not _STEP_NAME.fullmatch(name):
            self.problems.add(
                node, f"'{name[:80]}' can't be the name of a step", "Use letters, digits, blanks and . _ : / -."
            )
        return name or f"{verb}-{self.number}"

    def _register(self) -> str:
        name, node = self.read.text("register"), self.read.get("register")
        if node is not None and node.kind == "scalar" and not _REGISTER.fullmatch(name):
            self.problems.add(node, f"'{name[:80]}' can't be registered", "Use letters, digits and _.")
        if node is not None and name in self.registered:
            self.problems.add(node, f"'{name}' is already registered by an earlier step")
        return name

    def _gate(self, name: str) -> Gate | None:
        node = self.read.get(name)
        if node is None:
            return None
        text = self.read.scalar(node, name)
        if has_references(text) and not text.lstrip().startswith("{"):
            self.problems.add(
                node, f"{name} is JMESPath, without {{{{ }}}}", "Write vars.NAME, host.name, results.NAME."
            )
            return None
        return self.problems.attempt(node, lambda: compile_gate(text, node.line), None)

    def _arguments(self, verb: str, key: Node) -> dict[str, Any]:
        parameters = {p.name: p for p in self.verbs.parameters(verb)}
        given = self._by_name(verb, key, parameters)
        found: dict[str, Any] = {}
        for name_node, node in given:
            name = self._parameter_name(name_node.text, parameters)
            if name is None:
                names = [n for n in parameters if n != "target"]
                self.problems.add(
                    name_node, f"{verb} has no argument '{name_node.text}'", nearest_hint(name_node.text, names)
                )
            elif node.is_null:
                self.problems.add(name_node, f"{name_node.text} has no value")
            else:
                found[name] = self._value(verb, parameters[name], node)
        written = [self._parameter_name(key.text, parameters) for key, _ in given]
        absent = [n for n, p in parameters.items() if p.required and n not in written and n != "target"]
        if absent and None not in written:  # a mistyped name is the likelier mistake
            self.problems.add(key, f"{verb} needs {', '.join(absent)}")
        return found

    def _by_name(self, verb: str, key: Node, parameters: Mapping[str, Any]) -> Sequence[tuple[Node, Node]]:
        """Return the arguments as pairs; a bare value is the first positional one."""
        value = next(value for name, value in self.read if name is key)
        if value.kind == "map":
            return value.entries
        if value.is_null:
            return ()
        first = next((n for n, p in parameters.items() if p.positional and n != "target"), None)
        if first is None:
            self.problems.add(value, f"{verb} takes its arguments by name", "Write a mapping.")
            return ()
        return ((Node("scalar", first, file=key.file, line=key.line, column=key.column), value),)

    @staticmethod
    def _parameter_name(written: str, parameters: Mapping[str, Any]) -> str | None:
        return next((n for n in (written, written + "_s") if n in parameters), None)

    def _value(self, verb: str, parameter: VerbParameter, node: Node) -> object:
        if node.kind == "map":
            self.problems.add(node, f"{parameter.name} can't be a mapping")
            return None
        for item in node.items or (node,):
            self._check_template(verb, parameter.name, item)
        if node.kind == "list":
            given: object = [item.text for item in node.items]
        elif parameter.kind == "list":
            given = [node.text]
        else:
            given = node.text
        if has_references(str(given)):
            return given  # its type is known only when it is filled in
        return self.problems.attempt(node, self._converted(parameter, given), None)

    def _converted(self, parameter: VerbParameter, given: object) -> Callable[[], object]:
        if parameter.name.endswith("_s") and parameter.kind in ("int", "float"):
            return lambda: parse_duration_ms(given, parameter.name) / 1_000
        return lambda: self.verbs.convert(parameter, given)

    def _check_template(self, verb: str, argument: str, node: Node) -> None:
        if node.kind != "scalar":
            self.problems.add(node, f"{argument} must hold strings, got {describe(node)}")
            return
        template = self.problems.attempt(node, lambda: parse_template(node.text), None)
        check_names(node, template, self.names, self.registered, self.problems)
        if template is not None and (verb, argument) in SHELL_ARGUMENTS:
            self.problems.attempt(node, lambda: check_shell(template), ())

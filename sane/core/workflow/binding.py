"""What a step sees: the names of templates, the document of conditions, and the environment of commands."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sane.core.fleet.hostset import fold
from sane.core.fleet.inventory import Host
from sane.core.nearest import nearest_hint
from sane.core.workflow.steps import SHELL_ARGUMENTS, Step
from sane.core.workflow.template import has_references, parse_template, render, render_shell
from sane.core.workflow.workflow import Workflow
from sane.errors import ConfigError, UsageError

SHORT_DIGEST = 16  # hexadecimal digits: enough for the releases of one application, short enough to be read
_LATE_NAMES = frozenset(("results", "nonce", "previous_version", "digest", "previous_digest", "revision", "deployment"))


@dataclass(frozen=True, slots=True)
class Binding:
    """Hold what fills a workflow in for one host of one deployment; `host` None is a hook on this machine.

    `given` are the variables of who deploys; they go before the host's, and those before the workflow's. `results` are
    the answers that earlier steps registered. `previous_version` is "" on a host that had none. `bundles` are the
    digests that the bundles of push-bundle steps must have, by their paths on this machine.
    """

    workflow: Workflow
    host: Host | None
    version: str
    key: str = ""
    previous_version: str = ""
    revision: int = 0
    deployment: str = ""
    nonce: str = ""
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    digest: str = ""
    previous_digest: str = ""
    bundles: Mapping[str, str] = field(default_factory=dict[str, str])

    def variables(self) -> dict[str, Any]:
        """Return the variables, the most particular ones first in right."""
        return {**self.workflow.vars, **(self.host.vars if self.host else {}), **self.given}

    def values(self) -> dict[str, Any]:
        """Return what `{{ name }}` may name. Raises ConfigError when the path of the health file can't be filled in."""
        return {**self._values_but_health_path(), **({"health_path": self.health_path()} if self.host else {})}

    def _values_but_health_path(self) -> dict[str, Any]:
        values = self.variables() | {
            "version": self.version,
            "key": self.key or self.workflow.key,
            "revision": self.revision,
            "deployment": self.deployment,
            "results": self.results,
        }
        if self.host is not None:
            values |= {
                "host": self.host.name,
                "address": self.host.address,
                "user": self.host.user,
                "previous_version": self.previous_version,
                "nonce": self.nonce,
                "digest": self.digest[:SHORT_DIGEST],
                "previous_digest": self.previous_digest[:SHORT_DIGEST],
            }
        return values

    def health_path(self) -> str:
        """Return the path of the host's health file, its own before the workflow's. Raises ConfigError."""
        if not self.workflow.health.path:
            return ""
        path = (self.host.health_path if self.host else None) or self.workflow.health.path
        return render(parse_template(path), self._values_but_health_path())

    def document(self) -> dict[str, Any]:
        """Return what `when` sees; a host without a previous version has null there."""
        return {
            "host": self.host.as_json() if self.host else None,
            "vars": self.variables(),
            "results": dict(self.results),
            "version": self.version,
            "previous_version": self.previous_version or None,
            "key": self.key or self.workflow.key,
            "revision": self.revision,
            "deployment": self.deployment,
        }


def environment(binding: Binding, step: Step) -> dict[str, str]:
    """Return the environment of a step's commands: SANE_HOST and the like, and SANE_VAR_NAME for each variable.

    Lists and mappings are JSON; a variable without a value is left out. Raises ConfigError for a NUL in a value.
    """
    found = {
        "SANE_VERSION": binding.version,
        "SANE_PREVIOUS_VERSION": binding.previous_version,
        "SANE_DEPLOYMENT": binding.deployment,
        "SANE_KEY": binding.key or binding.workflow.key,
        "SANE_REVISION": str(binding.revision),
        "SANE_NONCE": binding.nonce,
        "SANE_STEP": step.name,
    }
    if binding.host is not None:
        found |= {"SANE_HOST": binding.host.name, "SANE_HEALTH_PATH": binding.health_path()}
    for name, value in binding.variables().items():
        if value is not None:
            found[f"SANE_VAR_{name.upper().replace('-', '_')}"] = value if isinstance(value, str) else json.dumps(value)
    for name, text in found.items():
        if "\0" in text:
            raise ConfigError(f"{name} has a NUL in it")
    return found


def fill_arguments(step: Step, binding: Binding) -> dict[str, object]:
    """Return a step's arguments with their values in them, quoted where they stand in shell text.

    Raises ConfigError, with the step's line, for a name that has no value.
    """
    values = binding.values()
    try:
        filled = {
            name: _fill(value, (step.verb, name) in SHELL_ARGUMENTS, values) for name, value in step.arguments.items()
        }
        return _pinned(filled, binding) if step.verb == "push-bundle" else filled
    except ConfigError as error:
        message = f"step '{step.name}': {error.message}"
        raise ConfigError(message, file=binding.workflow.file, line=step.line, hint=error.hint) from None


def bundle_source(step: Step, binding: Binding) -> str:
    """Return the path of a push-bundle step's bundle, "" where it is known only while the host changes."""
    written = str(step.arguments.get("source", ""))
    names = {reference.name.partition(".")[0] for reference in parse_template(written).references}
    if step.verb != "push-bundle" or names & _LATE_NAMES:
        return ""
    return _beside_workflow(str(_fill(written, False, binding.values())), binding)


def _pinned(arguments: Mapping[str, object], binding: Binding) -> dict[str, object]:
    """Return push-bundle's arguments: the source beside the workflow's file, its digest as it was when deployed."""
    source = _beside_workflow(str(arguments["source"]), binding)
    expect = {"expect": binding.bundles[source]} if source in binding.bundles else {}
    return {**arguments, "source": source, **expect}


def _beside_workflow(source: str, binding: Binding) -> str:
    if source.startswith(("/", "~")):
        return source
    return posixpath.normpath(posixpath.join(posixpath.dirname(binding.workflow.file), source))


def _fill(value: object, shell: bool, values: Mapping[str, Any]) -> object:
    if isinstance(value, list):
        return [_fill(item, shell, values) for item in cast("list[object]", value)]
    if not isinstance(value, str) or not has_references(value):
        return value
    return (render_shell if shell else render)(parse_template(value), values)


def check_variables(workflow: Workflow, hosts: Iterable[Host], given: Mapping[str, Any]) -> None:
    """Refuse a deployment in which a variable without default has no value on some host.

    Raises ConfigError naming the variables and the hosts.
    """
    hosts = tuple(hosts)
    required = [name for name, value in workflow.vars.items() if value is None and given.get(name) is None]
    lacking = {name: [host.name for host in hosts if host.vars.get(name) is None] for name in required}
    lacking = {name: names for name, names in lacking.items() if names}
    if lacking:
        shown = "; ".join(f"{name} on {fold(names)}" for name, names in lacking.items())
        hint = "Give it in the inventory's vars, or with --var NAME=VALUE."
        raise ConfigError(f"variables without a value: {shown}", file=workflow.file, hint=hint)


def check_given(workflow: Workflow, text: str, hosts: Iterable[Host], given: Mapping[str, Any]) -> None:
    """Refuse given variables that neither the workflow, of which `text` is the file, nor a host knows.

    An expression may ask for one that is declared nowhere: `when: vars.NAME`. Raises UsageError.
    """
    known = dict.fromkeys((*workflow.vars, *(name for host in hosts for name in host.vars)))
    for name in given:
        if name not in known and not re.search(rf"\bvars\.{name}\b", text):
            hint = f"{nearest_hint(name, known)} Variables are declared in the workflow's vars.".strip()
            raise UsageError(f"neither the workflow nor the inventory has a variable '{name}'", hint=hint)

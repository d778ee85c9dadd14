"""Ask hosts for their health outside of a rollout, and explain what the proof lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sane.core.fleet.inventory import Host, Inventory
from sane.core.fleet.place import target_of
from sane.core.health import Facts, HealthVerdict
from sane.core.host.health_probe import ProbeReading
from sane.core.workflow.binding import Binding
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.engine.context import AsyncContext
from sane.engine.fan_out import PARALLEL, ask_all
from sane.engine.probes import gates_of, read_and_judge
from sane.errors import SaneError, TransportError


@dataclass(frozen=True, slots=True)
class HealthQuestion:
    """Say what is asked of each host: where the file is, and what it must prove.

    `version` "" is any. `max_age_ms` None takes the workflow's; where that has none either, the age is left alone: a
    file written once by a deployment is old and true.
    """

    workflow: Workflow
    version: str = ""
    max_age_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HostHealth:
    """Hold one host's verdict; `error` and `phase` where it could not be asked."""

    host: str
    verdict: HealthVerdict
    error: str = ""
    phase: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON; what there is none of is left out. `name` is the host's, as in a report."""
        seen = self.verdict
        found = {
            "host": self.host,
            "name": self.host,
            "verdict": seen.verdict,
            "status": seen.status,
            "version": seen.version,
            "reason": self.error or seen.reason,
            "rule": seen.rule,
            "phase": self.phase,
            "hint": self.hint,
        }
        return {name: value for name, value in found.items() if value}


def question_for(workflow: Workflow | None, path: str | None) -> HealthQuestion:
    """Return the question for a workflow's health file, or for a file at `path` (`health.json` when None)."""
    if workflow is None:
        return HealthQuestion(Workflow(name="health", key="health", health=HealthFile(path=path or "health.json")))
    return HealthQuestion(replace(workflow, health=replace(workflow.health, path=path)) if path else workflow)


async def check_health(
    inventory: Inventory,
    hosts: Sequence[Host],
    question: HealthQuestion,
    *,
    parallel: int = PARALLEL,
    on_answer: Callable[[HostHealth], None] = lambda _: None,
) -> list[HostHealth]:
    """Return each host's health in the order given; a host that can't be asked is `unreachable`.

    `on_answer` gets each as it comes.
    """
    context = AsyncContext(inventory)
    try:
        return await ask_all(hosts, lambda host: _ask(context, host, question), parallel=parallel, on_answer=on_answer)
    finally:
        await context.close()


async def _ask(context: AsyncContext, host: Host, question: HealthQuestion) -> HostHealth:
    health = question.workflow.health
    age_ms = health.max_age_ms if question.max_age_ms is None else question.max_age_ms

    def facts_of(reading: ProbeReading) -> Facts:
        return Facts(
            version=question.version,
            max_bytes=health.max_bytes,
            fresh=age_ms is not None,
            max_age_ms=age_ms,
            gates=gates_of(health.gates),
        )

    async def judged() -> HealthVerdict:
        path = Binding(question.workflow, host, question.version).health_path()
        transport = await context.transport(target_of(host))
        verdict, _ = await read_and_judge(transport, path, health.max_bytes, {}, facts_of)
        return verdict

    return await asked(host.name, judged())


async def asked(host: str, judged: Awaitable[HealthVerdict]) -> HostHealth:
    """Return what a host's health was judged to be; one that could not be asked is `unreachable`, with the reason."""
    try:
        return HostHealth(host, await judged)
    except SaneError as error:
        phase = error.phase if isinstance(error, TransportError) else ""
        return HostHealth(host, HealthVerdict("unreachable"), error.message, phase, error.hint)
    except TimeoutError:
        return HostHealth(host, HealthVerdict("unreachable"), "no answer in time", "command")

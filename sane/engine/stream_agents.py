"""Agents that answer in pieces: models with the rules at last, and the rules, which need no model."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sane.core.events import Event
from sane.engine.breakers import IsLate, never_late
from sane.engine.models import ModelCall, ModelChain
from sane.errors import ConfigError, SaneError, UnavailableError
from sane.store.base import DeploymentRow, HostRow, Store

log = logging.getLogger("sane.streams")

NEWEST_DEPLOYMENTS = 100
MOST_KEYS = 20


@dataclass(frozen=True, slots=True)
class Message:
    """Hold what one side of a conversation said; `role` is user, assistant or system."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Text:
    """Hold a piece of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """Hold what happened in a workflow that an answer is about, as JSON."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Say which model answered and what it took."""

    model: str
    input_tokens: int
    output_tokens: int


Item = Text | WorkflowStep | Usage


class StreamingAgent(Protocol):
    """Answer a conversation in pieces, at last a `Usage`. Raises SaneError; is closed to be cancelled.

    `is_late` tells whether it is cancelled because its time is up.
    """

    @property
    def name(self) -> str: ...
    def prepare(self) -> None: ...
    def stream(self, messages: Sequence[Message], *, is_late: IsLate = never_late) -> AsyncGenerator[Item, None]: ...
    async def close(self) -> None: ...


class ModelAgent:
    """Ask a chain of models, and the rules where none of them answers.

    An answer that breaks off in the middle is an error: nobody else would go on where it stopped.
    """

    def __init__(
        self,
        name: str,
        instructions: str,
        chain: ModelChain,
        last: StreamingAgent,
        tools: Sequence[Any] = (),
        store: Store | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._instructions, self._chain, self._last, self._tools = instructions, chain, last, tools

    def prepare(self) -> None:
        """Import what the first answer needs; call it in a thread, before the answer's time begins."""
        self._chain.prepare()

    async def close(self) -> None:
        """Close the models' connections."""
        await self._chain.close()

    async def stream(self, messages: Sequence[Message], *, is_late: IsLate = never_late) -> AsyncGenerator[Item, None]:
        """Yield the pieces of the first model that answers, else of the rules."""
        calls: list[ModelCall] = []
        begun = False
        try:
            pieces = self._chain.stream(
                self._instructions,
                prompt_of(messages),
                tools=self._tools,
                on_call=calls.append,
                is_late=is_late,
            )
            async with aclosing(pieces):
                async for kind, value in pieces:
                    begun = True
                    if kind == "content":
                        yield Text(value)
            yield Usage(calls[-1].model, calls[-1].input_tokens, calls[-1].output_tokens)
            return
        except (UnavailableError, ConfigError) as error:  # no key, no package: as good as a model that is down
            if begun:
                raise
            log.warning("agent %s: no model answers, so the rules do: %s", self.name, error.message)
        finally:
            await asyncio.shield(self._record(calls))
        async with aclosing(self._last.stream(messages)) as items:
            async for item in items:
                yield item

    async def _record(self, calls: Sequence[ModelCall]) -> None:
        """Put what the calls cost into the event log; an answer does not fail because that does."""
        at_ms = time.time_ns() // 1_000_000
        events = [Event("model_called", at_ms, data={"agent": self.name, **call.as_json()}) for call in calls]
        try:
            if events and self._store is not None:
                await self._store.append(events)
        except SaneError as error:
            log.warning("agent %s: what a model cost was not recorded: %s", self.name, error.message)


def prompt_of(messages: Sequence[Message]) -> str:
    """Return a conversation as one prompt: a single question as it is, several turns each behind who said it."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


class RuleAgent:
    """Answer from the event log alone: what is deployed where, what failed, what to do. Needs no model and no key."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store

    def prepare(self) -> None:
        """Do nothing: all is there."""

    async def close(self) -> None:
        """Do nothing: the store is not its own."""

    async def stream(self, messages: Sequence[Message], *, is_late: IsLate = never_late) -> AsyncGenerator[Item, None]:
        """Yield a summary of the deployments that the last question names; of all when it names none."""
        question = next((m.content for m in reversed(messages) if m.role == "user"), "")
        newest: dict[str, DeploymentRow] = {}
        for row in await self._store.list_deployments(limit=NEWEST_DEPLOYMENTS):
            newest.setdefault(row.key, row)
        rows = [(row, await self._store.list_hosts(row.key)) for row in list(newest.values())[:MOST_KEYS]]
        words = set(re.findall(r"[\w.\-]+", question)) | {
            word.strip(".-") for word in re.findall(r"[\w.\-]+", question)
        }
        named = [(row, hosts) for row, hosts in rows if words & {row.key, row.id, *(host.host for host in hosts)}]
        yield Text(headline(len(newest), len(named), bool(named)))
        for row, hosts in named or rows:
            yield WorkflowStep({"deployment": asdict(row)})
            chosen = [host for host in hosts if host.host in words] or hosts
            yield Text(summary_of(row, chosen, int(time.time() * 1000)))
        yield Usage("rules", 0, 0)


def headline(keys: int, named: int, asked: bool) -> str:
    """Return the first line of an answer."""
    if not keys:
        return "Nothing was deployed yet. `sane deploy --help` shows how.\n"
    known = f"{keys} deployment key{'' if keys == 1 else 's'}"
    return f"{known}, {named} of them named in the question.\n" if asked else f"{known}.\n"


def summary_of(row: DeploymentRow, hosts: Sequence[HostRow], now_ms: int) -> str:
    """Return what people want to know of a deployment: state, hosts by status, those in trouble, the next command."""
    counts = Counter(host.status for host in hosts)
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no host"
    minutes = max(0, now_ms - row.updated_at_ms) // 60_000
    text = f"- {row.key} {row.version}, revision {row.revision}: {row.status}, {minutes} min ago; {by_status}.\n"
    if row.reason:
        text += f"  Reason: {row.reason}\n"
    bad = [host.host for host in hosts if host.status in ("failed", "unreachable", "unknown", "revert_failed")]
    if bad:
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        text += f"  In trouble: {', '.join(bad[:10])}{more}."
        text += f" Try `sane retry {row.id}`, or `sane deployment rollback {row.key}`.\n"
    if row.status in ("awaiting_promotion", "paused"):
        text += (
            f"  It waits: `sane deployment {'promote' if row.status == 'awaiting_promotion' else 'resume'} {row.id}`.\n"
        )
    return text

"""Call a model through pydantic-ai, which is imported on the first call: one chain of models, one outcome a call.

    chain = ModelChain(config.chain("big"), breakers, os.environ)
    answer = await chain.ask("instructions", "prompt", output=PlanModel, on_call=record)

Each model is asked behind its breaker and within its time limit. One that can't be used hands over to the next one;
after the last, UnavailableError says what each of them said. `on_call` gets every call with its tokens and its cost,
also of those that failed half-way.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sane.core.watch.model_settings import ModelSettings
from sane.engine.breakers import Breakers, IsLate, never_late
from sane.engine.model_clients import build_model, looked_up_cost, reason_of
from sane.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from pydantic_ai import Agent, RunUsage, Tool
    from pydantic_ai.models import Model

MAX_REQUESTS = 8  # one call of a planner: some questions to read-only verbs, an answer, a corrected answer
MAX_RETRY_AFTER_S = 20.0  # a provider that asks for more patience hands over to the next model


@dataclass(frozen=True, slots=True)
class ModelCall:
    """Hold what one call cost: `outcome` is answered, failed or cancelled; `cost_micro` 0 where it has no price."""

    model: str
    outcome: str
    input_tokens: int
    output_tokens: int
    cost_micro: int
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the data of a `model_called` event."""
        data: dict[str, Any] = {
            "model": self.model,
            "outcome": self.outcome,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_micro": self.cost_micro,
        }
        return data | ({"error": self.error} if self.error else {})


OnCall = Callable[[ModelCall], None]


def ignore_call(call: ModelCall) -> None:
    """Do nothing with a call."""


class ModelChain:
    """Ask models one after another until one answers."""

    def __init__(self, chain: Sequence[ModelSettings], breakers: Breakers, environ: Mapping[str, str]) -> None:
        self._chain = tuple(chain)
        self._breakers = breakers
        self._environ = environ
        self._built: dict[str, Model[Any]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the models, in the order in which they are asked."""
        return tuple(settings.name for settings in self._chain)

    def prepare(self) -> None:
        """Import and build now what the first call needs: seconds on a busy machine, in which a loop would stand."""
        for settings in self._chain:
            with contextlib.suppress(ConfigError):  # said when it is asked
                if settings.name not in self._built:
                    self._built[settings.name] = build_model(settings, self._environ)

    async def close(self) -> None:
        """Close the connections of its models."""
        for model in self._built.values():
            close = getattr(getattr(model, "client", None), "close", None)  # bedrock's client is not asynchronous
            if close is not None and inspect.iscoroutinefunction(close):
                await close()
        self._built.clear()

    async def ask(
        self,
        instructions: str,
        prompt: str,
        *,
        output: Any = str,
        tools: Sequence[Tool[Any]] = (),
        token_limit: int = 0,
        on_call: OnCall = ignore_call,
    ) -> Any:
        """Return the answer, of the type `output`. Raises UnavailableError where no model gives one."""
        refused: list[str] = []
        retry_after_s: float | None = None
        for settings in self._chain:
            try:
                async with self._breakers.guard(settings.name):
                    return await self._ask_one(settings, instructions, prompt, output, tools, token_limit, on_call)
            except UnavailableError as error:
                refused.append(f"{settings.name}: {error.message}")
                retry_after_s = error.retry_after_s if retry_after_s is None else retry_after_s
        raise _nobody(refused, retry_after_s)

    async def stream(
        self,
        instructions: str,
        prompt: str,
        *,
        tools: Sequence[Tool[Any]] = (),
        on_call: OnCall = ignore_call,
        is_late: IsLate = never_late,
    ) -> AsyncGenerator[tuple[str, str]]:
        """Yield `("model", name)`, then `("content", text)` for each piece of the answer.

        A model that fails before its first piece hands over to the next one; one that fails later ends the stream
        with UnavailableError, since nobody can take back what was shown. A cancellation while `is_late` is a failure
        of the model that was being asked.
        """
        refused: list[str] = []
        for settings in self._chain:
            begun = False
            try:
                pieces = self._stream_one(settings, instructions, prompt, tools, on_call)
                async with self._breakers.guard(settings.name, is_late=is_late), aclosing(pieces):
                    async for piece in pieces:
                        if not begun:
                            begun = True
                            yield "model", settings.name
                        yield "content", piece
                    return
            except UnavailableError as error:
                if begun:
                    raise
                refused.append(f"{settings.name}: {error.message}")
        raise _nobody(refused, None)

    async def _ask_one(
        self,
        settings: ModelSettings,
        instructions: str,
        prompt: str,
        output: Any,
        tools: Sequence[Tool[Any]],
        token_limit: int,
        on_call: OnCall,
    ) -> Any:
        from pydantic_ai import RunUsage

        usage, outcome, why = RunUsage(), "cancelled", ""
        try:
            agent = self._agent(settings, instructions, output, tools)
            async with asyncio.timeout(settings.timeout_ms / 1000):
                result = await _patiently(lambda: agent.run(prompt, **self._limits(settings, usage, token_limit)))
            outcome = "answered"
            return result.output
        except Exception as error:
            outcome = "failed"
            failure = self._failure(settings, error)
            why = failure.message
            raise failure from None  # the original may show the request, and with it the key
        finally:
            on_call(self._call(settings, usage, outcome, why))

    async def _stream_one(
        self,
        settings: ModelSettings,
        instructions: str,
        prompt: str,
        tools: Sequence[Tool[Any]],
        on_call: OnCall,
    ) -> AsyncGenerator[str]:
        from pydantic_ai import RunUsage

        usage, outcome, why = RunUsage(), "cancelled", ""
        try:
            agent = self._agent(settings, instructions, str, tools)
            deadline = asyncio.get_running_loop().time() + settings.timeout_ms / 1000
            async with agent.run_stream_events(prompt, **self._limits(settings, usage, 0)) as events:
                while True:
                    async with asyncio.timeout_at(deadline):  # not around a yield: it would cancel whoever reads
                        event = await anext(events, None)
                    if event is None:
                        break
                    piece = _text_of(event)
                    if piece:
                        yield piece
            outcome = "answered"
        except Exception as error:
            outcome = "failed"
            failure = self._failure(settings, error)
            why = failure.message
            raise failure from None
        finally:
            on_call(self._call(settings, usage, outcome, why))

    def _agent(
        self, settings: ModelSettings, instructions: str, output: Any, tools: Sequence[Tool[Any]]
    ) -> Agent[None, Any]:
        from pydantic_ai import Agent

        if settings.name not in self._built:
            self._built[settings.name] = build_model(settings, self._environ)
        return Agent(self._built[settings.name], output_type=output, instructions=instructions, tools=list(tools))

    def _limits(self, settings: ModelSettings, usage: RunUsage, token_limit: int) -> dict[str, Any]:
        from pydantic_ai import UsageLimits

        return {
            "usage": usage,
            "usage_limits": UsageLimits(request_limit=MAX_REQUESTS, total_tokens_limit=token_limit or None),
            "model_settings": {
                "timeout": settings.timeout_ms / 1000,
                "max_retries": 0,  # the chain, the breaker and the budget decide about another call, not a client
                "max_tokens": settings.max_output_tokens,
            },
        }

    def _failure(self, settings: ModelSettings, error: BaseException) -> UnavailableError:
        if isinstance(error, UnavailableError):
            return error
        key = self._environ.get(settings.key_env, "").strip() if settings.key_env else ""
        retry_after_s = getattr(error, "retry_after", None)
        return UnavailableError(reason_of(error, key), retry_after_s=retry_after_s)

    def _call(self, settings: ModelSettings, usage: RunUsage, outcome: str, why: str) -> ModelCall:
        tokens = usage.input_tokens, usage.output_tokens
        cost = settings.cost_micro(*tokens)
        if cost is None:
            cost = looked_up_cost(settings, *tokens)
        return ModelCall(settings.name, outcome, *tokens, cost, why)


async def _patiently(call: Callable[[], Any]) -> Any:
    """Await a call; once, wait as long as a provider that is over its limit asks for, if that is short."""
    try:
        return await call()
    except Exception as error:
        wait_s = getattr(error, "retry_after", None)
        if getattr(error, "status_code", None) != 429 or wait_s is None or wait_s > MAX_RETRY_AFTER_S:
            raise
    await asyncio.sleep(wait_s)
    return await call()


def _text_of(event: Any) -> str:
    if event.event_kind == "part_start" and event.part.part_kind == "text":
        return event.part.content
    if event.event_kind == "part_delta" and event.delta.part_delta_kind == "text":
        return event.delta.content_delta
    return ""


def _nobody(refused: Sequence[str], retry_after_s: float | None) -> UnavailableError:
    hint = "Check the model's address and key in the watch configuration; the rules plan without a model."
    return UnavailableError("; ".join(refused) or "no model is configured", retry_after_s=retry_after_s, hint=hint)

"""Open streams within the limit and behind the breaker, find them again, and end every one in time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from sane.core.breaker import Breaker, Permit
from sane.engine.shared_state import Shared, settle_permit, take_permit
from sane.engine.stream_agents import Message, StreamingAgent, Text, Usage, WorkflowStep
from sane.engine.streams import MOST_TEXT_CHARS, Stream, StreamEvent, describe
from sane.errors import InterruptedRunError, LimitError, NotFoundError, SaneError, UnavailableError

log = logging.getLogger("sane.streams")

BREAKER = "agent_streaming"
SLOT_TTL_MS = 15_000  # a killed process gives its places back after this; renewed every third of it
STREAM_TTL_MS = 30_000  # the same for the events that other processes read
MOST_ENDED = 64  # kept for readers that come back: of 256 KB at most each
SWEEP_EVERY = 12  # renewals between two sweeps: once a minute
CLOSE_S = 5.0
RETRY_S = 5.0  # a place may be free at any moment, and is at the latest when a stream's time is over


class Relay(Protocol):
    """Carry events between processes; `sane.engine.shared_redis.RedisRelay` does."""

    async def add(self, stream: str, owner: str, seq: int, line: bytes, is_last: bool, ttl_ms: int) -> None: ...
    async def check(self, stream: str, owner: str, after: int) -> None: ...
    def read(self, stream: str, after: int, wait_s: float) -> AsyncGenerator[bytes | None, None]: ...
    async def has_reader(self, stream: str) -> bool: ...
    async def renew(self, streams: Sequence[str], ttl_ms: int) -> None: ...
    async def is_healthy(self) -> bool: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bound streams: how many at once, how long each, how long one waits for a reader to come back and is kept."""

    most_streams: int = 10
    timeout_s: float = 300.0
    resume_s: float = 2.0
    keep_ended_s: float = 60.0
    heartbeat_s: float = 10.0


class StreamHub:
    """Hold the streams of this process. Call `start` in the loop that they shall run in, and `close` at its end."""

    def __init__(
        self, shared: Shared, limits: StreamLimits, *, relay: Relay | None = None, sweeps: bool = True
    ) -> None:
        self.shared, self.limits, self.relay = shared, limits, relay
        self.outcomes: Counter[str] = Counter()
        self._sweeps = sweeps
        self._running: dict[str, Stream] = {}
        self._ended: dict[str, tuple[float, Stream]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._runs: set[asyncio.Task[None]] = set()
        self._closing = False
        self._renewal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to renew this process's places."""
        self._renewal = asyncio.create_task(self._renew())

    @property
    def active(self) -> int:
        """Return how many streams run in this process."""
        return len(self._running)

    async def open(
        self, agent: StreamingAgent, messages: Sequence[Message], *, owner: str = "", with_workflows: bool = True
    ) -> Stream:
        """Start an answer. Raises UnavailableError while the breaker is open, LimitError when all places are taken."""
        if self._closing:
            raise UnavailableError("the server is being stopped", retry_after_s=5)
        permit = await take_permit(self.shared, BREAKER)
        id = uuid.uuid4().hex
        try:
            if not await self.shared.take_slot(id, self.limits.most_streams, SLOT_TTL_MS):
                raise LimitError(
                    f"all {self.limits.most_streams} streams are in use",
                    retry_after_s=min(RETRY_S, self.limits.timeout_s),
                    hint="Try again later, or raise MAX_CONCURRENT_STREAMS.",
                )
        except BaseException:
            await asyncio.shield(self._settle(id, permit, "release"))
            raise
        stream = Stream(id, agent.name, owner, self._reader_left)
        self._running[id] = stream
        stream.task = asyncio.create_task(self._answer(stream, agent, messages, with_workflows))
        run = asyncio.create_task(self._run(stream, stream.task, permit))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        self._reader_left(stream)  # for the case that nobody ever reads it
        return stream

    async def find(
        self, id: str, after: int = 0, *, agent: str = "", owner: str = ""
    ) -> AsyncGenerator[bytes | None, None]:
        """Return a stream's lines above `after`, wherever it runs; None among them is a heartbeat.

        Raises NotFoundError for one that is not there or somebody else's, ConflictError for a number that is gone.
        """
        stream = self._running.get(id) or self._ended.get(id, (0.0, None))[1]
        if stream is not None and stream.owner == owner and stream.agent == agent:
            stream.check(after)
            return stream.read(after, self.limits.heartbeat_s)
        if stream is None and self.relay is not None:
            await self.relay.check(id, relay_owner(agent, owner), after)
            return self.relay.read(id, after, self.limits.heartbeat_s)
        raise NotFoundError(f"agent '{agent}' has no stream '{id}'", hint="It ended too long ago; ask anew.")

    async def reset_breaker(self, name: str) -> Breaker:
        """Close a breaker, as an operator asked, and return it."""

        def reset(breaker: Breaker, now_ms: int) -> tuple[Breaker, Breaker]:
            closed = breaker.reset(now_ms)
            return closed, closed

        return await self.shared.change_breaker(name, reset)

    async def close(self) -> None:
        """End every stream with an `error` event, give all places back and stop; within 5 s."""
        self._closing = True
        answers = [stream.task for stream in self._running.values() if stream.task is not None]
        others = [*self._checks, *([self._renewal] if self._renewal else [])]
        for task in (*answers, *others):
            task.cancel()
        if self._runs or others:
            await asyncio.wait([*self._runs, *others], timeout=CLOSE_S)

    async def _run(self, stream: Stream, answer: asyncio.Task[dict[str, Any]], permit: Permit) -> None:
        """See a stream to its end. The answer may be cancelled at any time, this never is: it gives the place back."""
        outcome, last, data = "release", "error", describe(InterruptedRunError("the stream was ended"))
        try:
            data = await answer
            outcome, last = "succeed", "done"
        except TimeoutError:
            hint = "Raise STREAM_TIMEOUT_SECONDS, or ask for less."
            late = UnavailableError(f"the answer took longer than {self.limits.timeout_s:g} s", hint=hint)
            outcome, data = "fail", {**describe(late), "code": "timeout"}
        except asyncio.CancelledError:
            why = "the server is being stopped" if self._closing else "nobody read the stream any more"
            data = describe(InterruptedRunError(why, hint="Ask anew."))
        except SaneError as error:
            outcome, data = "fail", describe(error)
        except Exception as error:
            log.exception("stream %s of agent %s failed", stream.id, stream.agent)
            outcome, data = "fail", describe(error)
        self.outcomes[outcome] += 1
        try:
            await self._settle(stream.id, permit, outcome)  # first, so that whoever sees the end finds the place free
        finally:
            self._running.pop(stream.id, None)
            event = stream.add(last, {**data, "duration_ms": round((time.monotonic() - stream.started_s) * 1000)})
            self._keep(stream)
        await self._mirror(stream, event)

    async def _answer(
        self, stream: Stream, agent: StreamingAgent, messages: Sequence[Message], with_workflows: bool
    ) -> dict[str, Any]:
        """Put what the agent says into the stream and return the fields of `done`. Raises TimeoutError."""
        async with asyncio.timeout(self.limits.timeout_s) as limit:
            await self._put(stream, "start", {"stream": stream.id, "agent": stream.agent})
            usage = Usage("", 0, 0)
            async with aclosing(agent.stream(messages, is_late=limit.expired)) as items:
                async for item in items:
                    if isinstance(item, Usage):
                        usage = item
                    else:
                        await self._put_item(stream, item, with_workflows)
        tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        return {"model": usage.model, "usage": tokens}

    async def _put_item(self, stream: Stream, item: Text | WorkflowStep, with_workflows: bool) -> None:
        if isinstance(item, Text):
            await self._put_text(stream, item)
        elif with_workflows:
            await self._put(stream, "content", {"content": "", "workflow": dict(item.data)})

    async def _put_text(self, stream: Stream, item: Text) -> None:
        for start in range(0, len(item.text), MOST_TEXT_CHARS):
            await self._put(stream, "content", {"content": item.text[start : start + MOST_TEXT_CHARS]})

    async def _put(self, stream: Stream, type: str, data: dict[str, Any]) -> None:
        await self._mirror(stream, await stream.put(type, data))

    async def _mirror(self, stream: Stream, event: StreamEvent) -> None:
        """Show an event to the other processes; when that fails the stream goes on without them."""
        if self.relay is None or not stream.is_mirrored:
            return
        ttl_ms = round(self.limits.keep_ended_s * 1000) if event.is_last else STREAM_TTL_MS
        owner = relay_owner(stream.agent, stream.owner)
        try:
            await self.relay.add(stream.id, owner, event.seq, event.line, event.is_last, ttl_ms)
        except UnavailableError as error:
            stream.is_mirrored = False
            log.warning("stream %s can be resumed in this process only: %s", stream.id, error.message)

    async def _settle(self, id: str, permit: Permit, outcome: str) -> None:
        """Give the place back and tell the breaker. Where neither can be reached, the place ends by itself."""

        for asked in (self.shared.free_slot(id), settle_permit(self.shared, BREAKER, permit, outcome)):
            try:
                await asked
            except UnavailableError as error:
                log.warning("the end of stream %s was not recorded: %s", id, error.message)

    def _keep(self, stream: Stream) -> None:
        now_s = time.monotonic()
        self._ended[stream.id] = (now_s, stream)
        for id, (ended_s, _) in list(self._ended.items()):
            if len(self._ended) > MOST_ENDED or now_s - ended_s > self.limits.keep_ended_s:
                del self._ended[id]

    def _reader_left(self, stream: Stream) -> None:
        if not stream.ended and not stream.has_reader and not self._closing:
            asyncio.get_running_loop().call_later(self.limits.resume_s, self._start_check, stream)

    def _start_check(self, stream: Stream) -> None:
        if not stream.ended and not stream.has_reader and not self._closing:
            check = asyncio.create_task(self._end_unread(stream))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _end_unread(self, stream: Stream) -> None:
        """Cancel an answer that nobody reads, here or elsewhere; once, for its agent may need a moment to end."""
        with contextlib.suppress(UnavailableError):
            if self.relay is not None and stream.is_mirrored and await self.relay.has_reader(stream.id):
                self._reader_left(stream)
                return
        if not stream.has_reader and stream.task is not None and not stream.task.cancelling():
            stream.task.cancel()

    async def _renew(self) -> None:
        """Hold the places of what runs here, and delete what has expired."""
        for turn in itertools.count(1):
            await asyncio.sleep(SLOT_TTL_MS / 3000)
            try:
                await self.shared.renew_slots(list(self._running), SLOT_TTL_MS)
                if self.relay is not None:
                    await self.relay.renew(list(self._running), STREAM_TTL_MS)
                if self._sweeps and turn % SWEEP_EVERY == 0:
                    await self.shared.sweep()
            except UnavailableError as error:
                log.warning("places were not renewed: %s", error.message)


def relay_owner(agent: str, owner: str) -> str:
    """Return whose a stream is, as other processes check it."""
    return f"{agent}\n{owner}"

"""The routes of the service. Each says which scope it needs; `sane.surfaces.http.guard` knows who calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from sane import __version__
from sane.core.events import Event
from sane.core.redact import redact
from sane.engine.stream_agents import Message
from sane.errors import AccessError, InvalidError, LimitError, NotFoundError
from sane.surfaces.http.credentials import Principal
from sane.surfaces.http.lines import LineResponse, error_line, json_line
from sane.surfaces.http.service import Service

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
MOST_SEQ = 2**63 - 1
MOST_FOLLOWERS = 100
MOST_CHARS = 200_000

router = APIRouter()


class ChatMessage(BaseModel):
    """Hold what one side said."""

    model_config = ConfigDict(strict=True, extra="forbid")
    role: Literal["user", "assistant", "system"]
    content: str = Field(min_length=1, max_length=MOST_CHARS)


class StreamRequest(BaseModel):
    """Ask an agent. `stream_workflows`: the answer also carries what happens in workflows that it is about."""

    model_config = ConfigDict(strict=True, extra="forbid")
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream_workflows: bool = True


def service_of(request: Request) -> Service:
    """Return the service that the application serves."""
    return request.app.state.service


def need(scope: str) -> Callable[[Request], Principal]:
    """Return a dependency that gives the caller, who must have a scope."""

    def check(request: Request) -> Principal:
        principal: Principal = request.state.principal
        if not principal.may(scope):
            raise AccessError(f"credential '{principal.name}' lacks the scope '{scope}'", hint="Use one that has it.")
        return principal

    return check


def need_json(request: Request) -> None:
    """Refuse with 415 a body that is not said to be JSON, as the one that curl sends when nothing names its type."""
    sent = request.headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() == JSON:
        return
    what = f"it was sent as '{sent[:60]}'" if sent else "it was sent with no Content-Type"
    raise HTTPException(415, f"the body must be JSON, and {what}")


Served = Annotated[Service, Depends(service_of)]
Reader = Annotated[Principal, Depends(need("read"))]
Admin = Annotated[Principal, Depends(need("admin"))]
Id = Annotated[str, Path(max_length=64)]
After = Annotated[int | None, Query(ge=0, le=MOST_SEQ, description="Only what has a higher number.")]
LastEventId = Annotated[str | None, Header(max_length=32, description="As `after`; `after` goes first.")]


@router.post(
    "/agent/stream/{id}",
    response_class=Response,
    responses={200: {"content": {NDJSON: {}}}},
    dependencies=[Depends(need_json)],
)
async def ask_agent(service: Served, caller: Reader, id: Id, body: StreamRequest) -> Response:
    """Ask an agent and stream its answer as NDJSON events start, content, done or error."""
    messages = [Message(message.role, redact(message.content)) for message in body.messages]
    agent = await asyncio.to_thread(service.agents.find, id)
    stream = await service.hub.open(agent, messages, owner=caller.name, with_workflows=body.stream_workflows)
    return answer(stream.read(0, service.hub.limits.heartbeat_s), stream.id, 0)


@router.get("/agent/stream/{id}/{stream}", response_class=Response, responses={200: {"content": {NDJSON: {}}}})
async def resume_stream(
    service: Served, caller: Reader, id: Id, stream: Id, after: After = None, last_event_id: LastEventId = None
) -> Response:
    """Go on with an answer behind the event number `after`; a part is neither lost nor repeated."""
    start = number_of(after, last_event_id)
    return answer(await service.hub.find(stream, start, agent=id, owner=caller.name), stream, start)


def answer(lines: AsyncGenerator[bytes | None, None], stream: str, after: int) -> LineResponse:
    """Return the response of a stream; a heartbeat has the number of the last event."""

    async def with_heartbeats() -> AsyncGenerator[bytes, None]:
        last = after
        async with aclosing(lines):
            async for line in lines:
                if line is not None:
                    last += 1
                yield json_line({"seq": last, "type": "heartbeat"}) if line is None else line

    return LineResponse(with_heartbeats(), NDJSON, error_line, {"X-Sane-Stream": stream})


def number_of(after: int | None, last_event_id: str | None) -> int:
    """Return behind which event a client wants to go on; 0: from the first. Raises InvalidError."""
    if after is not None or last_event_id is None or last_event_id == "":
        return after or 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= MOST_SEQ):
        raise InvalidError("Last-Event-ID must be the number of an event")
    return int(last_event_id)


@router.get("/api/events", response_class=Response, responses={200: {"content": {NDJSON: {}, SSE: {}}}})
async def follow_events(
    service: Served,
    caller: Reader,
    request: Request,
    after: After = None,
    last_event_id: LastEventId = None,
    key: Annotated[str, Query(max_length=1000)] = "",
    deployment: Annotated[str, Query(max_length=1000)] = "",
) -> Response:
    """Follow the event log: what is stored behind `after`, then what comes. SSE or NDJSON by the Accept header."""
    start = number_of(after, last_event_id)
    if service.followers >= MOST_FOLLOWERS:
        raise LimitError(f"{MOST_FOLLOWERS} clients follow the log already", retry_after_s=5)
    as_sse = SSE in request.headers.get("accept", "")
    lines = follow_lines(service, start, key, deployment, as_sse)
    return LineResponse(lines, SSE if as_sse else NDJSON, sse_error if as_sse else error_line)


async def follow_lines(
    service: Service, after: int, key: str, deployment: str, as_sse: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the log's events as lines, with heartbeats, until the client or the service goes away."""
    service.followers += 1
    last, wait_s = after, service.hub.limits.heartbeat_s
    step: asyncio.Future[Event | None] | None = None
    try:
        async with aclosing(service.store.follow(after, key=key, deployment=deployment)) as events:
            try:
                while not service.closing.done():
                    step = step or asyncio.ensure_future(anext(events, None))
                    await asyncio.wait([step, service.closing], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                    if not step.done():
                        yield b": heartbeat\n\n" if as_sse else json_line({"seq": last, "kind": "heartbeat"})
                        continue
                    event, step = step.result(), None
                    if event is None:
                        return
                    last = event.seq or last
                    yield event_lines(event, as_sse)
            finally:
                if step is not None:  # the generator can be closed only once nothing waits in it
                    step.cancel()
                    await asyncio.gather(step, return_exceptions=True)
    finally:
        service.followers -= 1


def event_lines(event: Event, as_sse: bool) -> bytes:
    """Return an event as an NDJSON line or an SSE message; one that is not stored has no number to come back to."""
    line = json_line(event.as_json())
    number = b"id: %d\n" % event.seq if event.seq else b""
    return b"%sevent: %s\ndata: %s\n" % (number, event.kind.encode(), line) if as_sse else line


def sse_error(error: BaseException) -> bytes:
    """Return an error as an SSE event."""
    return b"event: error\ndata: %s\n" % error_line(error)


@router.get("/system/client-health-check")
async def check_client() -> dict[str, str]:
    """Say that the service answers."""
    return {"data": "System client is healthy"}


@router.get("/system/streaming-health")
async def check_streaming(service: Served) -> dict[str, Any]:
    """Show the breakers and the places of streams."""
    return await service.streaming_health()


@router.post("/system/circuit-breaker/reset/{name}")
async def reset_breaker(service: Served, caller: Admin, name: Annotated[str, Path(max_length=128)]) -> dict[str, Any]:
    """Close a breaker."""
    if name not in service.breaker_names:
        hint = f"There are: {', '.join(service.breaker_names)}."
        raise NotFoundError(f"there is no breaker '{name}'", hint=hint)
    breaker = await service.hub.reset_breaker(name)
    service.log.info("breaker %s was reset by %s", name, caller.name)
    return {"name": name, "state": breaker.state, "failure_count": breaker.failures, "threshold": breaker.threshold}


@router.get("/health")
async def check_health(service: Served) -> dict[str, Any]:
    """Prove that the service answers and that its event log can be read."""
    async with asyncio.timeout(5):
        await service.store.read(limit=1)
    return {"status": "healthy", "version": __version__}


@router.get("/metrics", response_class=PlainTextResponse)
async def show_metrics(service: Served, caller: Reader) -> str:
    """Show counters in the text format of Prometheus."""
    return await service.metrics()

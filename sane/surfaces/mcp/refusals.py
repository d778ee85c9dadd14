"""Answers to what is no message: without one a client would wait for ever."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage
from pydantic import ValidationError


@contextlib.asynccontextmanager
async def refusing(receive: Any, send: Any) -> AsyncGenerator[Any]:
    """Yield the messages that `receive` brings; what could not be read as one is answered through `send`."""
    give, messages = anyio.create_memory_object_stream[SessionMessage](0)

    async def sort() -> None:
        async with give:
            async for item in receive:
                if not isinstance(item, Exception):
                    await give.send(item)
                elif (refused := refusal_of(item)) is not None:
                    await send.send(SessionMessage(refused))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sort)
        try:
            yield messages
        finally:
            tasks.cancel_scope.cancel()


def refusal_of(error: Exception) -> types.JSONRPCError | None:
    """Return the answer to a line that is no message, with its id where it has one; None for another fault."""
    if not isinstance(error, ValidationError):
        return None
    problems = error.errors(include_url=False)
    if any(problem["type"] == "json_invalid" for problem in problems):
        return _refusal(None, types.PARSE_ERROR, "this line is no JSON, or is longer than the server takes (32 MiB)")
    given: list[object] = [problem["input"] for problem in problems]
    if any(isinstance(value, list) for value in given):
        return _refusal(None, types.INVALID_REQUEST, "batches are not taken: write each message on a line of its own")
    messages = [cast("dict[str, Any]", value) for value in given if isinstance(value, dict)]
    asked = next((m["id"] for m in messages if isinstance(m.get("id"), int | str)), None)
    return _refusal(asked, types.INVALID_REQUEST, "this is no JSON-RPC 2.0 message")


def _refusal(asked: Any, code: int, message: str) -> types.JSONRPCError:
    return types.JSONRPCError(jsonrpc="2.0", id=asked, error=types.ErrorData(code=code, message=message))

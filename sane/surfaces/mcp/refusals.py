"""Answers to what is no message: without one a client would wait for ever."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from sane.errors import UsageError
from sane.surfaces.mcp.stdin_lines import TOO_LONG
from sane.surfaces.tool_schemas import error_answer

MOST_BYTES = 32 << 20  # of one message: a file of 10 MB as base64 in JSON fits
_NO_MESSAGE = "{"  # stands for a line that was refused: the protocol library then tells us when it is its turn


class Refusals:
    """Refuse lines before the protocol library reads them: it says of a wrong one neither what is wrong nor its id."""

    def __init__(self) -> None:
        self._waiting: deque[types.JSONRPCError] = deque()

    async def check(self, lines: AsyncIterator[str]) -> AsyncIterator[str]:
        """Yield the lines that are messages, and something that is none for each that is refused."""
        async for line in lines:
            refused = refusal_of(line)
            if refused is not None:
                self._waiting.append(refused)
            yield line if refused is None else _NO_MESSAGE

    @contextlib.asynccontextmanager
    async def answering(self, receive: Any, send: Any) -> AsyncGenerator[Any]:
        """Yield the messages that `receive` brings; what was refused is answered through `send` in its turn."""
        give, messages = anyio.create_memory_object_stream[SessionMessage](0)

        async def sort() -> None:
            async with give:
                async for item in receive:
                    if not isinstance(item, Exception):
                        await give.send(item)
                    elif self._waiting:
                        await send.send(SessionMessage(self._waiting.popleft()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sort)
            try:
                yield messages
            finally:
                tasks.cancel_scope.cancel()


def refusal_of(line: str | bytes) -> types.JSONRPCError | None:
    """Return the answer to what is no message, with its id where it has one; None for a message."""
    if line == TOO_LONG:
        return _refusal(None, types.PARSE_ERROR, "this line is longer than the server takes (32 MiB)")
    try:
        given: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return _refusal(None, types.PARSE_ERROR, f"this is no JSON: {why}")
    if isinstance(given, list):
        return _refusal(None, types.INVALID_REQUEST, "batches are not taken: send each message by itself")
    message = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    asked = message.get("id")
    if isinstance(asked, bool) or not isinstance(asked, int | str):
        if "id" in message:
            return _refusal(None, types.INVALID_REQUEST, "id must be a string or a whole number")
        asked = None
    code, fault = _fault_of(message)
    if not fault:
        return _half_character(asked, message)
    return _refusal(asked, code, fault)


def _fault_of(message: dict[str, Any]) -> tuple[int, str]:
    if message.get("jsonrpc") != "2.0":
        return types.INVALID_REQUEST, 'this is no JSON-RPC 2.0 message: "jsonrpc" must be "2.0"'
    if "method" not in message and "id" in message and ("result" in message or "error" in message):
        is_answer = isinstance(message.get("result", {}), dict) and isinstance(message.get("error", {}), dict)
        return types.INVALID_REQUEST, "" if is_answer else "result and error must be objects"
    if not isinstance(message.get("method"), str):
        return types.INVALID_REQUEST, 'this is no JSON-RPC 2.0 message: "method" must be a string'
    if not isinstance(message.get("params"), dict | None):
        return types.INVALID_PARAMS, "params must be an object: arguments go by name"
    return 0, ""


def _half_character(asked: int | str | None, message: dict[str, Any]) -> types.JSONRPCError | None:
    """Return the refusal of a text that no byte stands for; JSON can hold it, as half of a pair of escapes."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        wrong = UsageError(
            f"a text can't hold half of a surrogate pair ({half})", hint="Write both halves, or U+FFFD in its place."
        )
        return _refusal(
            asked if not isinstance(asked, str) or asked.isascii() else None,
            types.INVALID_PARAMS,
            wrong.message,
            error_answer(wrong),
        )
    return None


async def name_faults(ctx: Any, call_next: Any) -> Any:
    """Say what is wrong with a request: the protocol library says only that its parameters are invalid."""
    try:
        return await call_next(ctx)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'params'}: {p['msg']}" for p in error.errors()[:3])
        raise MCPError(types.INVALID_PARAMS, f"the parameters of {ctx.method} are wrong: {said}") from error
    except MCPError as error:
        if error.error.code == types.INVALID_PARAMS and error.error.data == "":
            hint = "the session has not begun: send initialize first"
            raise MCPError(types.INVALID_PARAMS, f"{ctx.method} came too early; {hint}") from error
        raise


def _refusal(asked: int | str | None, code: int, message: str, data: Any = None) -> types.JSONRPCError:
    error = types.ErrorData(code=code, message=message)
    if data is not None:
        error = types.ErrorData(code=code, message=message, data=data)
    return types.JSONRPCError(jsonrpc="2.0", id=asked, error=error)

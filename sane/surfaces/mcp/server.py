"""The MCP server: each verb a tool, with progress, cancellation, pages and resources.

A call runs as a task of its own: when the client cancels, the task is cancelled, and with it the command on its target.
The one pane no tool may write to is the pane the server itself runs in: an agent could end itself there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from sane import __version__
from sane.core.target import parse_target
from sane.engine.context import AsyncContext
from sane.errors import AccessError, NotFoundError, SaneError, UsageError
from sane.surfaces.mcp.pages import OutputPages
from sane.surfaces.mcp.resources import list_resources, list_templates, read_resource
from sane.surfaces.mcp.tools import describe, tool_name, tools_of_tier, verb_of_tool
from sane.verbs.registry import Verb, as_json, bind
from sane.verbs.schema import input_schema, output_schema

PROGRESS_S = 2.0  # a client sees that a long run is alive
DEFAULT_LIMIT_CHARS = 16_000  # about 4,000 tokens
READ_ON = "read_output"

Request = ServerRequestContext[Any, Any]


class ToolServer:
    """Serve the verbs of one access tier to one client or more."""

    def __init__(self, tier: str, context: AsyncContext, limit_chars: int = DEFAULT_LIMIT_CHARS) -> None:
        self._tier = tier
        self._context = context
        self._limit_chars = limit_chars
        self._pages = OutputPages()

    def build(self) -> Server[Any]:
        """Return the protocol server."""
        return Server(
            "sane",
            version=__version__,
            instructions=(
                "Run commands and move files in tmux panes and on SSH hosts. A target is SESSION:WINDOW.PANE or %ID"
                " (a local pane), local:, ssh:HOST, or ssh:HOST/SESSION:WINDOW.PANE. Long outputs are cut;"
                " read_output reads on."
            ),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, ctx: Request, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[*map(_tool, tools_of_tier(self._tier)), _READ_ON_TOOL])

    async def _call_tool(self, ctx: Request, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments: Mapping[str, Any] = params.arguments or {}
        try:
            if params.name == READ_ON:
                return _result(asdict(self._read_on(arguments)), is_error=False)
            verb = verb_of_tool(params.name, self._tier)
            answer = await self._run(ctx, verb, bind(verb, arguments))
            return _result(self._pages.shorten(answer, self._limit_chars), is_error=not verb.ok(answer))
        except SaneError as error:
            return _result({"error": error.message, "code": error.code, "hint": error.hint}, is_error=True)

    async def _run(self, ctx: Request, verb: Verb, arguments: Mapping[str, Any]) -> dict[str, Any]:
        await self._refuse_own_pane(verb, arguments)
        task = asyncio.ensure_future(verb.function(self._context, **arguments))
        began = asyncio.get_running_loop().time()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=PROGRESS_S)
                if not task.done():
                    elapsed_s = asyncio.get_running_loop().time() - began
                    message = f"{verb.name} has been running for {elapsed_s:.0f} s"
                    await ctx.session.report_progress(elapsed_s, None, message)
            return as_json(task.result())
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task

    async def _refuse_own_pane(self, verb: Verb, arguments: Mapping[str, Any]) -> None:
        own = os.environ.get("TMUX_PANE")
        if own is None or verb.access == "read" or "target" not in arguments:
            return
        target = parse_target(str(arguments["target"]))
        if target.host is not None or target.pane is None:
            return
        machine = await self._context.machine(None)
        shown = await machine.execute(["tmux", "display-message", "-p", "-t", target.pane, "#{pane_id}"], timeout_s=5.0)
        if shown.stdout.decode().strip() == own:
            raise AccessError(
                f"{target} is the pane this agent runs in; {verb.name} is refused there",
                hint="Use another pane: split_pane makes one.",
            )

    def _read_on(self, arguments: Mapping[str, Any]) -> Any:
        unknown = set(arguments) - {"cursor", "offset", "limit"}
        if unknown or not isinstance(arguments.get("cursor"), str):
            raise UsageError("read_output takes cursor, offset and limit", hint="The cursor is in the cut answer.")
        offset, limit = arguments.get("offset", 0), arguments.get("limit", self._limit_chars)
        if not isinstance(offset, int) or not isinstance(limit, int) or offset < 0:
            raise UsageError("offset and limit must be whole numbers of characters")
        return self._pages.read(arguments["cursor"], offset, limit)

    async def _list_resources(self, ctx: Request, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=await list_resources(self._context))

    async def _list_templates(self, ctx: Request, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list_templates())

    async def _read_resource(self, ctx: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            return await read_resource(self._context, str(params.uri))
        except SaneError as error:
            raise NotFoundError(f"{params.uri}: {error.message}", hint=error.hint) from error


def _tool(verb: Verb) -> types.Tool:
    return types.Tool(
        name=tool_name(verb.name),
        title=verb.name,
        description=describe(verb),
        input_schema=input_schema(verb),
        output_schema=_with_error(output_schema(verb)),
        annotations=types.ToolAnnotations(
            read_only_hint=verb.access == "read",
            destructive_hint=verb.destructive,
            idempotent_hint=verb.idempotent,
            open_world_hint=True,
        ),
    )


def _with_error(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    # An error is an answer of its own shape; a client that validates must accept it.
    if schema is None:
        return None
    return {"type": "object", "anyOf": [schema, {"type": "object", "required": ["error", "code"]}]}


_READ_ON_TOOL = types.Tool(
    name=READ_ON,
    title="read-output",
    description="Read on in an output that was cut: give the cursor of the cut answer and an offset in characters.",
    input_schema={
        "type": "object",
        "properties": {
            "cursor": {"type": "string"},
            "offset": {"type": "integer", "minimum": 0, "default": 0},
            "limit": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT_CHARS},
        },
        "required": ["cursor"],
        "additionalProperties": False,
    },
    annotations=types.ToolAnnotations(read_only_hint=True, idempotent_hint=True),
)


def _result(answer: Mapping[str, Any], *, is_error: bool) -> types.CallToolResult:
    text = json.dumps(answer, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=dict(answer), is_error=is_error
    )

"""The MCP server: each verb a tool, with progress, cancellation, pages and resources.

A call runs as a task of its own: when the client cancels, the task is cancelled, and with it the command on its target.
The one pane no tool may type into is the pane the server itself runs in: an agent could end itself there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from sane import __version__
from sane.engine.context import AsyncContext
from sane.errors import AccessError, SaneError, UnavailableError
from sane.surfaces.mcp.own_pane import OwnPane, names_local_pane
from sane.surfaces.mcp.pages import OutputPages, as_text, shorten_error
from sane.surfaces.mcp.refusals import name_faults
from sane.surfaces.mcp.resources import list_resources, list_templates, read_resource
from sane.surfaces.mcp.tools import OWN_TOOLS, READ_ON, check_page_arguments, chosen_tools
from sane.surfaces.targets import list_targets
from sane.surfaces.tool_schemas import (
    LIST_TARGETS,
    bind_tool,
    check_host_argument,
    error_answer,
    failure_of,
    verb_of_tool,
)
from sane.verbs.registry import Verb, as_json

PROGRESS_S = 1.0  # a client sees that a long run is alive
STOP_TIMEOUT_S = 20.0  # for a cancelled command to end: Ctrl-C twice and Ctrl-\, with a look at the prompt behind each
MOST_CALLS = 64  # at once
DEFAULT_LIMIT_CHARS = 16_000  # about 4,000 tokens
INSTRUCTIONS = (
    "Run commands and move files in tmux panes and on SSH hosts. A target is SESSION:WINDOW.PANE or %ID (a local pane),"
    " local: (this machine), ssh:HOST, or ssh:HOST/SESSION:WINDOW.PANE; list_targets tells which there are. In a pane"
    " `cd` and variables stay from call to call. A long output is cut to its head and tail: its `output_page` has a"
    " cursor, and read_output reads on there. Calls on one pane take turns, others run side by side. An error is an"
    " answer with `error`, `code` and `hint`."
)

Request = ServerRequestContext[Any, Any]
log = logging.getLogger(__name__)


class ToolServer:
    """Serve the verbs of one access tier to one client or more."""

    def __init__(
        self, tier: str, context: AsyncContext, limit_chars: int = DEFAULT_LIMIT_CHARS, names: Sequence[str] = ()
    ) -> None:
        """Offer the tools of a tier; where `names` are given, only those. Raises UsageError for one that is none."""
        self._tier = tier
        self._context = context
        self._limit_chars = limit_chars
        self._pages = OutputPages()
        self._own_pane = OwnPane(context)
        self._tools = chosen_tools(tier, limit_chars, names)
        self._names = {tool.name for tool in self._tools}
        self._calls = 0
        self.busy_sessions: Counter[str] = Counter()  # over HTTP: how many calls run in each

    def build(self) -> Server[Any]:
        """Return the protocol server."""
        server: Server[Any] = Server(
            "sane",
            version=__version__,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )
        server.middleware.append(name_faults)
        return server

    async def _list_tools(self, ctx: Request, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._tools)

    async def _call_tool(self, ctx: Request, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            return await self._answer(ctx, params.name, params.arguments or {})
        except SaneError as error:
            return result_of(shorten_error(error_answer(error)), is_error=True)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelling():
                raise
            log.exception("%s failed", params.name)
            defect = {"error": f"{type(error).__name__}: {error}", "code": "internal", "hint": "", "retryable": False}
            return result_of(shorten_error(defect), is_error=True)

    async def _answer(self, ctx: Request, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        if name == READ_ON:
            cursor, offset, limit = check_page_arguments(arguments, self._limit_chars)
            return result_of(self._pages.read(cursor, offset, limit).as_json(), is_error=False)
        if name == LIST_TARGETS:
            host = check_host_argument(arguments)
            own_pane = await self._own_pane.find() if host is None else None
            targets = await list_targets(self._context, host, own_pane)
            return result_of(self._pages.shorten(targets, self._limit_chars), is_error=False)
        verb = verb_of_tool(name, self._tier, OWN_TOOLS)
        if name not in self._names:
            raise AccessError(f"{name} is not offered here", hint="Only the person who started it can: `--tools`.")
        bound = bind_tool(verb, arguments)
        if self._calls >= MOST_CALLS:
            raise UnavailableError(f"{MOST_CALLS} calls are running", hint="Wait for one of them to end.")
        session = ctx.request.headers.get("mcp-session-id", "") if ctx.request is not None else ""
        self._calls += 1
        self.busy_sessions[session] += 1
        try:
            answer = await self._follow(ctx, verb, bound)
        finally:
            self._calls -= 1
            self.busy_sessions -= Counter([session])  # which drops those at none
        failure = failure_of(verb, answer)
        shortened = self._pages.shorten(answer if failure is None else failure, self._limit_chars)
        return result_of(shortened, is_error=failure is not None)

    async def _follow(self, ctx: Request, verb: Verb, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a verb as a task, tell how long it has been running, and stop it when the call is cancelled."""
        loop = asyncio.get_running_loop()
        began, said = loop.time(), [f"{verb.name} is running"]
        work = asyncio.create_task(self._perform(verb, arguments, said.append))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=PROGRESS_S)
                if not work.done():
                    elapsed_s = loop.time() - began
                    await ctx.session.report_progress(elapsed_s, None, f"{said[-1]} ({elapsed_s:.0f} s)")
            return work.result()
        finally:
            if not work.done():
                # The protocol library cancels again at every await: without the shield the command would go on.
                work.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({work}, timeout=STOP_TIMEOUT_S)

    async def _perform(self, verb: Verb, arguments: Mapping[str, Any], report: Any) -> dict[str, Any]:
        if verb.destructive:
            await self._own_pane.refuse(arguments)
        own_pane = await self._own_pane.find() if names_local_pane(arguments) else None
        async with self._context.call(report, forbidden_pane=own_pane) as call:
            return as_json(await verb.function(call, **arguments))

    async def _list_resources(self, ctx: Request, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=await list_resources(self._context))

    async def _list_templates(self, ctx: Request, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list_templates())

    async def _read_resource(self, ctx: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            return await read_resource(self._context, str(params.uri))
        except SaneError as error:
            raise MCPError(code=types.INVALID_PARAMS, message=error.message, data=error_answer(error)) from error


def result_of(answer: Mapping[str, Any], *, is_error: bool) -> types.CallToolResult:
    """Return an answer as text, for a model to read, and as data."""
    text = as_text(answer)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=json.loads(text), is_error=is_error
    )


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

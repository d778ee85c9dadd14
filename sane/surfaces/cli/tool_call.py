"""Call one tool by name with JSON, as an MCP client does: the same guard of the own pane, and answers cut alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from sane.engine.context import AsyncContext
from sane.errors import UsageError
from sane.surfaces.cli.call_async import until_signal, with_context
from sane.surfaces.context import report_on_stderr
from sane.surfaces.mcp.own_pane import OwnPane, names_local_pane
from sane.surfaces.mcp.pages import OutputPages
from sane.surfaces.targets import list_targets
from sane.surfaces.tool_schemas import LIST_TARGETS, bind_tool, check_host_argument, verb_of_tool
from sane.verbs.registry import as_json

HINT = 'Write {"target": "local:", …}.'


def call_tool(name: str, tier: str, text: str) -> dict[str, Any]:
    """Return what a tool answers to arguments that are JSON text.

    Raises SaneError: UsageError for text that is no JSON object, AccessError for a tool above the tier and for what
    would end this program, EndedError at SIGTERM and SIGHUP.
    """
    arguments = _arguments(text)
    if name == LIST_TARGETS:
        host = check_host_argument(arguments)
        return asyncio.run(until_signal(with_context(lambda context: _list(context, host))))
    verb = verb_of_tool(name, tier, [LIST_TARGETS])
    bound = bind_tool(verb, arguments)

    async def perform(context: AsyncContext) -> dict[str, Any]:
        own = OwnPane(context)
        if verb.destructive:
            await own.refuse(bound)
        forbidden = await own.find() if names_local_pane(bound) else None
        async with context.call(report_on_stderr, forbidden_pane=forbidden) as call:
            return as_json(await verb.function(call, **bound))

    return asyncio.run(until_signal(with_context(perform)))


async def _list(context: AsyncContext, host: str | None) -> dict[str, Any]:
    return await list_targets(context, host, await OwnPane(context).find() if host is None else None)


def shorten(answer: Mapping[str, Any], limit_chars: int) -> dict[str, Any]:
    """Return an answer cut to a limit; of what was cut only the size is told, since nothing is kept to read on in."""
    shortened = OutputPages().shorten(answer, limit_chars)
    for page in (value for name, value in shortened.items() if name.endswith("_page") and name not in answer):
        del page["cursor"], page["next_offset"]
    return shortened


def _arguments(text: str) -> dict[str, object]:
    try:
        given = json.loads(text)
        json.dumps(given, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("the arguments hold half of a surrogate pair, which is no text", hint=HINT) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the arguments are no JSON: {error}", hint=HINT) from None
    if not isinstance(given, dict):
        raise UsageError("the arguments are no JSON object", hint=HINT)
    return cast("dict[str, object]", given)

"""Verbs as MCP tools, with annotations; list_targets and read_output beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mcp_types as types

from sane.core.nearest import nearest_hint
from sane.errors import UsageError
from sane.surfaces.tool_schemas import (
    LIST_TARGETS,
    LIST_TARGETS_DESCRIPTION,
    LIST_TARGETS_INPUT,
    LIST_TARGETS_OUTPUT,
    describe,
    tool_input,
    tool_name,
    tools_of_tier,
    verb_of_tool,
)
from sane.verbs.registry import Verb
from sane.verbs.schema import Schema, output_schema

READ_ON = "read_output"
OWN_TOOLS = (LIST_TARGETS, READ_ON)  # the others are verbs
PAGE_ARGUMENTS = ("cursor", "offset", "limit")
MOST_LIMITS = 10  # of an answer, in one page, for who asks for that many
# The rest reach a target.
LOCAL_VERBS = frozenset({"validate-json", "validate-yaml", "log-operation", "friction-analysis"})

# An error is an answer of its own shape; a client that validates must accept it.
_ERROR: Schema = {
    "error": {"type": "string"},
    "code": {"type": "string"},
    "hint": {"type": "string"},
    "retryable": {"type": "boolean"},
    "phase": {"type": "string"},  # this and the host where the way to a target failed
    "host": {"type": "string"},
}
_PAGES: Schema = {"_page$": {"type": "object"}}  # beside a text that was cut: where read_output reads on


def all_tools(tier: str, limit_chars: int) -> list[types.Tool]:
    """Return every tool of a tier; an answer's texts are cut at `limit_chars`."""
    return [*map(_tool, tools_of_tier(tier)), _list_targets_tool(), _read_on_tool(limit_chars)]


def chosen_tools(tier: str, limit_chars: int, names: Sequence[str]) -> list[types.Tool]:
    """Return the tools of a tier that are named, all where none is; those that are no verbs stay.

    Raises UsageError, and AccessError for a tool above the tier.
    """
    for name in names:
        if name not in OWN_TOOLS:
            verb_of_tool(name, tier, OWN_TOOLS)
    return [tool for tool in all_tools(tier, limit_chars) if not names or tool.name in (*names, *OWN_TOOLS)]


def check_page_arguments(arguments: Mapping[str, Any], limit_chars: int) -> tuple[str, int, int]:
    """Return the cursor, offset and limit of a read_output call. Raises UsageError."""
    for name in arguments:
        if name not in PAGE_ARGUMENTS:
            raise UsageError(f"{READ_ON} has no argument '{name}'", hint=nearest_hint(name, PAGE_ARGUMENTS))
    cursor = arguments.get("cursor")
    if not isinstance(cursor, str):
        raise UsageError(f"{READ_ON} lacks cursor", hint="The cursor is in the `…_page` of the answer that was cut.")
    offset, limit = arguments.get("offset", 0), arguments.get("limit", limit_chars)
    if not _is_whole(offset) or not _is_whole(limit) or limit < 1:
        raise UsageError("offset and limit must be whole numbers of characters, and limit at least 1")
    return cursor, offset, min(limit, MOST_LIMITS * limit_chars)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tool(verb: Verb) -> types.Tool:
    return types.Tool(
        name=tool_name(verb.name),
        description=describe(verb),
        input_schema=tool_input(verb),
        output_schema=_or_error(output_schema(verb)),
        annotations=types.ToolAnnotations(
            read_only_hint=verb.access == "read",
            destructive_hint=verb.destructive,
            idempotent_hint=verb.idempotent,
            open_world_hint=verb.name not in LOCAL_VERBS,
        ),
    )


def _or_error(answer: Schema) -> Schema:
    """Return the schema of an answer or of an error: flat, for clients that make a type of its properties."""
    return {
        "type": "object",
        "properties": {**_ERROR, **answer.get("properties", {})},
        "patternProperties": _PAGES,
        "anyOf": [{"required": answer.get("required", [])}, {"required": ["error", "code"]}],
    }


def _own_tool(name: str, description: str, arguments: Schema, required: list[str], answer: Schema) -> types.Tool:
    return types.Tool(
        name=name,
        description=description,
        input_schema={
            "type": "object",
            "properties": arguments,
            "required": required,
            "additionalProperties": False,
        },
        output_schema=_or_error(answer),
        annotations=types.ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=name == LIST_TARGETS
        ),
    )


def _read_on_tool(limit_chars: int) -> types.Tool:
    return _own_tool(
        READ_ON,
        "Read on in a text that was cut: give the cursor of its `…_page` and an offset in characters.",
        {
            "cursor": {"type": "string", "description": "from the `…_page` of the answer that was cut"},
            "offset": {"type": "integer", "default": 0, "description": "where to begin; negative: from the end"},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_LIMITS * limit_chars,
                "default": limit_chars,
                "description": "characters",
            },
        },
        ["cursor"],
        {
            "properties": {
                "cursor": {"type": "string"},
                "offset": {"type": "integer"},
                "text": {"type": "string"},
                "total_chars": {"type": "integer"},
                "next_offset": {"type": "integer", "description": "absent at the end"},
            },
            "required": ["cursor", "offset", "text", "total_chars"],
        },
    )


def _list_targets_tool() -> types.Tool:
    arguments = LIST_TARGETS_INPUT["properties"]
    return _own_tool(LIST_TARGETS, LIST_TARGETS_DESCRIPTION, arguments, [], LIST_TARGETS_OUTPUT)

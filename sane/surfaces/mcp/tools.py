"""Verbs as MCP tools, with annotations; the read_output tool beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import mcp_types as types

from sane.core.nearest import nearest_hint
from sane.errors import AccessError, NotFoundError, UsageError
from sane.surfaces.tool_schemas import TIERS, describe, tool_name, tools_of_tier
from sane.verbs.registry import VERB_NAMES, Verb, load_verb
from sane.verbs.schema import Schema, input_schema, output_schema

READ_ON = "read_output"
PAGE_ARGUMENTS = ("cursor", "offset", "limit")
# The rest reach a target.
LOCAL_VERBS = frozenset({"validate-json", "validate-yaml", "log-operation", "friction-analysis"})

# Where a text was cut: what the answer says of it.
_CUT: Schema = {
    "type": "object",
    "properties": {
        "cursor": {"type": "string", "description": "for read_output"},
        "total_chars": {"type": "integer"},
        "next_offset": {"type": "integer", "description": "where the head ends"},
    },
    "required": ["cursor", "total_chars", "next_offset"],
}
# An error is an answer of its own shape; a client that validates must accept it.
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
    "required": ["error", "code"],
}


def all_tools(tier: str, limit_chars: int) -> list[types.Tool]:
    """Return every tool of a tier; an answer's texts are cut at `limit_chars`."""
    return [*map(_tool, tools_of_tier(tier)), _read_on_tool(limit_chars)]


def verb_of_tool(name: str, tier: str) -> Verb:
    """Return the verb behind a tool's name. Raises NotFoundError, and AccessError where the tier is too low."""
    verb = _verbs_by_tool().get(name)
    if verb is None:
        raise NotFoundError(f"there is no tool '{name}'", hint=nearest_hint(name, [*_verbs_by_tool(), READ_ON]))
    if TIERS.index(verb.access) > TIERS.index(tier):
        raise AccessError(
            f"{name} needs access '{verb.access}', this server gives '{tier}'",
            hint=f"Start it with `sane mcp --access {verb.access}`.",
        )
    return verb


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
    return cursor, offset, min(limit, 10 * limit_chars)


@cache
def _verbs_by_tool() -> dict[str, Verb]:
    return {tool_name(name): load_verb(name) for name in VERB_NAMES}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tool(verb: Verb) -> types.Tool:
    return types.Tool(
        name=tool_name(verb.name),
        title=verb.name,
        description=describe(verb),
        input_schema=input_schema(verb),
        output_schema=_with_pages(output_schema(verb)),
        annotations=types.ToolAnnotations(
            title=verb.name,
            read_only_hint=verb.access == "read",
            destructive_hint=verb.destructive,
            idempotent_hint=verb.idempotent,
            open_world_hint=verb.name not in LOCAL_VERBS,
        ),
    )


def _with_pages(answer: Schema) -> Schema:
    texts = [name for name, schema in answer.get("properties", {}).items() if schema.get("type") == "string"]
    pages = {f"{name}_page": _CUT for name in texts}
    whole = {**answer, "properties": {**answer.get("properties", {}), **pages}}
    return {"type": "object", "anyOf": [whole, _ERROR]}


def _read_on_tool(limit_chars: int) -> types.Tool:
    return types.Tool(
        name=READ_ON,
        title="read-output",
        description="Read on in a text that was cut: give the cursor of its `…_page` and an offset in characters.",
        input_schema={
            "type": "object",
            "properties": {
                "cursor": {"type": "string", "description": "from the answer that was cut"},
                "offset": {"type": "integer", "default": 0, "description": "where to begin; negative: from the end"},
                "limit": {"type": "integer", "minimum": 1, "default": limit_chars, "description": "characters"},
            },
            "required": ["cursor"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "cursor": {"type": "string"},
                        "offset": {"type": "integer"},
                        "text": {"type": "string"},
                        "total_chars": {"type": "integer"},
                        "next_offset": {"type": "integer", "description": "absent at the end"},
                    },
                    "required": ["cursor", "offset", "text", "total_chars"],
                },
                _ERROR,
            ],
        },
        annotations=types.ToolAnnotations(
            title="read-output",
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )

"""Verbs as tools: names, schemas, annotations and tiers, in the format of each kind of agent."""

from __future__ import annotations

from typing import Any

from sane.core.nearest import nearest_hint
from sane.errors import AccessError, NotFoundError
from sane.verbs.registry import VERB_NAMES, Verb, load_verb
from sane.verbs.schema import input_schema, output_schema

TIERS = ("read", "write", "admin")
FORMATS = ("openai", "anthropic", "json-schema")


def tool_name(verb_name: str) -> str:
    """Return the tool's name: agents' APIs allow letters, digits, `_` and `-` only."""
    return verb_name.replace("-", "_")


def tools_of_tier(tier: str) -> list[Verb]:
    """Return the verbs that a caller of that tier may use, in the order of the registry."""
    allowed = TIERS[: TIERS.index(tier) + 1]
    return [verb for verb in map(load_verb, VERB_NAMES) if verb.access in allowed]


def verb_of_tool(name: str, tier: str) -> Verb:
    """Return the verb behind a tool's name. Raises NotFoundError, and AccessError where the tier is too low."""
    names = {tool_name(verb_name): verb_name for verb_name in VERB_NAMES}
    if name not in names:
        raise NotFoundError(f"there is no tool '{name}'", hint=nearest_hint(name, names))
    verb = load_verb(names[name])
    if TIERS.index(verb.access) > TIERS.index(tier):
        raise AccessError(
            f"{name} needs access '{verb.access}', this session has '{tier}'",
            hint=f"Start the server with --access {verb.access}.",
        )
    return verb


def describe(verb: Verb) -> str:
    """Return what an agent reads about a tool: the summary and an example call."""
    return f"{verb.summary}\n\nAs a command: {verb.example}" if verb.example else verb.summary


def tool_schemas(tools_format: str, tier: str) -> list[dict[str, Any]]:
    """Return the tools of a tier in the format `openai`, `anthropic` or `json-schema`."""
    verbs = tools_of_tier(tier)
    if tools_format == "openai":
        return [
            {
                "type": "function",
                "function": {
                    "name": tool_name(verb.name),
                    "description": describe(verb),
                    "parameters": input_schema(verb),
                },
            }
            for verb in verbs
        ]
    if tools_format == "anthropic":
        return [
            {"name": tool_name(verb.name), "description": describe(verb), "input_schema": input_schema(verb)}
            for verb in verbs
        ]
    return [
        {
            "name": tool_name(verb.name),
            "title": verb.name,
            "description": describe(verb),
            "access": verb.access,
            "destructive": verb.destructive,
            "idempotent": verb.idempotent,
            "input": input_schema(verb),
            "output": output_schema(verb),
        }
        for verb in verbs
    ]

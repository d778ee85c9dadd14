"""Verbs as tool schemas in the format of each kind of agent; needs no MCP library."""

from __future__ import annotations

from typing import Any

from sane.verbs.registry import VERB_NAMES, Verb, load_verb
from sane.verbs.schema import input_schema, output_schema

TIERS = ("read", "write", "admin")
FORMATS = ("openai", "anthropic", "json-schema")


def tool_name(verb_name: str) -> str:
    """Return the tool's name: agents' APIs allow letters, digits, `_` and `-` only, 64 of them."""
    return verb_name.replace("-", "_")


def tools_of_tier(tier: str) -> list[Verb]:
    """Return the verbs that a caller of that tier may use, in the order of the registry."""
    allowed = TIERS[: TIERS.index(tier) + 1]
    return [verb for verb in map(load_verb, VERB_NAMES) if verb.access in allowed]


def describe(verb: Verb) -> str:
    """Return what an agent reads about a tool: the summary and an example call."""
    return f"{verb.summary}\n\nAs a command: {verb.example}" if verb.example else verb.summary


def tool_schema(verb: Verb, tools_format: str) -> dict[str, Any]:
    """Return one tool in the format `openai`, `anthropic` or `json-schema`."""
    named = {"name": tool_name(verb.name), "description": describe(verb)}
    if tools_format == "openai":
        return {"type": "function", "function": {**named, "parameters": input_schema(verb)}}
    if tools_format == "anthropic":
        return {**named, "input_schema": input_schema(verb)}
    return {
        **named,
        "title": verb.name,
        "access": verb.access,
        "destructive": verb.destructive,
        "idempotent": verb.idempotent,
        "input": input_schema(verb),
        "output": output_schema(verb),
    }


def tool_schemas(tools_format: str, tier: str) -> list[dict[str, Any]]:
    """Return the tools of a tier in the format `openai`, `anthropic` or `json-schema`."""
    return [tool_schema(verb, tools_format) for verb in tools_of_tier(tier)]

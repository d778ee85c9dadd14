"""Verbs as tools, in the format of each kind of agent; needs no MCP library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sane.core.nearest import nearest_hint
from sane.errors import STATUS, AccessError, NotFoundError, SaneError, TransportError, UsageError
from sane.verbs.registry import VERB_NAMES, Verb, bind, display_name, load_verb
from sane.verbs.schema import Schema, input_schema, output_schema

TIERS = ("read", "write", "admin")
FORMATS = ("openai", "anthropic", "json-schema")
# A model may see nothing but this one tool, so each says what a target looks like.
OF_PANES = "work:1.0 or %3, or ssh:HOST/work:1.0 in the tmux of a host"
OF_ALL = "a pane (work:1.0, %3), local: (this machine), ssh:HOST, or ssh:HOST/work:1.0"
LIST_TARGETS = "list_targets"  # a tool that is no verb
LIST_TARGETS_DESCRIPTION = (
    "List where commands can run: the panes of every tmux session, with their program, folder and label, and the hosts"
    " known by name. `own` marks the pane that this program runs in, which no tool may type into."
)
LIST_TARGETS_INPUT: Schema = {
    "type": "object",
    "properties": {"host": {"type": "string", "description": "a host's panes in place of this machine's; over ssh"}},
    "required": [],
    "additionalProperties": False,
}
EXAMPLES = {
    "edit-file": 'For example operation "replace" with what ["old text", "new text"], or "insert" with ["3", "a line"].'
}
_NAMES = re.compile(rf"(?<![\w/.-])(?:sane-)?({'|'.join(sorted(VERB_NAMES, key=len, reverse=True))})(?![\w/-])")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
_RAISES = re.compile(r"\s*\bRaises\b.*?\.(?=\s|$)", re.DOTALL)  # for those who read Python


def _list_of(**types_by_name: str) -> Schema:
    properties = {name: {"type": kind} for name, kind in types_by_name.items()}
    item = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "array", "items": item}


LIST_TARGETS_OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "panes": _list_of(
            id="string", target="string", command="string", path="string", label="string", dead="boolean"
        ),
        "hosts": _list_of(name="string", target="string", **{"from": "string"}),
        "panes_left_out": {"type": "integer"},
    },
    "required": ["panes", "hosts"],
}


def tool_name(verb_name: str) -> str:
    """Return the tool's name: agents' APIs allow letters, digits, `_` and `-` only, 64 of them."""
    return verb_name.replace("-", "_")


def tools_of_tier(tier: str) -> list[Verb]:
    """Return the verbs that a caller of that tier may use, in the order of the registry."""
    allowed = TIERS[: TIERS.index(tier) + 1]
    return [verb for verb in map(load_verb, VERB_NAMES) if verb.access in allowed]


def verb_of_tool(name: str, tier: str, other_tools: Sequence[str] = ()) -> Verb:
    """Return the verb behind a tool's name. Raises NotFoundError, and AccessError where the tier is too low."""
    verb_name = {tool_name(verb_name): verb_name for verb_name in VERB_NAMES}.get(name)
    if verb_name is None:
        known = [*map(tool_name, VERB_NAMES), *other_tools]
        raise NotFoundError(f"there is no tool '{name}'", hint=nearest_hint(name, known))
    verb = load_verb(verb_name)
    if TIERS.index(verb.access) > TIERS.index(tier):
        raise AccessError(
            f"{name} needs access '{verb.access}', this caller has '{tier}'",
            hint=f"Only the person who started it can give more: `--access {verb.access}`.",
        )
    return verb


def bind_tool(verb: Verb, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of a call, converted. Raises UsageError, which calls an argument as the schema does."""
    try:
        return bind(verb, arguments)
    except UsageError as error:
        message, hint = error.message, error.hint
        for parameter in verb.parameters:  # on a command line `timeout_s` is called timeout
            if message.startswith(f"{display_name(parameter)} must"):
                message = parameter.name + message.removeprefix(display_name(parameter))
        raise UsageError(message, hint=f"{hint} {EXAMPLES.get(verb.name, '')}".strip()) from None


def in_tool_words(text: str) -> str:
    """Return a text in which each verb has its tool's name."""
    return _NAMES.sub(lambda match: tool_name(match[1]), text)


def error_answer(error: SaneError) -> dict[str, Any]:
    """Return an error as a tool's answer: the sentence, its code, what to do next, whether trying again may help."""
    answer: dict[str, Any] = {
        "error": in_tool_words(error.message),
        "code": error.code,
        "hint": in_tool_words(error.hint),
        "retryable": STATUS[error.code][2],
    }
    if isinstance(error, TransportError):
        answer |= {"phase": error.phase, "host": error.host}
    return answer


def failure_of(verb: Verb, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an answer that tells a failure, with the code of an error; None for one that does not.

    That a text is not valid is what a validation was asked for.
    """
    if verb.ok(answer) and ("error" not in answer or "valid" in answer):
        return None
    if answer.get("attempts") == 0:
        code, hint = "usage", "Nothing ran. Mend the command."
    elif answer.get("pane_gone") or ("attempts" in answer and "exit_code" not in answer):
        code, hint = "lost", "What it did is not known: look before it is run again."
    elif answer.get("pane_ready") is False:
        code, hint = "pane", "Something still runs in the pane: send_keys presses keys there, C-c say."
    else:
        code, hint = "remote", ""
    retryable = STATUS[code][2]
    return {"error": "it failed", **answer, "code": code, "hint": hint, "retryable": retryable}


def check_host_argument(arguments: Mapping[str, Any]) -> str | None:
    """Return the host of a list_targets call, None for this machine. Raises UsageError."""
    for name in arguments:
        if name != "host":
            raise UsageError(f"{LIST_TARGETS} has no argument '{name}'", hint=nearest_hint(name, ["host"]))
    host = arguments.get("host")
    if host is not None and not isinstance(host, str):
        raise UsageError(f"host must be a string, got {host!r}")
    return (host or "").removeprefix("ssh:") or None


def describe(verb: Verb) -> str:
    """Return what an agent reads about a tool: the verb's docstring on one line, without the errors it raises."""
    said = " ".join(_RAISES.sub("", verb.function.__doc__ or verb.summary).split())
    return _as_arguments(verb, f"{said} {EXAMPLES.get(verb.name, '')}".strip())


def _as_arguments(verb: Verb, text: str) -> str:
    """Return a text in which the words of a command line, `--all` and CONTENT, are the tool's arguments."""
    text = _OPTION.sub(lambda match: match[1].replace("-", "_"), in_tool_words(text))
    names = [p.name for p in verb.parameters if p.name not in ("target", "session")]  # which are grammar
    for name in names:
        text = re.sub(rf"\b{name.upper()}\b", name, text)
    return text


def tool_input(verb: Verb) -> Schema:
    """Return the schema of a tool's arguments, in which a target says what it looks like."""
    schema = input_schema(verb)
    for described in schema["properties"].values():
        if "description" in described:
            described["description"] = _as_arguments(verb, described["description"])
    target = schema["properties"].get("target")
    if target is not None and "ssh:" not in target["description"]:
        target["description"] += f": {OF_PANES if 'pane' in target['description'] else OF_ALL}"
    return schema


def tool_schema(verb: Verb, tools_format: str) -> dict[str, Any]:
    """Return one tool in the format `openai`, `anthropic` or `json-schema`."""
    about = {
        "title": verb.name,
        "access": verb.access,
        "destructive": verb.destructive,
        "idempotent": verb.idempotent,
        "example": verb.example,
    }
    return _in_format(tools_format, tool_name(verb.name), describe(verb), tool_input(verb), about, output_schema(verb))


def _in_format(
    tools_format: str, name: str, description: str, arguments: Schema, about: dict[str, Any], answer: Schema
) -> dict[str, Any]:
    named = {"name": name, "description": description}
    if tools_format == "openai":
        return {"type": "function", "function": {**named, "parameters": arguments}}
    if tools_format == "anthropic":
        return {**named, "input_schema": arguments}
    return {**named, **about, "input": arguments, "output": answer}


def tool_schemas(tools_format: str, tier: str) -> list[dict[str, Any]]:
    """Return the tools of a tier in the format `openai`, `anthropic` or `json-schema`: the verbs, and list_targets."""
    about = {"title": "list-targets", "access": "read", "destructive": False, "idempotent": True}
    about["example"] = f"sane tools --call {LIST_TARGETS} '{{}}'"
    targets = (LIST_TARGETS, LIST_TARGETS_DESCRIPTION, LIST_TARGETS_INPUT, about, LIST_TARGETS_OUTPUT)
    return [*(tool_schema(verb, tools_format) for verb in tools_of_tier(tier)), _in_format(tools_format, *targets)]

"""The same verbs, with the same parameters, in every format that agents take."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from anthropic.types import ToolParam
from openai.types.chat import ChatCompletionFunctionToolParam
from pydantic import TypeAdapter

from sane.errors import AccessError, NotFoundError, UsageError
from sane.surfaces.mcp.tools import READ_ON, all_tools, check_page_arguments
from sane.surfaces.tool_schemas import (
    FORMATS,
    LIST_TARGETS,
    TIERS,
    bind_tool,
    check_host_argument,
    describe,
    error_answer,
    tool_input,
    tool_schemas,
    tools_of_tier,
    verb_of_tool,
)
from sane.verbs.registry import VERB_NAMES, bind, load_verb
from sane.verbs.schema import type_schema

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what both APIs allow
EXAMPLES: dict[str, Any] = {"string": "x", "integer": 1, "number": 1.5, "boolean": True, "array": ["x"]}


@dataclasses.dataclass
class Inner:
    name: str
    label: str | None
    sizes: list[int] | None


@dataclasses.dataclass
class Answer:
    inner: list[Inner]
    note: str | None


def parameters_by_name(tools_format: str) -> dict[str, Any]:
    tools = tool_schemas(tools_format, "admin")
    if tools_format == "openai":
        return {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    return {tool["name"]: tool["input_schema" if tools_format == "anthropic" else "input"] for tool in tools}


def mcp_tools() -> dict[str, Any]:
    return {tool.name: tool for tool in all_tools("admin", 1000)}


def test_every_format_has_every_verb_with_the_same_parameters():
    of_mcp = {name: tool.input_schema for name, tool in mcp_tools().items() if name != READ_ON}
    assert sorted(of_mcp) == sorted([LIST_TARGETS, *(name.replace("-", "_") for name in VERB_NAMES)])
    for tools_format in FORMATS:
        assert parameters_by_name(tools_format) == of_mcp


def test_the_formats_are_what_the_apis_take():
    for tool in TypeAdapter(list[ChatCompletionFunctionToolParam]).validate_python(tool_schemas("openai", "admin")):
        assert NAME.fullmatch(tool["function"]["name"])
    for tool in TypeAdapter(list[ToolParam]).validate_python(tool_schemas("anthropic", "admin")):
        assert NAME.fullmatch(tool["name"])


def test_every_schema_is_a_schema_and_refuses_unknown_arguments():
    for tool in mcp_tools().values():
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"  # MCP and both APIs want an object at the top
        assert tool.input_schema["additionalProperties"] is False
        assert all("description" in p for p in tool.input_schema["properties"].values()), tool.name


@pytest.mark.parametrize("name", VERB_NAMES)
def test_what_the_schema_allows_is_what_a_call_takes(name: str):
    verb = load_verb(name)
    schema = tool_input(verb)
    values = {n: p["enum"][0] if "enum" in p else EXAMPLES[p["type"]] for n, p in schema["properties"].items()}
    jsonschema.validate(values, schema)
    assert bind(verb, values).keys() == values.keys()
    required = {n: values[n] for n in schema["required"]}
    jsonschema.validate(required, schema)
    bind(verb, required)
    for left_out in required:
        with pytest.raises(UsageError, match=left_out):
            bind(verb, {n: v for n, v in required.items() if n != left_out})


def test_what_a_model_reads_is_about_the_tool_and_says_what_a_target_looks_like():
    for verb in map(load_verb, VERB_NAMES):
        said = describe(verb)
        assert said == " ".join(said.split())
        assert "Raises" not in said
        assert "Error" not in said
        helps = [text["description"] for text in tool_input(verb)["properties"].values()]
        for text in (said, *helps):  # a tool is not called by a command's name, nor its arguments as on a command line
            assert not re.search(r"sane-|--\w|\b(?:CONTENT|ROOT|SOURCE)\b", text), text
            assert not set(re.findall(r"[a-z]+(?:-[a-z]+)+", text)) & set(VERB_NAMES), text
        target = tool_input(verb)["properties"].get("target", {"description": "ssh:HOST"})
        assert "ssh:HOST" in target["description"], verb.name
    assert "124" in describe(load_verb("run-command"))  # beyond the summary


def test_the_list_of_tools_leaves_a_context_window_its_room():
    tools = [tool.model_dump(by_alias=True, exclude_none=True) for tool in all_tools("write", 16_000)]
    assert len(json.dumps(tools)) < 48_000  # it was 67,000
    for_a_model = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tools]
    assert len(json.dumps(for_a_model)) < 24_000


def test_the_size_of_the_lists_is_what_the_page_for_agents_says():
    said = (Path(__file__).parents[3] / "docs" / "agents.md").read_text()
    listed = re.search(r"the write tier's are (\d+) KB .*?an MCP client gets (\d+) KB", said, re.DOTALL)
    assert listed is not None
    compact: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}  # as jq -c and the server write it
    for_a_model = json.dumps(tool_schemas("anthropic", "write"), **compact)
    of_mcp = [tool.model_dump(by_alias=True, exclude_none=True) for tool in all_tools("write", 16_000)]
    sizes = [len(for_a_model.encode()), len(json.dumps(of_mcp, **compact).encode())]
    assert [abs(int(kb) * 1000 - size) < 1000 for kb, size in zip(listed.groups(), sizes, strict=True)] == [True] * 2, (
        sizes
    )


def test_a_field_of_an_inner_object_may_be_null_as_it_is_in_the_answer():
    answer = {"inner": [{"name": "x", "label": None, "sizes": None}, {"name": "y", "label": "l", "sizes": [1]}]}
    schema = type_schema(Answer)
    jsonschema.validate(answer, schema)
    for wrong in ({"inner": [{"name": None, "label": None}]}, {"inner": [{"name": "x", "label": 1}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert schema["properties"]["note"] == {"type": "string"}


def test_annotations_say_what_a_verb_does():
    tools = mcp_tools()
    for verb in map(load_verb, VERB_NAMES):
        notes = tools[verb.name.replace("-", "_")].annotations
        assert (notes.read_only_hint, notes.destructive_hint, notes.idempotent_hint) == (
            verb.access == "read",
            verb.destructive,
            verb.idempotent,
        )
        assert not (notes.read_only_hint and notes.destructive_hint)
    assert tools["run_command"].annotations.destructive_hint
    assert tools["read_file"].annotations.read_only_hint


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("send-keys", {"target": "x", "keys": ["a", None]}, "keys must be a list of strings"),
        ("send-keys", {"target": "x", "keys": [{"a": 1}]}, "keys must be a list of strings"),
        ("send-keys", {"target": "x", "keys": [True]}, "keys must be a list of strings"),
        ("send-keys", {"target": "x", "keys": [1.5]}, "keys must be a list of strings"),
        ("run-command", {"target": "x", "command": "x", "max_retries": 1.7}, "max_retries must be a whole number"),
    ],
)
def test_what_has_another_type_is_refused(name: str, arguments: dict[str, Any], said: str):
    with pytest.raises(UsageError, match=said):
        bind(load_verb(name), arguments)


@pytest.mark.parametrize("name", [n for n in VERB_NAMES if "timeout_s" in tool_input(load_verb(n))["properties"]])
def test_a_time_of_0_is_refused_by_the_schema_where_the_call_refuses_it(name: str):
    verb = load_verb(name)
    schema = tool_input(verb)
    values = {n: p["enum"][0] if "enum" in p else EXAMPLES[p["type"]] for n, p in schema["properties"].items()}
    values["timeout_s"] = 0
    if name in ("wait-ready", "check-pane-health"):  # which look once then
        jsonschema.validate(values, schema)
        assert bind(verb, values)["timeout_s"] == 0
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)
    for zero in (0, 0.0, "0"):
        with pytest.raises(UsageError, match="^timeout_s must be more than 0, got '0") as refused:
            bind_tool(verb, {**values, "timeout_s": zero})
        assert refused.value.hint.startswith("It is in seconds.")


def test_a_whole_number_may_be_written_as_json_has_it():
    line = {"target": "x", "path": "x", "operation": "insert", "what": [3, "text"]}
    assert bind(load_verb("edit-file"), line)["what"] == ["3", "text"]
    retries = {"target": "x", "command": "x", "max_retries": 2.0}
    assert repr(bind(load_verb("run-command"), retries)["max_retries"]) == "2"


def test_an_error_calls_tools_and_arguments_by_their_names():
    with pytest.raises(UsageError, match=r"^timeout_s must be a number, got 'soon'$"):
        bind_tool(load_verb("run-command"), {"target": "x", "command": "x", "timeout_s": "soon"})
    error = UsageError(
        "split-pane lacks target", hint="Send it with sane-send-keys; --access write, /usr/bin/sane-send-keys"
    )
    answer = error_answer(error)
    assert answer["error"] == "split_pane lacks target"
    assert answer["hint"] == "Send it with send_keys; --access write, /usr/bin/sane-send-keys"


def test_who_guesses_the_arguments_of_an_edit_is_shown_an_example():
    verb = load_verb("edit-file")
    assert '["old text", "new text"]' in describe(verb)
    with pytest.raises(UsageError) as refused:
        bind_tool(verb, {"target": "local:", "path": "/x", "operation": "replace", "old": "a", "new": "b"})
    assert '["old text", "new text"]' in refused.value.hint


def test_a_tier_has_its_own_tools_and_those_below():
    names = [{verb.name for verb in tools_of_tier(tier)} for tier in TIERS]
    assert names[0] < names[1] <= names[2]
    assert names[2] == set(VERB_NAMES)
    assert "run-command" in names[1] - names[0]


def test_an_unknown_tool_names_the_nearest_and_a_higher_tier_says_how_to_get_it():
    with pytest.raises(NotFoundError) as unknown:
        verb_of_tool("run_comand", "admin")
    assert unknown.value.hint == "Did you mean 'run_command'?"
    with pytest.raises(AccessError) as refused:
        verb_of_tool("run_command", "read")
    assert "--access write" in refused.value.hint


def test_the_host_whose_panes_are_listed_is_checked():
    assert [check_host_argument(a) for a in ({}, {"host": None}, {"host": "web1"}, {"host": "ssh:web1"})] == [
        None,
        None,
        "web1",
        "web1",
    ]
    for wrong in ({"host": 1}, {"hosts": "web1"}):
        with pytest.raises(UsageError):
            check_host_argument(wrong)


def test_the_schema_of_a_page_has_the_most_that_a_call_answers():
    schema = mcp_tools()[READ_ON].input_schema
    most = schema["properties"]["limit"]["maximum"]
    assert check_page_arguments({"cursor": "a", "limit": most + 1}, 1000) == ("a", 0, most)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cursor": "a", "limit": most + 1}, schema)


def test_page_arguments_are_checked():
    assert check_page_arguments({"cursor": "a"}, 100) == ("a", 0, 100)
    assert check_page_arguments({"cursor": "a", "offset": -5, "limit": 10**9}, 100) == ("a", -5, 1000)
    for wrong in ({}, {"cursor": 1}, {"cursor": "a", "limit": 0}, {"cursor": "a", "offset": True}):
        with pytest.raises(UsageError):
            check_page_arguments(wrong, 100)
    with pytest.raises(UsageError) as unknown:
        check_page_arguments({"cursr": "a"}, 100)
    assert unknown.value.hint == "Did you mean 'cursor'?"


@pytest.mark.parametrize("tools_format", FORMATS)
def test_the_command_prints_them(tools_format: str):
    argv = [sys.executable, "-m", "sane.surfaces.cli.main", "tools", "--format", tools_format, "--access", "read"]
    printed = subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout
    assert json.loads(printed) == json.loads(json.dumps(tool_schemas(tools_format, "read")))


def call(*words: str, stdin: str = "") -> tuple[int, Any]:
    argv = [sys.executable, "-m", "sane.surfaces.cli.main", "tools", *words]
    done = subprocess.run(argv, capture_output=True, text=True, input=stdin, timeout=20, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, json.loads(done.stdout)


def test_a_call_is_answered_in_the_words_of_an_api():
    arguments = json.dumps({"target": "local:", "command": "printf 'a\\nb'; exit 3"})
    for given in ((arguments,), ("-",), ()):
        status, answer = call("--access", "write", "--call", "run_command", *given, stdin=arguments)
        assert (status, answer["output"], answer["exit_code"]) == (0, "a\nb", 3)
    assert call("--call", "validate_json", '{"text": "{"}')[1]["valid"] is False


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["--call", "run_comand", "{}"], "not_found", 2),
        (["--access", "write", "--call", "run_command", "{}"], "usage", 2),
        (["--access", "write", "--call", "run_command", "[1]"], "usage", 2),
        (["--access", "write", "--call", "run_command", "{"], "usage", 2),
        (["--access", "read", "--call", "run_command", '{"target": "local:", "command": "true"}'], "access", 2),
        (["--call", "read_file", '{"target": "local:", "path": "/no/such"}'], "not_found", 2),
    ],
)
def test_a_wrong_call_is_answered_with_what_to_do(words: list[str], code: str, status: int):
    returned, answer = call(*words)
    assert (returned, answer["code"]) == (status, code)
    assert answer["error"]

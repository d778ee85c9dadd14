"""JSON Schemas of a verb's arguments and answer, from its types: one source for every agent's tool format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sane.verbs.registry import Parameter, Verb

Schema = dict[str, Any]
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", bytes: "string", type(None): "null"}
_KINDS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
}


def input_schema(verb: Verb) -> Schema:
    """Return the schema of a verb's arguments as one object; unknown names are refused."""
    return {
        "type": "object",
        "properties": {p.name: _parameter_schema(p) for p in verb.parameters},
        "required": [p.name for p in verb.parameters if p.required],
        "additionalProperties": False,
    }


def output_schema(verb: Verb) -> Schema:
    """Return the schema of a verb's answer; where its function promises no dataclass, any object."""
    hint = get_type_hints(verb.function).get("return")
    return type_schema(hint) if dataclasses.is_dataclass(hint) else {"type": "object"}


def type_schema(hint: Any, within: tuple[Any, ...] = ()) -> Schema:
    """Return the schema of a type: dataclasses, lists, mappings, unions, literals and the simple ones.

    A dataclass that holds itself (`within` holds those around this one) is an object there, its fields not told again.
    """
    if dataclasses.is_dataclass(hint):
        if hint in within:
            return {"type": "object"}
        hints = get_type_hints(hint)
        fields = dataclasses.fields(hint)
        # A field that may be None is left out of the answer then, so it is not required.
        required = [f.name for f in fields if type(None) not in get_args(hints[f.name])]
        properties = {f.name: type_schema(hints[f.name], (*within, hint)) for f in fields}
        if within:  # only the answer's own fields are left out: further down None is null
            properties = {n: s if n in required else _or_null(s) for n, s in properties.items()}
        return {"type": "object", "properties": properties, "required": required}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        options = [type_schema(a, within) for a in arguments if a is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin in (list, tuple) or hint in (list, tuple):
        return {"type": "array", "items": type_schema(arguments[0], within)} if arguments else {"type": "array"}
    if origin is dict or origin is Mapping or hint in (dict, Mapping):
        return {"type": "object"}
    return {"type": _SIMPLE[hint]} if hint in _SIMPLE else {}


def _or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def _parameter_schema(parameter: Parameter) -> Schema:
    schema = dict(_KINDS[parameter.kind])
    if parameter.above_0:
        schema["exclusiveMinimum"] = schema.pop("minimum")
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.help:
        schema["description"] = parameter.help
    if not parameter.required and parameter.default is not None and parameter.default != ():
        schema["default"] = parameter.default
    return schema

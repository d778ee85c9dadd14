"""One typed coroutine function becomes a command, an MCP tool, an HTTP route and a workflow step.

    @verb(access="write", destructive=True)
    async def create_file(ctx: Context, target: Annotated[str, "where"], path: ..., *, exact: bool = False) -> Answer:
        '''Replace a file on the target atomically.'''

The first parameter is the context a surface provides. Parameters before `*` are positional on a command line, those
behind it are options; in a tool call, a route and a workflow step all go by name. The answer is a frozen dataclass (or
a dict) that `as_json` turns into one JSON object.

A verb lives in `sane/primitives/NAME.py` as a function of that name, and is imported on first use: the list of names
below is all that start-up pays for. A test pins the list to the files, the launchers in bin/ and the scripts.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

from sane.core.nearest import nearest_hint
from sane.errors import NotFoundError, UsageError

Access = Literal["read", "write", "admin"]
VerbFunction = Callable[..., Coroutine[Any, Any, object]]
F = TypeVar("F", bound=VerbFunction)  # a decorated verb keeps its own type

# Each name is a file in sane/primitives, a launcher in bin/ and a console script, all called sane-NAME.
VERB_NAMES: tuple[str, ...] = (
    "activate-release",
    "capture-pane",
    "check-pane-health",
    "checksum-file",
    "context-database",
    "create-file",
    "detect-mode",
    "detect-platform",
    "detect-ssh",
    "edit-file",
    "friction-analysis",
    "get-label",
    "get-tool",
    "label-pane",
    "list-panes",
    "list-windows",
    "log-operation",
    "push-bundle",
    "read-file",
    "run-command",
    "send-keys",
    "setup-prompt",
    "split-pane",
    "transfer-from-workstation",
    "transfer-to-workstation",
    "validate-bash",
    "validate-json",
    "validate-python",
    "validate-with-ai",
    "validate-yaml",
    "wait-ready",
)


FROM_0 = "from 0"  # in the annotation of a timeout: this verb has a use for 0, which else no timeout can be


class Parameter(NamedTuple):
    """Describe one argument of a verb; `kind` is one of str, int, float, bool, list (of str).

    `above_0`: a number that must be more than 0.
    """

    name: str
    kind: str
    required: bool
    default: object
    positional: bool
    choices: tuple[str, ...]
    help: str
    above_0: bool = False


class Verb(NamedTuple):
    """Describe a verb to the surfaces.

    `access` is the tier a caller needs; `destructive` may lose what was there; `idempotent` may be called again safely;
    `example` is one command line for `--help`; `ok` says whether an answer counts as success (exit 0).
    """

    name: str
    function: VerbFunction
    summary: str
    access: Access
    destructive: bool
    idempotent: bool
    example: str
    parameters: tuple[Parameter, ...]
    ok: Callable[[Mapping[str, object]], bool]


def verb(
    *,
    access: Access,
    destructive: bool = False,
    idempotent: bool = True,
    example: str = "",
    ok: Callable[[Mapping[str, object]], bool] | None = None,
) -> Callable[[F], F]:
    """Register what the surfaces need to know of a coroutine function; its docstring's first line is the summary."""

    def register(function: F) -> F:
        function.__verb__ = (access, destructive, idempotent, example, ok or answer_is_ok)  # type: ignore[attr-defined]
        return function

    return register


def answer_is_ok(answer: Mapping[str, object]) -> bool:
    """Return whether an answer is a success: its `status`, where it has one, is not `error`."""
    return answer.get("status") != "error"


def load_verb(name: str) -> Verb:
    """Return the verb of that name, importing its module. Raises NotFoundError naming the nearest one."""
    if name not in VERB_NAMES:
        raise NotFoundError(f"there is no verb '{name}'", hint=nearest_hint(name, VERB_NAMES))
    attribute = name.replace("-", "_")
    function: VerbFunction = getattr(importlib.import_module(f"sane.primitives.{attribute}"), attribute)
    access, destructive, idempotent, example, ok = function.__verb__  # type: ignore[attr-defined]
    summary = (
        (function.__doc__ or "").strip().partition("\n")[0].partition(" Raises ")[0]
    )  # what it raises is for callers
    return Verb(name, function, summary, access, destructive, idempotent, example, parameters_of(function), ok)


def answer_fields(verb: Verb) -> tuple[str, ...] | None:
    """Return the names of the fields that a verb may answer; None where its function promises no dataclass."""
    hint = get_type_hints(verb.function).get("return")
    return tuple(field.name for field in dataclasses.fields(hint)) if dataclasses.is_dataclass(hint) else None


def parameters_of(function: VerbFunction) -> tuple[Parameter, ...]:
    """Return the parameters of a verb's function without its context."""
    hints = get_type_hints(function, include_extras=True)
    code, by_name = function.__code__, function.__kwdefaults__ or {}
    positional = code.co_varnames[1 : code.co_argcount]  # without the context
    by_place = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return (
        *(_parameter(name, hints[name], by_place, positional=True) for name in positional),
        *(_parameter(name, hints[name], by_name, positional=False) for name in options),
    )


def _parameter(name: str, hint: Any, defaults: Mapping[str, object], *, positional: bool) -> Parameter:
    doc, choices, marks = "", (), ()
    if hasattr(hint, "__metadata__"):
        (doc, *marks), hint = hint.__metadata__, hint.__origin__
    options = [t for t in get_args(hint) if t is not type(None)]
    if type(None) in get_args(hint) and len(options) == 1:
        hint = options[0]
    if get_origin(hint) is Literal:
        choices, hint = tuple(str(c) for c in get_args(hint)), str
    kind = "list" if get_origin(hint) in (list, tuple) else hint.__name__
    above_0 = name == "timeout_s" and FROM_0 not in marks
    return Parameter(name, kind, name not in defaults, defaults.get(name), positional, choices, doc, above_0)


def bind(verb: Verb, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return arguments given by name, converted; raises UsageError for an unknown, missing or wrong one."""
    parameters = {p.name: p for p in verb.parameters}
    for name in arguments:
        if name not in parameters:
            raise UsageError(f"{verb.name} has no argument '{name}'", hint=nearest_hint(name, parameters))
    absent = [p.name for p in verb.parameters if p.required and p.name not in arguments]
    if absent:
        raise UsageError(f"{verb.name} lacks {', '.join(absent)}", hint=f"It takes {', '.join(parameters)}.")
    return {name: convert(parameters[name], value) for name, value in arguments.items()}


def display_name(parameter: Parameter) -> str:
    """Return a parameter's name as people write it: units live in `_s` and the like only in code."""
    return parameter.name.removesuffix("_s")


def convert(parameter: Parameter, value: object) -> object:
    """Return `value` (text from a command line, or typed from JSON or YAML) as the parameter's type.

    Raises UsageError with the sentence that scripts match (`timeout must be a number, got 'x'`).
    """
    name, text = display_name(parameter), value if isinstance(value, str) else None
    if value is None and not parameter.required:
        return None
    if parameter.kind in ("int", "float"):
        number = _number(parameter.kind, name, value)
        if parameter.above_0 and number == 0:
            raise UsageError(f"{name} must be more than 0, got '{value}'", hint="It is in seconds.")
        return number
    if parameter.kind == "bool":
        if isinstance(value, bool):
            return value
        if text not in ("true", "false"):
            raise UsageError(f"{name} must be 'true' or 'false', got '{value}'")
        return text == "true"
    if parameter.kind == "list":
        if not isinstance(value, list | tuple):
            raise UsageError(f"{name} must be a list, got '{value}'", hint=f'Write it as {name}: ["{value}"].')
        return [_item(name, item) for item in cast("list[object]", value)]
    if text is None:
        raise UsageError(f"{name} must be a string, got {value!r}")
    if parameter.choices and text not in parameter.choices:
        raise UsageError(f"{name} must be one of {', '.join(parameter.choices)}, got '{text}'")
    return text


def _item(name: str, item: object) -> str:
    if isinstance(item, str) or (isinstance(item, int) and not isinstance(item, bool)):
        return str(item)  # the number of a line, say
    raise UsageError(f"{name} must be a list of strings, and one of them is {str(item)[:100]!r}")


def _number(kind: str, name: str, value: object) -> float:
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        try:
            number = int(value) if kind == "int" else float(value)
        except ValueError:
            number = None
    if number is None or number != number or number in (float("inf"), float("-inf")):
        raise UsageError(f"{name} must be a number, got '{value}'")
    if number < 0:
        raise UsageError(f"{name} must not be negative, got '{value}'")
    if kind == "int" and number != int(number):
        raise UsageError(f"{name} must be a whole number, got '{value}'")
    return int(number) if kind == "int" else number


def as_json(answer: object) -> dict[str, object]:
    """Return an answer as a JSON object: fields that are None are left out."""
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        answer = dataclasses.asdict(answer)
    if not isinstance(answer, dict):
        raise TypeError(f"a verb answered {type(answer).__name__}, not a dataclass or a dict")
    return {str(k): v for k, v in answer.items() if v is not None}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

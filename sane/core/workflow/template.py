"""Text with `{{ name }}` in it, filled in as it is or, in shell text, as part of a word that it can't break out of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sane.core.shell import ShellPlace, quote, scan_shell
from sane.errors import ConfigError

_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Reference:
    """Hold one `{{ name }}`; `offset` is where it starts in the text."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Template:
    """Hold a parsed text: `literals` has one member more than `references`, and they alternate."""

    text: str
    literals: tuple[str, ...]
    references: tuple[Reference, ...]


def parse_template(text: str) -> Template:
    """Return the template of a text. Raises ConfigError with the 1-based `column` of a malformed reference."""
    literals, references, end = list[str](), list[Reference](), 0
    for found in _REFERENCE.finditer(text):
        name = found[1].strip()
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{found[0][:80]}' is no name", column=found.start() + 1, hint="Write {{ name }}.")
        literals.append(text[end : found.start()])
        references.append(Reference(name, found.start()))
        end = found.end()
    rest = text[end:]
    if "{{" in rest:
        column = end + rest.index("{{") + 1
        raise ConfigError("'{{' is not closed", column=column, hint="Write {{ name }}.")
    return Template(text, (*literals, rest), tuple(references))


def has_references(text: str) -> bool:
    """Return whether a text has anything to be filled in."""
    return "{{" in text


def look_up(name: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a dotted name. Raises ConfigError when there is none."""
    value: Any = values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(sorted(str(k) for k in value)[:20]) if isinstance(value, Mapping) else ""  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            raise ConfigError(f"'{name}' is undefined", hint=f"Known here: {known}." if known else "")
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def show(name: str, value: object) -> str:
    """Return a value as text. Raises ConfigError for null, a list, a mapping, or text with a NUL in it."""
    if value is None or isinstance(value, Mapping | list | tuple):
        what = "no value" if value is None else "more than one value"
        raise ConfigError(f"'{name}' has {what}", hint="Give it in vars, or in the inventory." if value is None else "")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\0" in text:
        raise ConfigError(f"'{name}' has a NUL in it")
    return text


def render(template: Template, values: Mapping[str, Any]) -> str:
    """Return the text with its values in it as they are. Raises ConfigError for a name that has none."""
    shown = [show(reference.name, look_up(reference.name, values)) for reference in template.references]
    return _join(template.literals, shown)


def render_shell(template: Template, values: Mapping[str, Any]) -> str:
    """Return shell text in which every value is part of one word, whatever it holds.

    A value that starts with `~/` at the start of a word is a path under the home directory of whoever runs it.
    Raises ConfigError for a name without value, and as `check_shell` does.
    """
    places = check_shell(template)
    shown = [
        _as_word(show(reference.name, look_up(reference.name, values)), place)
        for reference, place in zip(template.references, places, strict=True)
    ]
    return _join(template.literals, shown)


def check_shell(template: Template) -> tuple[ShellPlace, ...]:
    """Return how each reference stands in the shell text.

    Raises ConfigError, with the `column` in the text, for one that stands where no quoting is safe.
    """
    places = scan_shell(template.literals)
    for reference, place in zip(template.references, places, strict=True):
        if place.refusal:
            name = re.sub(r"[^A-Za-z0-9]", "_", reference.name).upper()
            known = {"HOST", "VERSION", "PREVIOUS_VERSION", "NONCE", "STEP", "DEPLOYMENT", "HEALTH_PATH"}
            variable = f"SANE_{name}" if name in known else f"SANE_VAR_{name}"
            raise ConfigError(
                f"'{{{{ {reference.name} }}}}' can't be made safe {place.refusal}",
                column=reference.offset + 1,
                hint=f'Use the environment variable there: "${variable}".',
            )
    return places


def _as_word(value: str, place: ShellPlace) -> str:
    at_home = place.starts_word and place.quotes != "'" and (value == "~" or value.startswith("~/"))
    home = ('$HOME"' if place.quotes else '"$HOME"') if at_home else place.quotes
    rest = value[1:] if at_home else value
    return f"{home}{quote(rest) if rest or not at_home else ''}{place.quotes}"


def _join(literals: Sequence[str], values: Sequence[str]) -> str:
    return literals[0] + "".join(value + literal for value, literal in zip(values, literals[1:], strict=True))

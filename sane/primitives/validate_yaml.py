"""sane-validate-yaml: does a text parse as YAML?"""

from __future__ import annotations

import warnings
from typing import Annotated, Any

from sane.primitives.validate_bash import Verdict
from sane.transports.context import Context
from sane.verbs.registry import verb


@verb(access="read", example="sane-validate-yaml 'a: [1, 2]'", ok=lambda answer: True)
async def validate_yaml(context: Context, text: Annotated[str, "one document, or several"]) -> Verdict:
    """Check that a text is YAML, and that no mapping has a key twice. Tags mean nothing here: no object is made."""
    return check_yaml(text)


def check_yaml(text: str) -> Verdict:
    """Return whether a text is YAML, with the line and column of the first mistake."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yaml: Any = YAML(typ="safe", pure=True)
            documents: list[Any] = list(yaml.compose_all(text))
    except MarkedYAMLError as error:
        return _verdict_of(error)
    except RecursionError:
        return Verdict(False, "nested too deeply", 1, 1)
    except Exception as error:
        # Broad on purpose: on odd bytes the parser also raises ValueError, AttributeError, TypeError and others.
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return Verdict(False, str(error).partition("\n")[0], line, 1)
    return _first_double_key(documents)


def _verdict_of(error: Any) -> Verdict:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Verdict(False, str(error.problem or error.context), line, column)


def _first_double_key(documents: list[Any]) -> Verdict:
    """Return the verdict on the keys of all mappings, each looked at once however many aliases point to it."""
    waiting, seen = documents[::-1], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen or isinstance(node.value, str):
            continue
        seen.add(id(node))
        if type(node).__name__ != "MappingNode":
            waiting += reversed(node.value)
            continue
        keys = set[tuple[str, str]]()
        for key, _ in node.value:
            name = (str(key.tag), str(key.value))
            if isinstance(key.value, str) and name in keys:
                mark = key.start_mark
                return Verdict(False, f"the key '{key.value}' is there twice", mark.line + 1, mark.column + 1)
            if key.value != "<<":  # a merge key may be there again
                keys.add(name)
        waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
    return Verdict(True)

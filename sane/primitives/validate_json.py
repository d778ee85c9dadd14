"""sane-validate-json: does a text parse as JSON?"""

from __future__ import annotations

import json
from typing import Annotated

from sane.primitives.validate_bash import Verdict
from sane.transports.context import Context
from sane.verbs.registry import verb


@verb(access="read", example="""sane-validate-json '{"a": 1}'""", ok=lambda answer: True)
async def validate_json(context: Context, text: Annotated[str, "the document"]) -> Verdict:
    """Check that a text is one JSON value, as RFC 8259 has it: no NaN, no Infinity, no trailing comma."""
    return check_json(text)


def check_json(text: str) -> Verdict:
    """Return whether a text is one JSON value, with the line and column of the first mistake."""
    try:
        json.loads(text, parse_constant=_refuse, parse_int=str)  # JSON has no limit of digits, and int() has
    except json.JSONDecodeError as error:
        return Verdict(False, error.msg, error.lineno, error.colno)
    except _ConstantError as error:
        before = text[: text.find(str(error))]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return Verdict(False, f"{error} is no JSON number", line, column)
    except RecursionError:
        return Verdict(False, "nested too deeply", 1, 1)
    return Verdict(True)


class _ConstantError(Exception):
    pass


def _refuse(constant: str) -> float:
    raise _ConstantError(constant)

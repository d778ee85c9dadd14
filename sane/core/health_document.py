"""Read the document that a health file is: strictly, bounded, and with a sentence on why it is none."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, cast

_SHOWN_CHARACTERS = 80


class RefusedError(Exception):
    """Say why content is no document, and whether it looks cut."""

    def __init__(self, reason: str, *, torn: bool = False) -> None:
        super().__init__(reason)
        self.torn = torn


def parse_document(content: bytes) -> dict[str, Any]:
    """Return the JSON object that the content is. Raises RefusedError."""
    if not content.strip():
        raise RefusedError("it is empty", torn=True)
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair can't be shown anywhere
    except UnicodeDecodeError:
        raise RefusedError("it is not UTF-8", torn=True) from None
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")  # some of the parser's sentences end so, with the place behind them
        raise RefusedError(f"it is not JSON: {said} at character {error.pos + 1}", torn=True) from None
    except UnicodeEncodeError:
        raise RefusedError("it holds half of a surrogate pair") from None
    except RecursionError:
        raise RefusedError("it is nested too deep") from None
    except ValueError as error:
        raise RefusedError(f"it holds a number that is too large: {error}"[:_SHOWN_CHARACTERS]) from None
    if not isinstance(value, dict):
        raise RefusedError("it is not a JSON object")
    return cast("dict[str, Any]", value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError("a name stands in it twice")
    return found


def _no_constant(name: str) -> float:
    raise RefusedError(f"it holds {name}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise RefusedError("it holds a number that is too large")
    return value

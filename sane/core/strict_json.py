"""Read the JSON object that a host wrote: strictly, bounded, and with a sentence on why it is none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any, cast

MAX_DEPTH = 100  # what is read goes into events and answers, and each level costs whoever writes those a frame
MAX_WHOLE = 2**53 - 1  # every reader of JSON takes it, and a database does, as milliseconds where it is seconds
_SHOWN_CHARACTERS = 80


class RefusedError(ValueError):
    """Say why content is no document, and whether it looks cut."""

    def __init__(self, reason: str, *, torn: bool = False) -> None:
        super().__init__(reason)
        self.torn = torn


def parse_document(content: bytes) -> dict[str, Any]:
    """Return the JSON object that the content is. Raises RefusedError."""
    try:
        document = parse_object(content.decode("utf-8"))
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair can't be shown anywhere
    except UnicodeDecodeError:
        raise RefusedError("it is not UTF-8", torn=True) from None
    except UnicodeEncodeError:
        raise RefusedError("it holds half of a surrogate pair") from None
    return document


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that the text is, also with halves of surrogate pairs in it. Raises RefusedError."""
    if not text.strip():
        raise RefusedError("it is empty", torn=True)
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")  # some of the parser's sentences end so, with the place behind them
        raise RefusedError(f"it is not JSON: {said} at character {error.pos + 1}", torn=True) from None
    except RefusedError:
        raise
    except RecursionError:
        raise RefusedError("it is nested too deep") from None
    except ValueError as error:
        raise RefusedError(f"it holds a number that is too large: {error}"[:_SHOWN_CHARACTERS]) from None
    if not isinstance(value, dict):
        raise RefusedError("it is not a JSON object")
    document = cast("dict[str, Any]", value)
    _check_depth(document)
    return document


def whole(value: object, most: int = MAX_WHOLE) -> int:
    """Return the whole number that a value of a document is. Raises ValueError or TypeError, also beyond `most`."""
    try:
        number = int(cast("Any", value))
    except OverflowError:
        number = most + 1
    if abs(number) > most:
        raise ValueError("it holds a number that is too large")
    return number


def _check_depth(document: dict[str, Any]) -> None:
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise RefusedError("it is nested too deep")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


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

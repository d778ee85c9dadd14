"""Write JSON that every reader takes, whatever the value holds."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

COMPACT = (",", ":")


def to_json(value: object, separators: tuple[str, str] = COMPACT) -> str:
    """Return one line of JSON: a number that JSON has not becomes null, bytes and lone surrogates become U+FFFD."""
    import json

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators, default=_plain)
    except ValueError:  # NaN, Infinity
        text = json.dumps(_finite(value), ensure_ascii=False, separators=separators, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join("\ufffd" if _is_half(c) else c for c in text)
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def _is_half(character: str) -> bool:
    """Say whether a character is half of a surrogate pair that stands for no byte (PEP 383 has U+DC80 to U+DCFF)."""
    return "\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple | set | frozenset):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return _plain(value) if isinstance(value, bytes) else value

"""Long outputs cut to what a context window can hold, with a cursor to read on."""

from __future__ import annotations

import dataclasses
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sane.core.valid_json import to_json
from sane.errors import NotFoundError

KEPT_CHARS = 64 * 1024 * 1024  # of all outputs together; the oldest go first
ERROR_CHARS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Hold a piece of a text: characters `offset` to `next_offset` of `total_chars`; `next_offset` None at its end."""

    cursor: str
    offset: int
    text: str
    total_chars: int
    next_offset: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


class OutputPages:
    """Keep long outputs so that a client can read on where the first answer was cut."""

    def __init__(self, kept_chars: int = KEPT_CHARS) -> None:
        self._kept_chars = kept_chars
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def shorten(self, answer: Mapping[str, Any], limit_chars: int) -> dict[str, Any]:
        """Return an answer whose texts and lists together have at most about `limit_chars`, beside cursors.

        A long text keeps its head and tail, a list its first items. Binary data goes first, and whole: half of it is
        of no use. What is short stays as it is.
        """
        shortened = dict(answer)
        weights = {name: _weight(value) for name, value in answer.items()}
        for name in answer if sum(weights.values()) > limit_chars else ():
            if _is_binary(name, answer):
                shortened[name], weights[name] = "", 0
                shortened[f"{name}_page"] = self._page(answer[name], 0)
        for name, room in _rooms(weights, limit_chars).items():
            if weights[name] <= room:
                continue
            value = answer[name]
            if isinstance(value, str):
                head, tail = _cut(value, room)
                dropped = len(value) - len(head) - len(tail)
                shortened[name] = f"{head}\n… {dropped} characters left out …\n{tail}"
                shortened[f"{name}_page"] = self._page(value, len(head))
            elif isinstance(value, list):
                items = [as_text(item) for item in cast("list[Any]", value)]
                count = _how_many(items, room)
                shortened[name] = value[:count]
                left_out = {"items_left_out": len(items) - count}
                shortened[f"{name}_page"] = self._page("\n".join(items[count:]), 0) | left_out
            else:
                shortened[name] = {}
                shortened[f"{name}_page"] = self._page(as_text(value), 0)
        return shortened

    def _page(self, text: str, next_offset: int) -> dict[str, Any]:
        return {"cursor": self._keep(text), "total_chars": len(text), "next_offset": next_offset}

    def read(self, cursor: str, offset: int, limit_chars: int) -> Page:
        """Return the piece of a kept text that starts at `offset`, counted from the end when negative.

        Raises NotFoundError when it is kept no more.
        """
        text = self._texts.get(cursor)
        if text is None:
            raise NotFoundError(
                f"there is no output '{cursor}'", hint="Old outputs are dropped, and all at the end of the server."
            )
        self._texts.move_to_end(cursor)
        start = max(0, len(text) + offset) if offset < 0 else min(offset, len(text))
        end = min(len(text), start + limit_chars)
        return Page(cursor, start, text[start:end], len(text), end if end < len(text) else None)

    def _keep(self, text: str) -> str:
        cursor = secrets.token_hex(8)
        self._texts[cursor] = text
        self._size += len(text)
        while self._size > self._kept_chars and len(self._texts) > 1:
            self._size -= len(self._texts.popitem(last=False)[1])
        return cursor


def shorten_error(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error whose sentences have at most about ERROR_CHARS: what was wrong may be repeated in it."""
    shortened = dict(answer)
    for name, text in answer.items():
        if isinstance(text, str) and len(text) > ERROR_CHARS:
            half = ERROR_CHARS // 2
            shortened[name] = f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"
    return shortened


def as_text(value: object) -> str:
    """Return a value as JSON, as it stands in an answer."""
    return to_json(value, (", ", ": "))


def _weight(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return len(as_text(cast("object", value))) if isinstance(value, list | dict) else 0


def _is_binary(name: str, answer: Mapping[str, Any]) -> bool:
    return name.endswith("_base64") or (name == "content" and answer.get("encoding") == "base64")


def _rooms(weights: Mapping[str, int], limit_chars: int) -> dict[str, int]:
    """Return how much of the limit each field has: what the short ones leave is for the long ones, alike."""
    rooms: dict[str, int] = {}
    for name in sorted(weights, key=weights.__getitem__):
        share = max(0, limit_chars - sum(rooms.values())) // (len(weights) - len(rooms))
        rooms[name] = min(weights[name], share)
    return rooms


def _how_many(items: Sequence[str], room: int) -> int:
    used = 0
    for count, item in enumerate(items):
        used += len(item) + 2
        if used > room:
            return count
    return len(items)


def _cut(text: str, limit_chars: int) -> tuple[str, str]:
    # Two thirds of the room to the end: that is where a failure says why. Whole lines, unless they cost over a quarter.
    head = text[: limit_chars // 3]
    tail = text[len(text) - (limit_chars - len(head)) :]
    if (end := head.rfind("\n") + 1) >= len(head) * 3 / 4:
        head = head[:end]
    if 0 < (start := tail.find("\n") + 1) <= len(tail) / 4:
        tail = tail[start:]
    return head, tail

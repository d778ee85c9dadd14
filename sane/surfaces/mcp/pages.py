"""Long outputs cut to what a context window can hold, with a cursor to read on."""

from __future__ import annotations

import dataclasses
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from sane.errors import NotFoundError

KEPT_CHARS = 64 * 1024 * 1024  # of all outputs together; the oldest go first


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
        """Return an answer whose long texts hold their head and tail, `limit_chars` together, beside a cursor."""
        shortened = dict(answer)
        for name, text in answer.items():
            if isinstance(text, str) and len(text) > limit_chars:
                head, tail = _cut(text, limit_chars)
                dropped = len(text) - len(head) - len(tail)
                shortened[name] = f"{head}\n… {dropped} characters left out …\n{tail}"
                shortened[f"{name}_page"] = {
                    "cursor": self._keep(text),
                    "total_chars": len(text),
                    "next_offset": len(head),
                }
        return shortened

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


def _cut(text: str, limit_chars: int) -> tuple[str, str]:
    # Two thirds of the room to the end: that is where a failure says why. Whole lines where there are any.
    head = text[: limit_chars // 3]
    tail = text[len(text) - (limit_chars - len(head)) :]
    if (end := head.rfind("\n")) > 0:
        head = head[: end + 1]
    if 0 <= (start := tail.find("\n")) < len(tail) - 1:
        tail = tail[start + 1 :]
    return head, tail

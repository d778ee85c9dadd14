"""The one reader of JSON that hosts write."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.strict_json import MAX_DEPTH, MAX_WHOLE, RefusedError, parse_document, parse_object, whole

# What the standard parser takes, or raises another error for than its own.
BAD = {
    "": "empty",
    " \n": "empty",
    "[]": "not a JSON object",
    "null": "not a JSON object",
    '{"a":1': "not JSON",
    '{"a":NaN}': "NaN",
    '{"a":-Infinity}': "-Infinity",
    '{"a":1e999}': "too large",
    '{"a":' + "9" * 5_000 + "}": "too large",
    '{"a":1,"a":2}': "twice",
    '{"a":"\\ud800"}': "surrogate",
    '{"\\udfff":1}': "surrogate",
    "[" * 20_000: "too deep",
    '{"a":' * 20_000: "too deep",
    '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}": "too deep",
}
PIECES = st.sampled_from(
    ['{"a":', "[", "]", "}", ",", '"\\ud800"', "1e999", "9" * 5_000, "NaN", "-0", '"b":', "true", "[" * 3_000]
)


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_no_document_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(RefusedError, match=BAD[text]):
        parse_document(text.encode())


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(RefusedError, match="not UTF-8"):
        parse_document(b'{"a":"\xff"}')
    assert parse_object('{"a":"\\ud800"}') == {"a": "\ud800"}


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1])
def test_what_is_not_too_deep_can_be_written_again(depth: int) -> None:
    text = '{"a":' + "[" * depth + "]" * depth + "}"
    assert json.dumps(parse_document(text.encode()), separators=(",", ":")) == text


@given(
    st.binary()
    | st.text().map(lambda t: t.encode("utf-8", "replace"))
    | st.lists(PIECES).map(lambda p: "".join(p).encode())
)
def test_any_content_is_a_document_or_refused(content: bytes) -> None:
    with contextlib.suppress(RefusedError):
        json.dumps(parse_document(content), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), MAX_WHOLE + 1, -MAX_WHOLE - 1, 1e300, "9" * 5_000, "x", [], None]
)
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        whole(value)


def test_a_whole_number() -> None:
    assert [whole(value) for value in (0, MAX_WHOLE, -MAX_WHOLE, "7", True)] == [0, MAX_WHOLE, -MAX_WHOLE, 7, 1]

"""JSON that every reader takes."""

from __future__ import annotations

import json
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.valid_json import to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": b"\xff"}, '{"a":"\ufffd"}'),
        ({"a": "caf\udce9"}, '{"a":"caf\ufffd"}'),
        ({"a": "ü\x00\u2028"}, '{"a":"ü\\u0000\u2028"}'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        (None, "null"),
        ({"\ud800": ["\udfff", "caf\udcc3\udca9"]}, '{"\ufffd":["\ufffd","café"]}'),
        ({"a": float("nan"), "b": [float("inf"), 1.5], "c": {-float("inf")}}, '{"a":null,"b":[null,1.5],"c":[null]}'),
    ],
)
def test_json_is_valid_whatever_the_value_holds(value: object, text: str) -> None:
    assert to_json(value) == text
    json.loads(to_json(value).encode())


def no_constant(text: str) -> float:
    raise AssertionError(text)


def without_what_is_no_number(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_what_is_no_number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_what_is_no_number(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


TEXTS = st.text(st.characters(codec="utf-8"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
        lambda c: st.lists(c) | st.dictionaries(TEXTS, c),
    )
)
def test_what_json_can_hold_comes_back(value: object) -> None:
    written = to_json(value).encode()
    assert json.loads(written, parse_constant=no_constant) == without_what_is_no_number(value)


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs"])))
def test_any_text_can_be_sent(text: str) -> None:
    assert isinstance(json.loads(to_json(text).encode()), str)

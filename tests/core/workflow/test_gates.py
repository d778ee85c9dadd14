"""Gates: only exactly true passes, absence is inconclusive, and mistakes have a column."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.workflow.gates import compile_gate, evaluate
from sane.errors import ConfigError

DOCUMENT = {"status": "healthy", "n": 0, "rate": 0.5, "list": [{"s": "up"}, {"s": "down"}], "null": None, "ok": True}


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("ok", "pass"),
        ("status == 'healthy'", "pass"),
        ("rate < `0.6` && status == 'healthy'", "pass"),
        ("contains(status, 'health')", "pass"),
        ("list[0].s == 'up'", "pass"),
        ("length(list[?s=='down']) == `1`", "pass"),
        ("gone == `null`", "pass"),
        ("gone || ok", "pass"),
        ("not_null(gone, ok)", "pass"),
        ("gone.deep || status == 'healthy'", "pass"),
        ("status", "fail"),
        ("n", "fail"),
        ("`1`", "fail"),
        ("status == 'bad'", "fail"),
        ("list", "fail"),
        ("rate > `0.6`", "fail"),
        ("status != `null`", "pass"),
        ("gone != `null`", "inconclusive"),
        ("gone != 'bad'", "inconclusive"),
        ("gone == 'bad'", "inconclusive"),
        ("!gone", "inconclusive"),
        ("gone.deep < `1`", "inconclusive"),
        ("status.deep == 'x'", "inconclusive"),
        ("gone || gone2", "inconclusive"),
        ("list[?t=='x'] == `[]`", "inconclusive"),
        ("null", "inconclusive"),
        ("sum(status)", "inconclusive"),
        ("list[9]", "inconclusive"),
        ("rate < status", "inconclusive"),
    ],
)
def test_outcome(expression: str, outcome: str) -> None:
    result = evaluate(compile_gate(expression), DOCUMENT)
    assert (result.outcome, result.passed) == (outcome, outcome == "pass")
    assert bool(result.detail) == (outcome != "pass")


@pytest.mark.parametrize(
    ("expression", "column"),
    [("a ==", 5), ("a = b", 3), ("'x", 1), ("", 1), ("ok && lenght(a)", 7), ("sum(a, b)", 1), ("a[", 3), ("a b", 3)],
)
def test_a_mistake_has_its_column(expression: str, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_gate(expression)
    assert caught.value.problems[0].column == column


def test_an_unknown_function_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        compile_gate("lenght(a)")
    assert "'length'" in caught.value.hint


def test_depth_and_length_are_bounded() -> None:
    for expression in ("!" * 9_000 + "a", "(" * 5_000 + "a" + ")" * 5_000, "a" * 10_001):
        with pytest.raises(ConfigError):
            compile_gate(expression)


@given(
    st.text(alphabet="ab.[]?*'`\"&|!=<>()@{},:0 1-\\", max_size=25) | st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.dictionaries(st.sampled_from("ab"), c)
    ),
)
def test_any_expression_gives_an_outcome_or_a_config_error(expression: str, document: object) -> None:
    with contextlib.suppress(ConfigError):
        assert evaluate(compile_gate(expression), document).outcome in ("pass", "fail", "inconclusive")

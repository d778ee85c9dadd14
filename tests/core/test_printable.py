"""What of a text from elsewhere may be shown on a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sane.core.printable import printable


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = printable(text, keep="\n")
    assert len(shown) == len(text)
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_what_may_be_shown_stays() -> None:
    assert printable("a\x1b[2J\tb é 漢") == "a�[2J�b é 漢"
    assert printable("a\x07\tb", keep="\t", instead=" ") == "a \tb"

"""Names made from names that may hold anything."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sane.core.names import distinct_name

OTHER = r"[^a-z]"
names = (
    st.text(st.sampled_from("ab._\ud800é"), max_size=8) | st.text() | st.sampled_from(["a" * 100, "a" * 101, "a" * 102])
)


def test_a_name_that_needs_no_change_stays() -> None:
    assert distinct_name("a" * 100, OTHER, "_") == "a" * 100
    assert distinct_name("", OTHER, "_") == ""


@given(names, names)
def test_two_names_never_give_one(one: str, other: str) -> None:
    made = [distinct_name(name, OTHER, "x") for name in (one, other)]
    assert (made[0] == made[1]) == (one == other)
    for name in made:
        assert re.fullmatch(r"[a-z]{0,100}(-[0-9a-f]{8})?", name)

"""Host patterns: what they expand to, how names fold, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.fleet.hostset import expand, fold, select
from sane.errors import NotFoundError, UsageError

NAMES = ("web1", "web2", "web3", "web10", "db1", "db2")
GROUPS = {"web": ("web1", "web2", "web3", "web10"), "db": ("db1", "db2"), "odd": ("web1", "web3", "db1"), "none": ()}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web1", "web1"),
        ("web[1-3]", "web1 web2 web3"),
        ("web[01-05/2]", "web01 web03 web05"),
        ("web[08-11]", "web08 web09 web10 web11"),
        ("web[99-101]", "web99 web100 web101"),
        ("web[098-101]", "web098 web099 web100 web101"),
        ("rack[1-2]n[1-2]", "rack1n1 rack1n2 rack2n1 rack2n2"),
        ("web[1,4,7-8]", "web1 web4 web7 web8"),
        ("web[1-3]!web2", "web1 web3"),
        ("web[1-3],!web2", "web1 web3"),
        ("web[1-3]&web[2-9]", "web2 web3"),
        ("web[1-3],&web[2-9],db1", "web2 web3 db1"),
        (" web1 , web1,db1", "web1 db1"),
        ("n[0-2]", "n0 n1 n2"),
    ],
)
def test_expand(pattern: str, names: str) -> None:
    assert expand(pattern) == tuple(names.split())


@pytest.mark.parametrize(
    "pattern",
    [
        *["", " ", ",", "web[", "web]", "web[1-2", "web[[1]]", "web[]", "web[3-1]", "web[1-3/0]", "web[a-b]"],
        *["web[1-03]", "web[001-03]", "a,,b", "a,", "a!", "a!!b", "a&!b", "@web", "web*", "web[1-100001]"],
        *["a[1-400]b[1-400]", "n[1-60000],m[1-60000]", "web[1-" + "9" * 30 + "]", "x" * 200_000],
    ],
)
def test_expand_refuses(pattern: str) -> None:
    with pytest.raises(UsageError):
        expand(pattern)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("all", "web1 web2 web3 web10 db1 db2"),
        ("*", "web1 web2 web3 web10 db1 db2"),
        ("@all!web*", "db1 db2"),
        ("db", "db1 db2"),
        ("@db,web1", "web1 db1 db2"),
        ("web*", "web1 web2 web3 web10"),
        ("web?", "web1 web2 web3"),
        ("all!@web", "db1 db2"),
        ("!@web", "db1 db2"),
        ("web&odd", "web1 web3"),
        ("web!odd", "web2 web10"),
        ("@o*", "web1 web3 db1"),
        ("web[1-2]", "web1 web2"),
        ("db2,db1", "db1 db2"),
    ],
)
def test_select_keeps_the_inventorys_order(pattern: str, names: str) -> None:
    assert select(pattern, NAMES, GROUPS) == tuple(names.split())


@pytest.mark.parametrize("pattern", ["wen1", "@wen", "web[3-4]", "x*", "web1!web1", "web&db", "@none", "web1!db9"])
def test_select_never_silently_matches_nothing(pattern: str) -> None:
    with pytest.raises(NotFoundError):
        select(pattern, NAMES, GROUPS)


def test_select_names_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        select("wbe1", NAMES, GROUPS)
    assert "web1" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ("web4 web18", "web[4,18]"),
        ("web1 web2 web3", "web[1-3]"),
        ("web01 web02 web1 web2", "web[1-2,01-02]"),
        ("web9 web10 web11", "web[9-11]"),
        ("rack1n1 rack1n2 rack2n1 rack2n2", "rack[1-2]n[1-2]"),
        ("rack1n1 rack1n2 rack2n1", "rack1n[1-2],rack2n1"),
        ("db web1", "db,web1"),
        ("db", "db"),
        ("10.0.0.1 10.0.0.2", "10.0.0.[1-2]"),
        ("", ""),
    ],
)
def test_fold(names: str, pattern: str) -> None:
    assert fold(names.split()) == pattern


SHAPES = st.lists(st.sampled_from(["a", "web", "-", ".", "rack", "n"]), min_size=1, max_size=3)
NUMBERS = st.one_of(
    st.integers(0, 30).map(str), st.integers(0, 30).map(lambda n: f"{n:02}"), st.sampled_from(["000", "099", "100"])
)


@st.composite
def host_names(draw: st.DrawFn) -> str:
    return "".join(part + draw(NUMBERS) for part in draw(SHAPES)) + draw(st.sampled_from(["", ".lan", "x"]))


@given(st.sets(host_names(), min_size=1, max_size=40))
def test_a_fold_expands_to_the_same_names(names: set[str]) -> None:
    assert set(expand(fold(names))) == names


@given(st.sets(st.tuples(st.integers(1, 4), st.integers(8, 11)), min_size=1))
def test_a_fold_in_two_dimensions_expands_to_the_same_names(points: set[tuple[int, int]]) -> None:
    names = {f"rack{x}n{y:02}" for x, y in points}
    folded = fold(names)
    assert set(expand(folded)) == names
    assert fold(expand(folded)) == folded


@given(st.text(alphabet="ab019[]-/,!&@*? ", max_size=30) | st.text(max_size=30))
def test_any_pattern_gives_names_or_a_usage_error(pattern: str) -> None:
    for read in (expand, lambda p: select(p, NAMES, GROUPS)):
        with contextlib.suppress(UsageError):
            assert read(pattern)


def test_thousands_of_terms_and_a_large_inventory_stay_quick() -> None:
    names = tuple(f"web{n}" for n in range(100_000))
    assert len(select("all!web7", names, {})) == 99_999
    assert len(select(",".join(names[:9_000]), names, {})) == 9_000
    assert len(select("all" + "".join(f"!{name}" for name in names[:9_000]), names, {})) == 91_000


def test_globs_are_bounded() -> None:
    with pytest.raises(UsageError, match="globs"):
        select(",".join(["w*"] * 1_001), NAMES, GROUPS)

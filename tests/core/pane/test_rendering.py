"""Terminal output as text."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.pane.rendering import MOST_ROWS, Rendering

CASES = {
    "lines": ("a\r\nb\r\n> ", ["# a", "b", "> "]),
    "erased pager": ("\r\none\r\n --More-- " + "\b" * 9 + " " * 9 + "\b" * 9 + "two", ["# ", "one", " two      "]),
    "carriage return": ("\r\n--(more)--\r          \rtwo", ["# ", "two       "]),
    "erase line": ("\r\nabc\x1b[2K\rd", ["# ", "d"]),
    "erase to the end": ("\r\nabcdef\r\x1b[3C\x1b[K!", ["# ", "abc!"]),
    "colours and titles": ("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\x1b(B!", ["# red!"]),
    "node": ("1+1\r\r\n\x1b[33m2\x1b[39m\r\n\x1b[1G\x1b[0J> \x1b[3G", ["# 1+1", "2", "> "]),
    "wrapped by the terminal": ("x" * 30 + "\r\ny", ["# " + "x" * 30, "y"]),
    "wrapped by an editor": ("abcdefgh \ri\r\nj", ["# abcdefghi", "j"]),
    "cursor up": ("one\r\ntwo\x1b[A\rX\x1b[B", ["X one", "two"]),
    "insert and delete": ("abc\x1b[2D\x1b[@Z\x1b[P", ["# aZc"]),
    "insert pushes out what is behind": ("abcdef\x1b[5D\x1b[4@Z", ["# aZ   bcd"]),
    "insert more than there is": ("abc\x1b[2D\x1b[30000000@Z\x1b[" + "9" * 400 + "@", ["# aZ      "]),
    "wide": ("\r\n漢字漢字漢字\r\n", ["# ", "漢字漢字漢字", ""]),
    "combining": ("e\u0301", ["# e\u0301"]),
    "tab": ("\ta", ["#       a"]),
    "alternate": ("\r\na\r\n\x1b[?1049hxyz\r\n\x1b[?1049lb", ["# ", "a", "b"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left(case: str) -> None:
    text, lines = CASES[case]
    rendering = Rendering(10, "# ")
    rendering.feed(text)
    assert rendering.lines() == lines


def test_a_number_of_5000_digits_is_a_number() -> None:
    rendering = Rendering(10, "# ")
    rendering.feed("one\r\ntwo\x1b[" + "1" * 5000 + "A\rX")
    assert rendering.lines() == ["X one", "two"]


@pytest.mark.parametrize("case", CASES)
def test_cut_anywhere(case: str) -> None:
    text, lines = CASES[case]
    rendering = Rendering(10, "# ")
    for char in text:
        rendering.feed(char)
    assert rendering.lines() == lines


def test_the_cursors_line() -> None:
    rendering = Rendering(10)
    rendering.feed("\r\n" + "x" * 12 + "> ")
    assert rendering.cursor_line == "x" * 12 + "> "
    rendering.feed("\r")
    assert rendering.cursor_line == ""


def test_much_is_bounded_and_its_end_is_right() -> None:
    rendering = Rendering(80, limit=1000)
    for n in range(20_000):
        rendering.feed(f"line {n}\r\n")
    lines = rendering.lines()
    assert rendering.truncated
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[-2:] == ["line 19999", ""]
    assert len(lines) < MOST_ROWS + 1000


def test_noise_never_fails() -> None:
    chance = random.Random(5)
    alphabet = [
        "\x1b[",
        "\x1b",
        "A",
        "B",
        "9",
        ";",
        "K",
        "J",
        "H",
        "\r",
        "\n",
        "\b",
        "漢",
        "x" * 15,
        "\t",
        "P",
        "@",
        "X",
        "\x7f",
    ]
    for _ in range(300):
        rendering = Rendering(chance.randint(1, 20), "> ", limit=50)
        for _ in range(60):
            rendering.feed(chance.choice(alphabet))
        assert isinstance(rendering.cursor_line, str)
        assert rendering.lines()


def controls() -> st.SearchStrategy[bytes]:
    """Return control sequences with numbers of any size, between bytes of any kind."""
    number = st.integers(0, 10**60).map(lambda n: b"%d" % n) | st.sampled_from([b"", b"?1049", b"1" * 5000, b"1;2"])
    sequence = st.builds(
        lambda n, letter: b"\x1b[" + n + letter, number, st.sampled_from("ABCDGHJKPX@hlm").map(str.encode)
    )
    marks = st.integers(1, 400).map(lambda n: "e\u0301".encode() + "\u0301".encode() * n)
    return st.lists(st.binary(max_size=40) | sequence | marks | st.sampled_from([b"\n", b"x" * 30]), max_size=60).map(
        b"".join
    )


@given(controls(), st.integers(1, 90), st.integers(1, 50))
def test_any_bytes_are_rendered_in_bounded_memory(output: bytes, width: int, piece: int) -> None:
    text = output.decode("utf-8", "replace")
    rendering = Rendering(width, "> ", limit=100)
    tracemalloc.start()
    try:
        for start in range(0, len(text), piece * 100):
            rendering.feed(text[start : start + piece * 100])
        lines, peak_bytes = rendering.lines(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(rendering.cursor_line, str)
    assert sum(len(line) for line in lines) <= 2 * len(text) + len(lines) * max(2, width)
    assert peak_bytes < 400 * len(output) + (1 << 20)


def test_marks_without_end_take_no_room() -> None:
    rendering = Rendering(80)
    for _ in range(100):
        rendering.feed("e" + "\u0301" * 10_000)
    assert sum(len(line) for line in rendering.lines()) < 2_000

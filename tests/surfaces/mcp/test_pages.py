"""Long texts are cut to head and tail, and can be read on without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.errors import NotFoundError
from sane.surfaces.mcp.pages import OutputPages


def test_a_short_text_is_left_alone():
    assert OutputPages().shorten({"output": "x" * 10, "n": 1}, 10) == {"output": "x" * 10, "n": 1}


def test_a_long_text_keeps_whole_lines_of_its_head_and_tail():
    text = "".join(f"line {n}\n" for n in range(1000))
    answer = OutputPages().shorten({"output": text}, 300)
    head, _, tail = answer["output"].partition("… ")
    assert head.startswith("line 0\nline 1\n")
    assert head.endswith("\n\n")
    assert tail.partition("…\n")[2].startswith("line ")
    assert answer["output"].endswith("line 999\n")
    assert len(answer["output"]) < 360
    assert answer["output_page"]["total_chars"] == len(text)


@given(text=st.text(min_size=31, max_size=400), limit=st.integers(1, 30))
def test_the_pages_of_a_text_are_the_text(text: str, limit: int):
    pages = OutputPages()
    page = pages.shorten({"output": text}, limit)["output_page"]
    read, offset = "", 0
    while offset is not None:
        part = pages.read(page["cursor"], offset, limit)
        assert len(part.text) <= limit
        read, offset = read + part.text, part.next_offset
    assert read == text


@given(text=st.text(min_size=31, max_size=400), limit=st.integers(1, 30))
def test_the_head_that_is_shown_ends_at_next_offset(text: str, limit: int):
    answer = OutputPages().shorten({"output": text}, limit)
    assert answer["output"].startswith(text[: answer["output_page"]["next_offset"]])


def test_a_negative_offset_counts_from_the_end():
    pages = OutputPages()
    cursor = pages.shorten({"output": "0123456789"}, 4)["output_page"]["cursor"]
    assert pages.read(cursor, -3, 100).text == "789"
    assert pages.read(cursor, -300, 2).text == "01"
    assert pages.read(cursor, 300, 2).as_json() == {"cursor": cursor, "offset": 10, "text": "", "total_chars": 10}


def test_the_oldest_texts_are_dropped_past_the_room():
    pages = OutputPages(kept_chars=25)
    first, second, third = (pages.shorten({"output": c * 10}, 4)["output_page"]["cursor"] for c in "abc")
    with pytest.raises(NotFoundError, match=first):
        pages.read(first, 0, 10)
    assert pages.read(second, 0, 10).text == "b" * 10
    assert pages.read(third, 0, 10).text == "c" * 10

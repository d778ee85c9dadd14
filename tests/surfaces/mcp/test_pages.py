"""Long texts are cut to head and tail, and can be read on without a gap."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.errors import NotFoundError
from sane.surfaces.mcp.pages import OutputPages, shorten_error
from sane.surfaces.mcp.server import result_of


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


def test_a_long_line_leaves_no_room_unused():
    text = "start\n" + "a" * 100_000 + "\nend\n"
    answer = OutputPages().shorten({"output": text}, 16_000)
    assert 15_900 < len(answer["output"]) < 16_100
    assert answer["output"].startswith("start\naaa")
    assert answer["output"].endswith("aaa\nend\n")


def test_one_limit_is_for_the_whole_answer():
    answer = {
        "output": "o" * 100_000,
        "stderr": "e" * 100_000,
        "note": "kept",
        "output_base64": "AAAA" * 30_000,
        "n": 1,
    }
    pages = OutputPages()
    shortened = pages.shorten(answer, 16_000)
    assert len(json.dumps(shortened)) < 17_000
    assert (shortened["note"], shortened["n"]) == ("kept", 1)
    assert abs(len(shortened["output"]) - len(shortened["stderr"])) < 100
    assert len(shortened["output"]) > 7_500
    # Half of the binary data would be of no use, nor is there a sentence in it: it is behind its cursor.
    assert shortened["output_base64"] == ""
    page = shortened["output_base64_page"]
    assert page["total_chars"] == 120_000
    assert pages.read(page["cursor"], page["next_offset"], 200_000).text == answer["output_base64"]


def test_a_binary_file_is_behind_its_cursor_and_a_small_one_is_not():
    answer = {"content": "AAAA" * 100, "encoding": "base64", "path": "/bin/true"}
    assert OutputPages().shorten(answer, 1000) == answer
    shortened = OutputPages().shorten(answer, 300)
    assert (shortened["content"], shortened["content_page"]["total_chars"]) == ("", 400)
    assert shortened["path"] == "/bin/true"


def test_a_list_keeps_its_first_items_and_the_others_are_behind_a_cursor():
    panes = [{"id": f"%{n}", "path": "/home/somebody/project"} for n in range(500)]
    pages = OutputPages()
    shortened = pages.shorten({"session": "work", "panes": panes}, 2000)
    assert len(json.dumps(shortened)) < 2_300
    kept = len(shortened["panes"])
    assert 20 < kept < 500
    assert shortened["panes"] == panes[:kept]
    page = shortened["panes_page"]
    assert page["items_left_out"] == 500 - kept
    rest = pages.read(page["cursor"], page["next_offset"], 100_000).text
    assert [json.loads(line) for line in rest.splitlines()] == panes[kept:]


def test_an_error_is_bounded_too():
    error = {"error": f"Session '{'x' * 3_000_000}' does not exist", "code": "not_found", "retryable": False}
    shortened = shorten_error(error)
    assert len(shortened["error"]) < 2_100
    assert shortened["error"].startswith("Session 'xx")
    assert shortened["error"].endswith("xx' does not exist")
    assert (shortened["code"], shortened["retryable"]) == ("not_found", False)


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


def test_an_answer_is_valid_json_whatever_it_holds():
    result = result_of({"a": float("nan"), "b": "\ud800caf\udcc3\udca9"}, is_error=False)
    (content,) = result.content
    assert json.loads(content.text, parse_constant=pytest.fail) == {"a": None, "b": "\ufffdcafé"}
    assert result.structured_content == {"a": None, "b": "\ufffdcafé"}

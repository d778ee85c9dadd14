"""sane-capture-pane, on a tmux server of the test's own."""

from __future__ import annotations

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import call

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


def test_answers_the_screen_and_where_the_cursor_is(tmux: Tmux) -> None:
    name = tmux.new("printf 'one   \\n\\n  two'; exec sleep 60", width=40, height=6)
    tmux.wait_for(name, "two")
    answer = call(tmux, "sane-capture-pane", name)
    assert answer.pop("pane") == tmux.call("display-message", "-p", "-t", name, "#{pane_id}").strip()
    assert answer == {
        "content": "one\n\n  two\n",
        "history_lines": 0,
        "cursor": {"row": 3, "column": 6},
        "size": {"width": 40, "height": 6},
        "history_size": 0,
    }


def test_lines_that_scrolled_away_come_before_the_screen(tmux: Tmux) -> None:
    name = tmux.new("seq 1 50; exec sleep 60", height=10)
    tmux.wait_for(name, "50")
    answer = call(tmux, "sane-capture-pane", name)
    assert (answer["content"].split()[0], answer["history_lines"], answer["history_size"]) == ("42", 0, 41)
    answer = call(tmux, "sane-capture-pane", name, "5")
    assert (answer["content"].split()[0], answer["history_lines"]) == ("37", 5)
    answer = call(tmux, "sane-capture-pane", name, "9000")
    assert (answer["content"].split()[0], answer["content"][-4:], answer["history_lines"]) == ("1", "\n50\n", 41)


def test_the_rows_of_a_wrapped_line_can_be_joined(tmux: Tmux) -> None:
    name = tmux.new(f"printf %s {'x' * 50}; exec sleep 60", width=20)
    tmux.wait_for(name, "x\nxxxxxxxxxx")
    assert call(tmux, "sane-capture-pane", name)["content"] == "\n".join(["x" * 20, "x" * 20, "x" * 10]) + "\n"
    assert call(tmux, "sane-capture-pane", name, "--join")["content"] == "x" * 50 + "\n"


def test_an_empty_screen_is_an_empty_text_and_no_pane_is_told(tmux: Tmux) -> None:
    assert call(tmux, "sane-capture-pane", tmux.new("exec sleep 60"))["content"] == ""
    assert "does not exist" in call(tmux, "sane-capture-pane", "nope", code=1)["stderr"]
    assert "is no pane" in call(tmux, "sane-capture-pane", "local:", code=1)["stderr"]

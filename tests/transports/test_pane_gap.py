"""Whether a screen shows all of a command's output."""

from __future__ import annotations

import pytest

from sane.transports.pane_gap import stands_behind

PROMPT = "$ seq 3"


@pytest.mark.parametrize(
    ("output", "screen", "more", "all_is_there"),
    [
        (["1", "2", ""], ["old", PROMPT, "1", "2", ""], False, True),
        ([""], [PROMPT, "", ""], False, True),
        (["1", ""], [PROMPT, "1", "2"], False, False),
        (["1", "1", ""], [PROMPT, "1", "1", "1"], False, False),  # the same lines, and one more
        (["1", "2", ""], ["1", "2"], False, False),  # the command has left the history
        (["1", ""], [PROMPT, "1", "$"], True, True),  # its end was seen: a prompt may come
        (["1", ""], [PROMPT, "2", "$"], True, False),
        (["$ seq 3", "1", ""], [PROMPT, "$ seq 3", "1"], False, True),
    ],
)
def test_output_on_a_screen(output: list[str], screen: list[str], more: bool, all_is_there: bool) -> None:
    assert stands_behind("for x; do\nseq 3", output, screen, more=more) is all_is_there

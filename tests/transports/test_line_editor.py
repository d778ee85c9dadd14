"""What a line editor shows for keys, taken from output that comes in pieces."""

from __future__ import annotations

from typing import cast

import pytest

from sane.core.pane.control_stream import decode_octal
from sane.transports.blocking import run_blocking
from sane.transports.control_mode import ControlClient
from sane.transports.line_editor import BLANK_AND_BACK, shown_for
from tests.e2e.pane_fixtures import Tmux, tmux

__all__ = ["tmux"]


class Pieces:
    """Stand for a client whose pane prints these pieces, one for each wait."""

    closed = following = False

    def __init__(self, *pieces: bytes) -> None:
        self._coming = list(pieces)
        self._come = b""

    async def paste(self, buffer: str, text: str) -> None:
        pass

    async def pump(self, deadline: float) -> bool:
        assert self._coming, "it waited for more"
        self._come += self._coming.pop(0)
        return True

    def take_output(self) -> bytes:
        come, self._come = self._come, b""
        return come


@pytest.mark.parametrize("gone", ["\\010\\033[K", "\\015\\033[K", "\\033[D", "\\015\\033[2C\\010"])
def test_a_prompt_that_comes_first_is_not_taken_for_the_answer(gone: str) -> None:
    """What was typed behind it met the blank, and one was left in front of the command."""
    pieces = Pieces(b"\\015> $", b" ", b" ", gone.encode())
    shown = run_blocking(shown_for(cast("ControlClient", pieces), BLANK_AND_BACK, to_end=True))
    assert shown == b"\r> $  " + decode_octal(gone.encode())


@pytest.mark.e2e
def test_a_prompt_of_nothing_costs_no_wait(tmux: Tmux) -> None:
    pane = tmux.open(tmux.new("env PS1= bash --norc"))
    assert pane.run("true").exit_code == 0
    for _ in range(3):
        # An answer that is not seen to be whole is waited for, for 2 s, and asked for twice.
        assert pane.run("echo x").duration_ms < 1500
    pane.close()

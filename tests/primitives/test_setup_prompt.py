"""The structured prompt, whatever the person has set."""

from __future__ import annotations

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import call

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


def test_a_bash_that_leaves_its_prompt_as_it_is_written_expands_this_one(tmux: Tmux) -> None:
    name = tmux.new(width=120)
    call(tmux, "sane-run-command", name, "shopt -u promptvars")
    assert call(tmux, "sane-setup-prompt", name)["status"] == "success"
    call(tmux, "sane-run-command", name, "(exit 7)")
    assert "$(" not in tmux.wait_for(name, "rslt:7 bash $")

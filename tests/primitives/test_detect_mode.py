"""Which shell waits in a pane, also where its name can't be seen."""

from __future__ import annotations

import pytest

from tests.e2e.pane_fixtures import SHELLS, Tmux, tmux
from tests.e2e.test_pane_ssh import ssh_command
from tests.primitives.pane_calls import call

__all__ = ["ssh_command", "tmux"]
pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_shell_behind_ssh_is_asked_and_what_was_typed_is_erased(tmux: Tmux, ssh_command: str, shell: str) -> None:
    name = tmux.new(f"{ssh_command} -t {SHELLS[shell]}")
    assert call(tmux, "sane-wait-ready", name, "20")["ready"] is True
    before = tmux.screen(name)
    answer = call(tmux, "sane-detect-mode", name)
    assert (answer["mode"], answer["shell"], answer["busy"]) == ("bash", shell, False)
    assert tmux.wait_for(name, before) == before


def test_a_line_that_is_begun_behind_ssh_stays(tmux: Tmux, ssh_command: str) -> None:
    name = tmux.new(f"{ssh_command} -t zsh -f")
    assert call(tmux, "sane-wait-ready", name, "20")["ready"] is True
    tmux.type(name, "nowhere")
    before = tmux.wait_for(name, "nowhere")
    assert call(tmux, "sane-detect-mode", name)["mode"] == "bash"
    assert tmux.screen(name) == before

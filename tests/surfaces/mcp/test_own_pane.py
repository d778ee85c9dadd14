"""What a script plainly ends in tmux."""

from __future__ import annotations

import pytest

from sane.surfaces.mcp.own_pane import endings_in


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        ("tmux kill-server", [("kill-server", "server", None, False)]),
        ("cd /; tmux kill-pane", [("kill-pane", "p", None, False)]),
        ("tmux kill-pane -t %3 && echo", [("kill-pane", "p", "%3", False)]),
        ("tmux killp -t%3", [("killp", "p", "%3", False)]),
        ("tmux -u kill-session -a -t 'my work'", [("kill-session", "s", "my work", True)]),
        ("(tmux kill-window -t=work:1)", [("kill-window", "w", "=work:1", False)]),
        ('tmux respawn-pane -k -t "$TMUX_PANE"', [("respawn-pane", "p", "$TMUX_PANE", False)]),
        ("tmux kill-window; tmux kill-pane", [("kill-window", "w", None, False), ("kill-pane", "p", None, False)]),
        ("tmux -L other kill-server", []),
        ("tmux -S/tmp/socket kill-server", []),
        ("tmux list-panes; echo kill-pane", []),
        ("kill -9 1; mytmux kill-server; tmux new -s killing", []),
    ],
)
def test_what_a_script_ends(script: str, ends: list[tuple[str, str, str | None, bool]]):
    assert list(endings_in(script)) == ends

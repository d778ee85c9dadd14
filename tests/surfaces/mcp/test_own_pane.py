"""What a script plainly ends in tmux."""

from __future__ import annotations

import pytest

from sane.surfaces.mcp.tmux_endings import endings_in, typed_text


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


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        ("tmux kill-ses -t vic", [("kill-ses", "s", "vic", False)]),
        ("tmux ls \\; kill-session -t vic", [("kill-session", "s", "vic", False)]),
        ("tmux ls ';' kill-session -t vic\\;", [("kill-session", "s", "vic", False)]),
        ("tmux 'kill-session' -t vic", [("kill-session", "s", "vic", False)]),
        ("t'mu'x kill-server", [("kill-server", "server", None, False)]),
        ("tmux \\\n  kill-server", [("kill-server", "server", None, False)]),
        ("/usr/bin/tmux -2 -f /dev/null kill-server", [("kill-server", "server", None, False)]),
        ("A=1 sudo -u me tmux kill-server", [("kill-server", "server", None, False)]),
        ("if true; then tmux kill-server; fi", [("kill-server", "server", None, False)]),
        ("bash -c 'tmux kill-server'", [("kill-server", "server", None, False)]),
        ("cat <<EOF | sh\ntmux kill-server\nEOF\ntrue", [("kill-server", "server", None, False)]),
        (
            'echo "$(tmux kill-server)" `tmux kill-pane`',
            [("kill-server", "server", None, False)] * 1 + [("kill-pane", "p", None, False)],
        ),
        ("tmux kill-session -at vic 2>&1", [("kill-session", "s", "vic", True)]),
        ("tmux new-window -k -t vic:0", [("new-window", "w", "vic:0", False)]),
        ("tmux neww -dkt vic:0 top", [("neww", "w", "vic:0", False)]),
        ("tmux unlink-window -k -t vic:0", [("unlink-window", "w", "vic:0", False)]),
        ("tmux link-window -k -s a:0 -t vic:0", [("link-window", "w", "vic:0", False)]),
        ("tmux movew -k -s a:0 -t vic:0", [("movew", "w", "vic:0", False)]),
        ("tmux send-keys -t vic C-d", [("send-keys", "p", "vic", False)]),
        (
            "tmux send -t x 'tmux kill-' server Enter",
            [("kill-server", "server", None, False), ("send", "p", "x", False)],
        ),
        ("tmux if-shell true kill-server", [("kill-server", "server", None, False)]),
        ("tmux run-shell 'tmux kill-server'", [("kill-server", "server", None, False)]),
        ("tmux -L default kill-session -t vic", [("kill-session", "s", "vic", False)]),
        ("tmux -Ldefault kill-session -t vic", [("kill-session", "s", "vic", False)]),
        ("tmux -S /tmp/tmux-0/default kill-server", [("kill-server", "server", None, False)]),
        ('tmux -S "${TMUX%%,*}" kill-server', [("kill-server", "server", None, False)]),
        ("tmux pipe-pane -I -t self 'echo touch x'", [("pipe-pane", "p", "self", False)]),
        ("tmux pipep -OIt %3 cat", [("pipep", "p", "%3", False)]),
        ("tmux run-shell -C kill-server", [("kill-server", "server", None, False)]),
        ("tmux run -bCd 1 'kill-session -t vic'", [("kill-session", "s", "vic", False)]),
        ("trap 'tmux kill-server' EXIT", [("kill-server", "server", None, False)]),
        ("coproc tmux kill-server", [("kill-server", "server", None, False)]),
        ("t\\mux kill-server", [("kill-server", "server", None, False)]),
        ("find . -name x -exec tmux kill-server \\;", [("kill-server", "server", None, False)]),
        ("watch -n 1 tmux kill-server", [("kill-server", "server", None, False)]),
        ("sudo watch 'true; tmux kill-server'", [("kill-server", "server", None, False)]),
        # Nothing of these ends a pane.
        ("tmux pipe-pane -t vic 'cat >>log'; tmux run-shell 'kill-server'", []),
        ("watch tmux ls; find . -name tmux; trap 'rm x' EXIT; coproc cat", []),
        ("echo 'never run tmux kill-server'", []),
        ("echo never run tmux kill-server # tmux kill-server", []),
        ("grep -rn 'tmux kill-server' . | grep -v tmux kill-server", []),
        ("cat > notes <<'EOF'\ntmux kill-server\nEOF\ntmux ls", []),
        ("tmux new -d; tmux new-window -t vic; tmux new-session -t k", []),
        ("tmux respawn-pane -t vic; tmux kill-session -C; tmux unlink-window -t x:1", []),
        ("tmux display-message 'tmux kill-server'", []),
        ("it's tmux 'quoted", []),
    ],
)
def test_what_a_script_ends_by_the_rules_of_shell_and_tmux(script: str, ends: list[tuple[str, str, str | None, bool]]):
    assert list(endings_in(script, "/tmp/tmux-0/default")) == ends


def test_keys_are_joined_as_tmux_types_them():
    assert typed_text(["tmux kill-", "server", "Enter"]) == "tmux kill-server\n"
    assert typed_text(["lsx", "BSpace", "Space", "C-a", "F1", "-l", "c-m"]) == "ls -l\n"
    assert typed_text(["Enter", "C-d"], literal=True) == "EnterC-d"

"""tmux inside the pane: here, and behind an ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.pane_fixtures import Pane, Tmux, tmux
from tests.e2e.test_pane_ssh import ssh_command

__all__ = ["ssh_command", "tmux"]
pytestmark = pytest.mark.e2e

SHELLS = ["bash --norc", "zsh -f", "fish --no-config"]


@pytest.fixture(params=[(where, shell) for where in ("here", "behind ssh") for shell in SHELLS], ids=" ".join)
def nested(request: pytest.FixtureRequest, tmux: Tmux, ssh_command: str) -> Iterator[Pane]:
    where, shell = request.param
    label = f"inner{tmux._count}"
    inner = f"env -u TMUX TMUX_TMPDIR={tmux.folder} TERM=screen tmux -L {label} -f /dev/null new-session '{shell}'"
    if where == "behind ssh":
        inner = f'{ssh_command} -t "{inner}"'
    name = tmux.new(inner, width=100)
    pane = tmux.open(name)
    pane.session = name  # pyright: ignore
    yield pane
    pane.close()
    subprocess.run(["tmux", "-L", label, "kill-server"], env=tmux.environ, capture_output=True, check=False)


def test_output_and_code_are_exact(nested: Pane, tmux: Tmux) -> None:
    assert nested.run("echo one").output == b"one\n"
    result = nested.run("seq 1 3000; printf 'ü\\r\\n\\t|'; sh -c 'exit 9'")
    assert result.output == b"".join(b"%d\n" % n for n in range(1, 3001)) + "ü\r\n\t|".encode()
    assert result.exit_code == 9
    assert nested.run("cd /usr; echo " + "x" * 5000).output == b"x" * 5000 + b"\n"
    assert nested.run("clear; pwd").output.endswith(b"/usr\n")
    screen = tmux.screen(nested.session)  # pyright: ignore
    assert "stty" not in screen.rpartition("\n")[0]  # fish names the terminal after what runs, in the status line


def test_timeout_in_nested_tmux(nested: Pane) -> None:
    result = nested.run("echo a; sleep 30", timeout_s=0.7)
    assert (result.exit_code, result.timed_out, result.pane_ready) == (124, True, True)
    assert nested.run("echo b").output == b"b\n"

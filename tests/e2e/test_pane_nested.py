"""tmux inside the pane: here, and behind an ssh."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.errors import PaneError
from sane.transports.blocking import run_blocking
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
    pane.run("true")  # a test with a short limit begins at a prompt
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


def test_what_a_person_has_set_up_inside_stays(tmux: Tmux, short_dir: Path) -> None:
    """An EXIT trap, the history, and a pipe-pane of their own: with that one the call is refused."""
    socket = f"{short_dir}/inner"
    name = tmux.new(f"env -u TMUX TERM=screen HISTCONTROL= tmux -S {socket} -f /dev/null new-session 'bash --norc'")
    pane = tmux.open(name)

    def inner(*words: str) -> str:
        return subprocess.run(["tmux", "-S", socket, *words], capture_output=True, text=True, check=True).stdout

    try:
        pane.run("HISTCONTROL=; trap 'echo mine' EXIT")
        assert pane.run("echo hi").output == b"hi\n"
        inner("send-keys", "history; trap -p EXIT", "Enter")
        screen = tmux.wait_for(name, "trap -- 'echo mine' EXIT")
        assert "allow-passthrough" not in screen
        inner("pipe-pane", f"cat >{short_dir}/log")
        with pytest.raises(PaneError, match="pipes that pane's output"):
            pane.run(f"touch {short_dir}/ran")
        assert inner("display-message", "-p", "#{pane_pipe}") == "1\n"
        assert not (short_dir / "ran").exists()
        inner("pipe-pane")
        assert pane.run("echo again").output == b"again\n"
    finally:
        pane.close()
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)


def test_stdin_unseen_answers_and_files_in_nested_tmux(nested: Pane, tmux: Tmux, short_dir: Path) -> None:
    content = bytes(range(256)) * 600
    assert nested.run("sha256sum", stdin=content).output.split()[0].decode() == hashlib.sha256(content).hexdigest()
    answer = nested.run("cat; exit 3", stdin=content, unseen=True, display="ASKED")
    assert (answer.output, answer.exit_code) == (content, 3)
    run_blocking(nested.transport.put(str(short_dir / "f"), content))
    assert (short_dir / "f").read_bytes() == content
    assert run_blocking(nested.transport.get(str(short_dir / "f"))) == content
    screen = tmux.screen(nested.session)  # pyright: ignore
    assert "ASKED" in screen
    assert "AAEC" not in screen  # as the content begins in base64


def test_timeout_while_stdin_is_sent_in_nested_tmux(nested: Pane) -> None:
    late = nested.run("cat", stdin=bytes(20 << 20), unseen=True, timeout_s=1)
    assert (late.timed_out, late.pane_ready) == (True, True)
    assert nested.run("echo b").output == b"b\n"

"""Files moved through panes of each shell, what commands there read, and answers that a watcher is not shown."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.core.command import CommandResult
from sane.errors import LostError, NotFoundError, PaneError, RemoteError
from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, shell_pane, tmux

__all__ = ["bash", "shell_pane", "tmux"]
pytestmark = pytest.mark.e2e

CONTENTS = {
    "empty": b"",
    "a line": b"one\n",
    "no newline": b"x",
    "every byte": bytes(range(256)) * 50,
    "exactly one line of base64": b"y" * 675,
}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_put_is_got(shell_pane: Pane, short_dir: Path, content: str) -> None:
    path = str(short_dir / "a 'name' with \"$(quotes)\" \\ ü")
    run_blocking(shell_pane.transport.put(path, CONTENTS[content]))
    assert Path(path).read_bytes() == CONTENTS[content]
    assert run_blocking(shell_pane.transport.get(path)) == CONTENTS[content]
    assert os.listdir(short_dir).count(Path(path).name) == 1
    assert not [name for name in os.listdir(short_dir) if name.startswith(".sane")]


def test_ten_megabytes(bash: Pane, short_dir: Path) -> None:
    content = random.Random(7).randbytes(10_000_000)
    started = time.monotonic()
    run_blocking(bash.transport.put(str(short_dir / "big"), content))
    assert (short_dir / "big").read_bytes() == content
    assert run_blocking(bash.transport.get(str(short_dir / "big"), limit_bytes=20_000_000)) == content
    assert run_blocking(bash.transport.get(str(short_dir / "big"), limit_bytes=1000)) == content[:1000]
    assert time.monotonic() - started < 20


def test_mode_is_kept_or_set_and_links_are_written_through(bash: Pane, short_dir: Path) -> None:
    real, link = short_dir / "real", short_dir / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    run_blocking(bash.transport.put(str(link), b"new"))
    assert (link.is_symlink(), real.read_bytes(), real.stat().st_mode & 0o777) == (True, b"new", 0o640)
    run_blocking(bash.transport.put(str(real), b"new", mode=0o755))
    assert real.stat().st_mode & 0o777 == 0o755
    run_blocking(bash.transport.put(str(short_dir / "fresh"), b"new"))
    assert (short_dir / "fresh").stat().st_mode & 0o777 == 0o644


def test_refusals_name_the_path_and_the_reason(bash: Pane, short_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        run_blocking(bash.transport.get(str(short_dir / "nowhere")))
    with pytest.raises(RemoteError, match="can't be read"):
        run_blocking(bash.transport.get(str(short_dir)))
    with pytest.raises(RemoteError, match="Not a regular file"):
        run_blocking(bash.transport.put(str(short_dir), b"x"))
    with pytest.raises(RemoteError, match="(?i)no such file|nonexistent"):
        run_blocking(bash.transport.put(str(short_dir / "no" / "such"), b"x"))
    (short_dir / "kept").write_bytes(b"old")
    bash.run("ulimit -f 1; trap '' XFSZ")
    with pytest.raises(RemoteError, match="(?i)too large"):
        run_blocking(bash.transport.put(str(short_dir / "kept"), b"x" * 5000))
    assert (short_dir / "kept").read_bytes() == b"old"
    assert bash.run("echo fine").output == b"fine\n"


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_watcher_sees_one_line(tmux: Tmux, shell: str, short_dir: Path) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    run_blocking(pane.transport.put("~/file", b"z" * 5000))
    run_blocking(pane.transport.get("~/file"))
    screen = tmux.screen(name)
    assert "# sane: 5000 bytes into ~/file" in screen
    assert "# sane: read ~/file" in screen
    assert "enp6" not in screen
    assert "stty" not in screen
    assert (tmux.folder / "home" / "file").read_bytes() == b"z" * 5000
    pane.close()


BYTES = bytes(range(256)) * 1000
BIG = random.Random(8).randbytes(10 << 20)


def test_a_command_reads_its_stdin_exactly(shell_pane: Pane) -> None:
    result = shell_pane.run("sha256sum; sh -c 'exit 9'", stdin=BYTES)
    assert (result.output.split()[0].decode(), result.exit_code) == (hashlib.sha256(BYTES).hexdigest(), 9)
    assert shell_pane.run("cat; echo end", stdin=b"").output == b"end\n"
    assert shell_pane.run("echo unread", stdin=BYTES).output == b"unread\n"
    assert (
        shell_pane.run('read x; echo "$x $A"; pwd', stdin=b"1 2\n3", cwd="/usr", env={"A": "b"}).output
        == b"1 2 b\n/usr\n"
    )


def test_an_unseen_answer_comes_past_the_screen(shell_pane: Pane, tmux: Tmux) -> None:
    shell_pane.run("echo BEFORE")
    answer = shell_pane.run('cat; printf %s "$A"; exit 5', stdin=BYTES, env={"A": "\\ $"}, unseen=True, display="ASKED")
    assert (answer.output, answer.exit_code) == (BYTES + b"\\ $", 5)
    assert shell_pane.run("cat; echo why >&2", stdin=BYTES, unseen=True, display="TWO").stderr == b"why\n"
    assert shell_pane.run("set +e", unseen=True, display="THREE").output == b""
    after = tmux.screen(shell_pane.transport.pane_id).rpartition("BEFORE\n")[2]
    shown = [line.rpartition(" ")[2] for line in after.splitlines() if line.strip()]
    assert [line for line in shown if line.isupper() or line == "why"] == ["ASKED", "TWO", "why", "THREE"]
    assert len(shown) <= 5  # the prompt behind them too


def test_an_answer_past_its_limit_is_cut(bash: Pane) -> None:
    result = bash.run("seq 1 100000", unseen=True, output_limit_bytes=3000)
    assert result.truncated
    assert result.output == b"".join(b"%d\n" % n for n in range(1, 1000))[:3000]


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_timeout_while_stdin_is_sent_gives_the_prompt_back(tmux: Tmux, shell: str, short_dir: Path) -> None:
    pane = tmux.open(tmux.new(SHELLS[shell]))
    pane.run("echo a")
    started = time.monotonic()
    result = pane.run(f"cat >{short_dir}/never", stdin=BIG * 3, timeout_s=1)
    assert (result.exit_code, result.timed_out, result.pane_ready) == (124, True, True)
    assert time.monotonic() - started < 6
    assert not (short_dir / "never").exists()
    assert pane.run("echo b").output == b"b\n"
    pane.close()


def test_a_command_that_reads_nothing_of_its_stdin_is_ended_in_time(bash: Pane) -> None:
    result = bash.run("echo a; sleep 60", stdin=BYTES, timeout_s=2)
    assert (result.output, result.timed_out, result.pane_ready) == (b"a\n", True, True)
    assert bash.run("echo b").output == b"b\n"


def while_it_is_sent(tmux: Tmux, pane: Pane, then: Callable[[], object]) -> CommandResult | Exception:
    """Do something while a command's stdin is sent, and return what came of the command."""
    ended: list[CommandResult | Exception] = []

    def run() -> None:
        try:
            ended.append(pane.run("cat", stdin=BIG, timeout_s=60, unseen=True, display="SENT"))
        except Exception as error:
            ended.append(error)

    caller = threading.Thread(target=run)
    caller.start()
    wait_sending(tmux, pane.transport.pane_id)
    then()
    caller.join(timeout=50)
    return ended[0]


def wait_sending(tmux: Tmux, name: str) -> None:
    until = time.monotonic() + 20
    while not tmux.call("show-options", "-pqv", "-t", name, "@sane-feed").strip():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("shell", list(SHELLS))
def test_ctrl_c_of_a_person_ends_the_sending(tmux: Tmux, shell: str) -> None:
    pane = tmux.open(name := tmux.new(SHELLS[shell]))
    pane.run("echo a")
    result = while_it_is_sent(tmux, pane, lambda: tmux.call("send-keys", "-t", name, "C-c"))
    assert isinstance(result, CommandResult), result
    assert (result.exit_code, result.timed_out, result.pane_gone) == (130, False, False)
    assert "not found" not in tmux.screen(name)  # nothing that was on its way came to the shell
    assert pane.run("echo b").output == b"b\n"
    pane.close()


@pytest.mark.parametrize("keys", ["x", "x\n"])
def test_keys_of_a_person_do_not_get_into_what_is_sent(tmux: Tmux, bash: Pane, keys: str) -> None:
    result = while_it_is_sent(tmux, bash, lambda: tmux.type(bash.transport.pane_id, keys))
    assert isinstance(result, PaneError), result
    assert "keys pressed" in result.message
    assert bash.run("echo b").output == b"b\n"


def test_a_client_lost_while_stdin_is_sent_leaves_a_prompt(tmux: Tmux, bash: Pane) -> None:
    session = tmux.call("display-message", "-p", "-t", bash.transport.pane_id, "#{session_name}").strip()
    result = while_it_is_sent(tmux, bash, lambda: tmux.call("detach-client", "-s", session))
    assert isinstance(result, LostError), result
    started = time.monotonic()
    assert bash.run("echo b").output == b"b\n"
    assert time.monotonic() - started < 5


def test_a_caller_killed_while_it_sends_leaves_a_pane_that_the_next_one_frees(tmux: Tmux, short_dir: Path) -> None:
    name = tmux.new()
    (short_dir / "big").write_bytes(BIG)
    program = Path(__file__).parents[2] / "bin" / "sane-create-file"
    argv = [program, name, short_dir / "copy", "--stdin", "--exact"]
    with (short_dir / "big").open("rb") as source:
        caller = subprocess.Popen(argv, stdin=source, env=tmux.environ, stdout=subprocess.DEVNULL)
    wait_sending(tmux, name)
    caller.send_signal(signal.SIGKILL)
    caller.wait(timeout=10)
    pane = tmux.open(name)
    started = time.monotonic()
    assert pane.run("echo b").output == b"b\n"
    assert time.monotonic() - started < 8
    assert not (short_dir / "copy").exists()
    pane.close()

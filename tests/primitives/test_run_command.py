"""sane-run-command on a host, over a real ssh."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.primitives.run_command import FIRST_BACKOFF_S
from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import BIN, call
from tests.transports.sshd import Sshd, free_port

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def host(tmux: Tmux) -> Iterator[str]:
    """Yield a host as a target."""
    server = Sshd().start()
    folder = tmux.folder / "home" / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text(
        f"Host web\n HostName 127.0.0.1\n Port {server.port}\n User {server.user}\n IdentityFile {server.user_key}\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {server.known_hosts}\n"
    )
    yield "ssh:web"
    server.stop()


@pytest.mark.parametrize("rest", ["if true", "echo 'x", "echo )", "echo $("])
def test_a_syntax_error_is_told_and_nothing_sent(tmux: Tmux, host: str, rest: str) -> None:
    touched = tmux.folder / "touched"
    answer = call(tmux, "sane-run-command", host, f"touch {touched}\n{rest}")
    assert answer["error"].startswith("syntax error, nothing was sent: ")
    assert ("exit_code" not in answer, answer["attempts"], touched.exists()) == (True, 0, False)


def test_what_the_hosts_own_shell_takes_is_sent(tmux: Tmux, host: str) -> None:
    for command in ("for i in 1 2; do echo $i; done", "cat <<'E'\na ) b\nE"):
        assert call(tmux, "sane-run-command", host, command)["exit_code"] == 0


def reach_at(port: int, text: str = "") -> None:
    """Write the ssh configuration of a host `web` at a port of this machine."""
    folder = Path(os.environ["HOME"]) / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text(text or f"Host web\n HostName 127.0.0.1\n Port {port}\n ConnectTimeout 1\n")


def run_in_time(*words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Return what `sane-run-command` said, and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run([BIN / "sane-run-command", *words], capture_output=True, text=True, timeout=20)
    return done, time.monotonic() - started


@pytest.mark.parametrize("target", ["ssh:web", "ssh:web/work:0.0"])
def test_a_refused_connection_is_tried_again(target: str) -> None:
    reach_at(free_port())
    done, took_s = run_in_time(target, "true", "5", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "refused the connection (3 attempts)\n" in done.stderr
    assert done.stderr.startswith("attempt 1 failed, trying again in 0.5 s\nattempt 2 failed, trying again in 1 s\n")
    assert 3 * FIRST_BACKOFF_S <= took_s < 3 * FIRST_BACKOFF_S + 5
    once, _ = run_in_time(target, "true", "5")
    assert "attempt" not in once.stderr


def test_a_silent_host_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach_at(server.getsockname()[1])
        done, took_s = run_in_time("ssh:web", "true", "5", "1")
        server.setblocking(False)
        for _ in range(2):
            server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "no SSH banner within 1 s (2 attempts)" in done.stderr
    assert took_s < 10


def test_a_host_that_comes_back_meanwhile_gets_the_command() -> None:
    late = Sshd()
    try:
        reach_at(late.port, late.config("web"))
        argv = [BIN / "sane-run-command", "ssh:web", "echo in", "5", "6"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "attempt 1 failed, trying again in 0.5 s\n"
            late.start()
            out, _ = process.communicate(timeout=30)
    finally:
        late.stop()
    assert '"output":"in\\n","exit_code":0,' in out
    assert '"retried":true' in out
    assert '"total_duration_ms":' in out


def test_a_command_that_began_before_its_connection_was_lost_is_not_run_again(tmp_path: Path) -> None:
    server = Sshd().start()
    try:
        reach_at(server.port, server.config("web"))
        command = f"echo x >>{tmp_path}/count; kill -9 $PPID; sleep 9"
        done, took_s = run_in_time("ssh:web", command, "8", "3")
    finally:
        server.stop()
    assert "attempt" not in done.stderr
    assert (done.returncode, (tmp_path / "count").read_text()) == (1, "x\n")
    assert took_s < 8


@pytest.mark.parametrize(
    ("said", "runs"),
    [
        ("wrong answer, try again", 1),
        ("npm ERR! could not resolve dependencies", 1),
        ("curl: (6) Could not resolve host: web", 2),
        ("Service busy. Please try again later.", 2),
        ("curl: (28) Operation timed out after 9 ms", 2),
    ],
)
def test_only_words_of_a_transient_failure_run_a_command_again(tmp_path: Path, said: str, runs: int) -> None:
    command = f"echo x >>{tmp_path}/count; echo '{said}'; exit 1"
    done, _ = run_in_time("local:", command, "5", "1")
    assert f'"attempts":{runs},' in done.stdout
    assert (tmp_path / "count").read_text() == "x\n" * runs

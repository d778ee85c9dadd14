"""A pane in which somebody typed ssh."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import Pane, Tmux, tmux
from tests.transports.sshd import Sshd

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ssh_command() -> Iterator[str]:
    """Yield the command line of an ssh to a real sshd on loopback."""
    sshd = Sshd()
    sshd.start()
    options = f"-o UserKnownHostsFile={sshd.known_hosts} -o IdentitiesOnly=yes -F none"
    yield f"ssh {options} -i {sshd.user_key} -p {sshd.port} {sshd.user}@127.0.0.1"
    sshd.stop()


@pytest.fixture(params=["bash --norc", "zsh -f", "fish --no-config", "dash"])
def ssh_pane(request: pytest.FixtureRequest, tmux: Tmux, ssh_command: str) -> Iterator[Pane]:
    pane = tmux.open(tmux.new(f"{ssh_command} -t {request.param}"))
    pane.run("true")  # a test with a short limit begins at a prompt
    yield pane
    pane.close()


def test_output_is_exact_behind_ssh(ssh_pane: Pane) -> None:
    assert ssh_pane.run("seq 1 20000").output == b"".join(b"%d\n" % n for n in range(1, 20001))
    result = ssh_pane.run("printf 'ü\\r\\n\\t|'; sh -c 'exit 9'")
    assert (result.output, result.exit_code) == ("ü\r\n\t|".encode(), 9)
    assert ssh_pane.run("cd /usr; echo " + "x" * 20000).output == b"x" * 20000 + b"\n"
    assert ssh_pane.run("pwd").output == b"/usr\n"


def test_timeout_behind_ssh(ssh_pane: Pane) -> None:
    result = ssh_pane.run("echo a; sleep 30", timeout_s=0.5)
    assert (result.output, result.exit_code, result.pane_ready) == (b"a\n", 124, True)
    assert ssh_pane.run("echo b").output == b"b\n"


def test_files_behind_ssh(ssh_pane: Pane, short_dir: Path) -> None:
    content = bytes(range(256)) * 1000
    run_blocking(ssh_pane.transport.put(str(short_dir / "f"), content))
    assert (short_dir / "f").read_bytes() == content
    assert run_blocking(ssh_pane.transport.get(str(short_dir / "f"))) == content


def test_stdin_and_an_unseen_answer_behind_ssh(ssh_pane: Pane, tmux: Tmux) -> None:
    content = bytes(range(256)) * 2000
    assert ssh_pane.run("sha256sum", stdin=content).output.split()[0].decode() == hashlib.sha256(content).hexdigest()
    answer = ssh_pane.run("cat; exit 3", stdin=content, unseen=True, display="ASKED")
    assert (answer.output, answer.exit_code) == (content, 3)
    assert "AAEC" not in tmux.screen(ssh_pane.transport.pane_id)  # as the content begins in base64
    late = ssh_pane.run("cat", stdin=content * 40, unseen=True, timeout_s=1)
    assert (late.timed_out, late.pane_ready) == (True, True)
    assert ssh_pane.run("echo b").output == b"b\n"


def test_exit_of_the_remote_shell_is_told(tmux: Tmux, ssh_command: str) -> None:
    name = tmux.new()
    pane = tmux.open(name)
    pane.run("true")
    tmux.type(name, f"{ssh_command} -t bash --norc\n")
    until = time.monotonic() + 10
    while tmux.call("display", "-p", "-t", name, "#{alternate_on} #{pane_current_command}").split()[-1] != "ssh":
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.5)
    assert pane.run("echo $SSH_CONNECTION").output.startswith(b"127.0.0.1 ")
    bin_dir = Path(__file__).parents[2] / "bin"
    done = subprocess.run([bin_dir / "sane-detect-ssh", name], env=tmux.environ, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["ssh_detected"], answer["hostname"], answer["os"]) == (True, "127.0.0.1", "Linux")
    result = pane.run("exit 4")
    assert (result.exit_code, result.pane_gone) == (4, False)
    assert pane.run("echo home").output == b"home\n"
    pane.close()

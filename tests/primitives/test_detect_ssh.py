"""sane-detect-ssh, on real ssh clients in panes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import call, wait_for_program
from tests.transports.sshd import Sshd

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e

PROXY = """\
import os, socket, sys, threading
to = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
def copy():
    while data := os.read(0, 65536):
        to.sendall(data)
threading.Thread(target=copy, daemon=True).start()
while data := to.recv(65536):
    os.write(1, data)
"""


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    server = Sshd()
    server.start()
    keys = server.directory / "my keys"
    keys.mkdir()
    (keys / "k").write_bytes(server.user_key.read_bytes())
    (keys / "k").chmod(0o600)
    (server.directory / "proxy.py").write_text(PROXY)
    options = f" UserKnownHostsFile {server.known_hosts}\n IdentitiesOnly yes\n IdentityFile {server.user_key}\n"
    (server.directory / "plain").write_text(f"Host *\n{options}")
    where = f" HostName 127.0.0.1\n Port {server.port}\n User {server.user}\n"
    greeting = " RequestTTY yes\n RemoteCommand echo arrived; exec bash --norc\n"
    (server.directory / "cfg").write_text(f"Host web\n{where}{options}{greeting}Host bytes\n{where}{options}")
    (server.directory / "go.sh").write_text('ssh -F cfg web "$@"\nexit 0\n')
    yield server
    server.stop()


LINES = {
    "-F plain -p PORT -i 'DIR/my keys/k' USER@127.0.0.1": "127.0.0.1",
    "-F plain -o ProxyCommand='python3 DIR/proxy.py %h PORT' -p PORT USER@127.0.0.1": "127.0.0.1",
    "-F plain -p PORT 127.0.0.1 -l USER": "127.0.0.1",
    "-F plain -oPort=PORT -oUser=USER 127.0.0.1": "127.0.0.1",
    "-F cfg web": "web",
    "-F cfg -o 'HostName 127.0.0.1' web": "web",
}


@pytest.mark.parametrize("line", LINES)
def test_tells_where_an_ssh_goes(tmux: Tmux, sshd: Sshd, line: str) -> None:
    words = line.replace("PORT", str(sshd.port)).replace("DIR", str(sshd.directory)).replace("USER", sshd.user)
    name = tmux.new()
    tmux.type(name, f"cd {sshd.directory}; clear; ssh {words}\n")
    wait_for_program(tmux, name, "ssh")
    answer = call(tmux, "sane-detect-ssh", name, "--update-context")
    assert (answer["ssh_detected"], answer["hostname"]) == (True, LINES[line])
    assert (answer["user"], answer["port"]) == (sshd.user, sshd.port)
    entry = call(tmux, "sane-context-database", "read", name)["context"]
    assert (entry["hostname"], entry["user"], entry["port"]) == (LINES[line], sshd.user, sshd.port)


@pytest.mark.parametrize(
    "script", ["sh go.sh", "sh -c 'sh go.sh; :'", "script -qec 'ssh -F cfg web' /dev/null", "bash -ic 'ssh -F cfg web'"]
)
def test_finds_the_ssh_that_a_script_calls(tmux: Tmux, sshd: Sshd, script: str) -> None:
    name = tmux.new()
    tmux.type(name, f"cd {sshd.directory}; clear; {script}\n")
    tmux.wait_for(name, "arrived\n", 10)
    answer = call(tmux, "sane-detect-ssh", name)
    assert (answer["ssh_detected"], answer["hostname"], answer["port"]) == (True, "web", sshd.port)


def test_an_ssh_that_carries_bytes_or_runs_in_the_background_is_none_of_the_panes(tmux: Tmux, sshd: Sshd) -> None:
    name = tmux.new()
    behind, piped = "ssh -F cfg bytes sleep 100 </dev/null", "(echo ready; sleep 100) | ssh -F cfg bytes cat | cat"
    tmux.type(name, f"cd {sshd.directory}; clear; {behind} & {piped}\n")
    tmux.wait_for(name, "\nready", 10)
    assert call(tmux, "sane-detect-ssh", name)["ssh_detected"] is False


def test_what_was_known_of_an_ssh_that_ended_is_forgotten(tmux: Tmux, sshd: Sshd) -> None:
    name = tmux.new()
    tmux.type(name, f"cd {sshd.directory}; ssh -F cfg web\n")
    wait_for_program(tmux, name, "ssh")
    assert call(tmux, "sane-detect-ssh", name, "--update-context")["hostname"] == "web"
    tmux.type(name, "exit\n")
    wait_for_program(tmux, name, "bash")
    answer = call(tmux, "sane-detect-ssh", name, "--update-context")
    assert (answer["ssh_detected"], answer["context_updated"], "hostname" in answer) == (False, True, False)
    entry = call(tmux, "sane-context-database", "read", name)["context"]
    assert (entry["ssh_detected"], "hostname" in entry, "port" in entry) == (False, False, False), json.dumps(entry)

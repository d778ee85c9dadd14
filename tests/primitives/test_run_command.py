"""sane-run-command on a host, over a real ssh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.pane_fixtures import Tmux, tmux
from tests.primitives.pane_calls import call
from tests.transports.sshd import Sshd

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

"""Deployments that people can watch: windows of tmux here and on the hosts, plain lines in a pipe, a live view on a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sane.operations.lab.processes import descendants
from tests.e2e.deploy_fixtures import SANE, Site, lab, open_site, wait_for
from tests.processes import name_of

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

OpenSite = Callable[..., Site]
WAITING = "echo about to wait; while [ ! -e {{ root }}/go ]; do sleep 0.05; done; echo waited"


def tmux(*words: str, directory: Path | None = None) -> str:
    """Return what this test's own tmux server answers, or that of a host."""
    environ = {**os.environ, **({"TMUX_TMPDIR": str(directory)} if directory else {})}
    return subprocess.run(["tmux", *words], env=environ, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def _no_server_left() -> Iterator[None]:
    yield
    tmux("kill-server")


def screen(target: str, directory: Path | None = None) -> str:
    return tmux("capture-pane", "-p", "-J", "-S", "-", "-t", target, directory=directory)


def has_line(line: str, text: str) -> bool:
    """Return whether a step wrote a line: the command that is shown holds the same words."""
    return line in (shown.strip() for shown in text.splitlines())


def test_steps_run_in_windows_of_a_session_here_that_can_be_watched(open_site: OpenSite) -> None:
    site = open_site(2, turn=WAITING)
    process = site.start(*site.deploy_words("1.0.0", "--via", "tmux"))
    wait_for(lambda: has_line("about to wait", screen("=sane-app:server1")), 30, "the output in the window")
    assert "turn" in screen("=sane-app:server1")  # the command itself is to be seen, too
    for host in ("server1", "server2"):
        (site.root(host) / "go").touch()
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, (out, err)
    assert [site.marks(host) for host in ("server1", "server2")] == [["put 1.0.0", "turn 1.0.0"]] * 2
    assert "sane-app" not in tmux("list-sessions")  # the windows of hosts that ended well are closed


def test_the_window_of_a_host_that_failed_stays_and_is_named(open_site: OpenSite) -> None:
    site = open_site(2, turn='test "$SANE_HOST" != server2 || exit 1', policy="max_failures: 1")
    process = site.start(*site.deploy_words("1.0.0", "--via", "tmux"))
    out, err = process.communicate(timeout=40)
    assert process.returncode == 3, (out, err)
    assert "tmux attach -t sane-app" in err
    assert tmux("list-windows", "-t", "=sane-app", "-F", "#{window_name}").split() == ["server2"]


def test_a_step_that_a_person_stops_in_its_window_is_waited_for(open_site: OpenSite) -> None:
    site = open_site(1, turn=WAITING)
    process = site.start(*site.deploy_words("1.0.0", "--via", "tmux", "--output", "json"))
    window = "=sane-app:server1"
    wait_for(lambda: has_line("about to wait", screen(window)), 30, "the output in the window")
    tmux("send-keys", "-t", window, "C-z")
    wait_for(lambda: "Stopped" in screen(window), 30, "the word of the shell")
    (site.root("server1") / "go").touch()
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    tmux("send-keys", "-t", window, "fg", "Enter")
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, (out, err)
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0"]


def test_steps_in_the_tmux_of_the_host_survive_a_lost_connection(open_site: OpenSite) -> None:
    site = open_site(1, turn=WAITING)
    sockets = site.lab.lab.sockets("server1")
    process = site.start(*site.deploy_words("1.0.0", "--via", "host-tmux", "--output", "json"))
    # The command is shown before it is begun: a connection that breaks there leaves nothing that could survive it.
    there = lambda: has_line("about to wait", screen("=sane-app:server1", sockets))  # noqa: E731
    wait_for(there, 30, "the output in the host's window")
    server = site.lab.lab.hosts["server1"].server
    assert server is not None
    for pid in descendants({server.pid}):
        if name_of(pid).startswith("sshd") and pid != server.pid:
            os.kill(pid, 9)
    (site.root("server1") / "go").touch()
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, (out, err)
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0"]


def test_progress_in_a_pipe_is_plain_lines_as_they_happen(open_site: OpenSite) -> None:
    site = open_site(2, turn=WAITING)
    process = site.start(*site.deploy_words("1.0.0"))
    assert process.stderr is not None
    first = [process.stderr.readline() for _ in range(2)]
    assert first[0].startswith("app 1.0.0, revision 1, 2 hosts")
    assert first[1].startswith("[server1] stage: put: ok")  # while the next step still waits
    for host in ("server1", "server2"):
        (site.root(host) / "go").touch()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "✓ [server1] healthy\n" in err
    assert "\x1b" not in out + err


def test_on_a_terminal_a_live_view_shows_the_host_at_work_and_the_report_replaces_it(open_site: OpenSite) -> None:
    site = open_site(2, turn=WAITING)
    command = shlex.join([SANE, *site.deploy_words("1.0.0")])
    tmux("new-session", "-d", "-s", "live", "-x", "120", "-y", "40", "sh")
    tmux("send-keys", "-t", "live", f"{command}; echo ended with $?", "Enter")
    wait_for(lambda: "switch" in screen("live") and "turn" in screen("live"), 30, "the host at work")
    assert "0/2 healthy" in screen("live")
    for host in ("server1", "server2"):
        (site.root(host) / "go").touch()
    wait_for(lambda: "ended with 0" in screen("live"), 30, "the end")
    shown = screen("live")
    assert "✓ [server1] healthy" in shown
    assert "0/2 healthy" not in shown

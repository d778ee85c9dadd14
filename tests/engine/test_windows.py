"""The windows of hosts, in a real tmux, and their ssh command, run by the real ssh against real sshds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.core.ssh.settings import HostSettings
from sane.engine.windows import close_windows, open_window, session_name, ssh_argv
from sane.transports.local_machine import LocalMachine
from sane.transports.ssh_config import SshConfig
from sane.transports.tmux import TmuxServer
from tests.transports.sshd import Sshd


@pytest.fixture
def hosts() -> Iterator[list[Sshd]]:
    """Yield three sshds."""
    servers = [Sshd() for _ in range(3)]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.stop()


def settings_of(tmp_path: Path, text: str, host: str) -> HostSettings:
    config = tmp_path / "ssh_config"
    config.write_text(text)
    return SshConfig(config=str(config)).resolve(host)


def run_there(settings: HostSettings, command: str) -> str:
    """Return what a command prints on the host, on a terminal."""
    argv = [*ssh_argv(settings), command]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def asked_of_ssh(settings: HostSettings) -> dict[str, str]:
    """Return the options that ssh understands."""
    argv = ssh_argv(settings)
    done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, timeout=10, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_a_host_behind_two_jump_hosts_is_reached_through_both(tmp_path: Path, hosts: list[Sshd]) -> None:
    outer, middle, inner = hosts
    text = (
        outer.config("outer")
        + middle.config("middle", "  ProxyJump outer\n")
        + inner.config("inner", "  ProxyJump middle\n")
    )
    settings = settings_of(tmp_path, text, "inner")
    assert run_there(settings, "echo ${SSH_CONNECTION##* }") == str(inner.port)
    for server in hosts:
        assert "Accepted publickey" in (server.directory / "log").read_text()


def test_a_percent_sign_reaches_the_proxy_command_and_the_files_as_it_is_written(
    tmp_path: Path, hosts: list[Sshd]
) -> None:
    host = hosts[0]
    key = tmp_path / "100%h of it"
    key.write_text(host.user_key.read_text())
    key.chmod(0o600)
    known = tmp_path / "known%p"
    known.write_text(host.known_hosts.read_text())
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "assert sys.argv[1] == '%s', sys.argv\n"
        "s = socket.create_connection((sys.argv[2], int(sys.argv[3])))\n"
        "def up():\n    while d := os.read(0, 65536): s.sendall(d)\n    s.shutdown(1)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while d := s.recv(65536): os.write(1, d)\n"
    )
    text = host.config("direct", f"  ProxyCommand python3 {relay} %%s %h %p\n")
    text = text.replace(str(host.user_key), f'"{str(key).replace("%", "%%")}"')
    text = text.replace(str(host.known_hosts), str(known).replace("%", "%%"))
    text += host.config("behind", "  ProxyJump direct\n")
    for name in ("direct", "behind"):
        assert run_there(settings_of(tmp_path, text, name), "echo in") == "in"


def test_the_zone_of_an_address_stays(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "Host web1\n HostName fe80::1%%eth0\n", "web1")
    assert asked_of_ssh(settings)["hostname"] == settings.address == "fe80::1%eth0"


@pytest.fixture
def server() -> Iterator[TmuxServer]:
    """Yield this test's own tmux server."""
    yield TmuxServer(LocalMachine())
    subprocess.run(["tmux", "kill-server"], timeout=10, capture_output=True)


@pytest.mark.parametrize(
    "keys", [("shop.web", "shop_web"), ("shop_web", "shop.web"), ("app-2", "app"), ("app", "app-2")]
)
async def test_each_deployment_key_has_a_session_of_its_own(server: TmuxServer, keys: tuple[str, str]) -> None:
    sessions = [session_name(key) for key in keys]
    panes = [await open_window(server.machine, session, "web1", ["sh"]) for session in sessions]
    await close_windows(server.machine, sessions[0], "web1")
    await close_windows(server.machine, sessions[0], "web1")
    left = await server.list_panes()
    assert [(pane.session, pane.pane_id) for pane in left] == [(sessions[1], panes[1])]


def test_a_session_is_named_plainly_where_it_can_be() -> None:
    assert session_name("shop_web-2") == "sane-shop_web-2"  # people attach by it

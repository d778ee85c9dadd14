"""A network that is cut in the middle of an activation and never healed: a veth pair into a namespace of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import (
    call,
    events_of,
    notice_dead_connections_soon,
    sane_process,
    wait_for,
    write_workflow,
)
from tests.transports.sshd import Sshd, program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@dataclass
class FarHost:
    """Hold an sshd behind a link that can be cut."""

    sshd: Sshd
    address: str
    link: str

    def cut(self) -> None:
        _ip("link", "set", self.link, "down")


def _ip(*words: str) -> None:
    done = subprocess.run([program("ip"), *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr} (this test needs the right to make namespaces)"


@pytest.fixture
def far_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FarHost]:
    """Yield a host in a network namespace; nothing but this machine can reach it."""
    number = os.getpid() % 60_000
    space, near, far = f"sane{number}", f"sn{number}", f"sf{number}"
    network = f"10.{201 + number // 16_384}.{number // 64 % 256}"
    first = number % 64 * 4
    here, there = f"{network}.{first + 1}", f"{network}.{first + 2}"
    _ip("netns", "add", space)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("addr", "add", f"{here}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", space, "addr", "add", f"{there}/30", "dev", far)
        _ip("-n", space, "link", "set", far, "up")
        sshd = Sshd(address=there, within=(program("ip"), "netns", "exec", space))
        try:
            sshd.start()
            yield FarHost(sshd, there, near)
        finally:
            sshd.stop()
    finally:
        subprocess.run([program("ip"), "link", "del", near], capture_output=True)
        _ip("netns", "del", space)


def test_a_network_cut_for_ever_ends_unknown_then_unreachable_and_never_healthy(
    far_host: FarHost, tmp_path: Path
) -> None:
    """Its bound: 2 s to notice the dead connection, 20 s to find it again, 2 s to become healthy."""
    sshd = far_host.sshd
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text(
        f"hosts:\n  far: {{address: {far_host.address}, port: {sshd.port}, user: {sshd.user}, key: {sshd.user_key},"
        f" known_hosts: {sshd.known_hosts}, connect_timeout: 1s, vars: {{root: {sshd.home}}}}}\n"
    )
    notice_dead_connections_soon()
    workflow = tmp_path / "app.yaml"
    write_workflow(workflow, poll="500ms", deadline="2s", turn="while [ -e {{ root }}/marks ]; do sleep 0.2; done")
    words = ("deploy", str(workflow), "-i", str(inventory), "--version", "1.0.0", "--output", "json")
    with sane_process(*words) as process:
        marks = sshd.home / "marks"
        wait_for(lambda: marks.exists() and "turn" in marks.read_text(), 20, "the activation")
        far_host.cut()
        out, err = process.communicate(timeout=40)
    assert process.returncode == 4, (out, err)
    changes = [event["data"]["to"] for event in events_of("app", "host_transition")]
    assert changes == ["unknown", "unreachable"]
    assert call("deployment", "status", "app", "--query", "hosts[0].status").stdout.strip() == '"unreachable"'

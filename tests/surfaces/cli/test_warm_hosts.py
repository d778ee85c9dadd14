"""The warm helper for hosts over SSH: the same answers as without it, whatever changes behind its back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.surfaces.cli.warm_hosts import WarmHosts
from tests.e2e.lab import TestLab, lab  # noqa: F401
from tests.processes import is_running
from tests.surfaces.cli.test_warm import BIN, assert_same_without_it, helper_at, wait_until

Lab = Callable[..., TestLab]


class Calls:
    """Call primitives on a lab's hosts, a helper allowed."""

    def __init__(self, folder: Path, inventory: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SANE_INVENTORY": str(inventory)}
        del self.environ["SANE_HELPER"]

    def call(self, name: str, *words: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        argv = [BIN / f"sane-{name}", *words]
        return subprocess.run(argv, input=stdin, env=self.environ | env, capture_output=True, timeout=60, check=False)

    def run(self, target: str, command: str, *words: str) -> dict[str, Any]:
        done = self.call("run-command", target, command, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pid(self) -> int:
        return helper_at(self.folder)

    def warm_up(self) -> int:
        self.run("ssh:server1", "true")
        wait_until(self.pid, "no helper started")
        return self.pid()


@pytest.fixture
def hosts(lab: Lab) -> TestLab:  # noqa: F811
    return lab(2)


@pytest.fixture
def calls(short_dir: Path, hosts: TestLab) -> Iterator[Calls]:
    made = Calls(short_dir / "run", hosts.inventory)
    yield made
    pid = made.pid()
    if pid:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "the helper did not end")


TABLE: list[tuple[list[str], bytes]] = [
    (["run-command", "ssh:server1", "printf 'a b\\n\\n c'; echo e >&2; exit 7"], b""),
    (["run-command", "ssh:server1", "false", "--exit-status"], b""),
    (["run-command", "ssh:server1", "seq 1 100000"], b""),
    (["run-command", "ssh:server1", "printf '\\377\\300'"], b""),
    (["run-command", "ssh:server1", "sleep 30", "0.3"], b""),
    (["run-command", "ssh:server1", "kill -9 $$"], b""),
    (["run-command", "ssh:server1", "echo hi", "--query", "output"], b""),
    (["run-command", "ssh:nowhere.invalid", "true"], b""),
    (["run-command", "ssh:", "true"], b""),
    (["run-command", "ssh:server1/nobody", "true"], b""),
    (["run-command", "ssh:server1"], b""),
    (["list-panes", "ssh:server1/nobody"], b""),
    (["create-file", "ssh:server1", "{root}/file", "--stdin", "--exact", "false"], bytes(range(256)) * 300),
    (["read-file", "ssh:server1", "{root}/file"], b""),
    (["read-file", "ssh:server1", "{root}/none"], b""),
    (["checksum-file", "ssh:server1", "{root}/file"], b""),
    (["detect-platform", "ssh:server1"], b""),
]


def test_every_call_says_the_same_with_and_without_a_helper(calls: Calls, hosts: TestLab) -> None:
    pid = calls.warm_up()
    for words, stdin in TABLE:
        argv = [word.replace("{root}", str(hosts.root("server1"))) for word in words]
        assert_same_without_it(calls.call, argv, stdin)
    assert calls.pid() == pid, "the helper did not live through all of them"


def test_calls_share_one_connection(calls: Calls) -> None:
    calls.warm_up()
    first = calls.run("ssh:server1", "echo $SSH_CONNECTION")["output"]
    assert calls.run("ssh:server1", "echo $SSH_CONNECTION")["output"] == first
    assert calls.run("ssh:server2", "echo $SSH_CONNECTION")["output"] != first


def test_a_change_in_the_inventory_counts_at_once(calls: Calls, hosts: TestLab) -> None:
    pid = calls.warm_up()
    where = "echo ${SSH_CONNECTION##* }"
    assert calls.run("ssh:server1", where)["output"].strip() == str(hosts.port("server1"))
    text = hosts.inventory.read_text()
    other = re.sub(rf"\b{hosts.port('server1')}\b", str(hosts.port("server2")), text)
    hosts.inventory.write_text(other)
    (hosts.directory / "known_hosts").write_text(
        "".join(
            line.replace(str(hosts.port("server1")), "1")
            for line in Path(hosts.lab.known_hosts).read_text().splitlines(True)
        )
    )
    assert calls.run("ssh:server1", where)["output"].strip() == str(hosts.port("server2"))
    hosts.inventory.write_text("hosts: [")
    broken = calls.call("run-command", "ssh:server1", "true")
    assert broken.returncode == 1
    assert b"this is not YAML" in broken.stderr
    assert calls.pid() == pid


def test_a_host_that_came_back_is_reached_again(calls: Calls, hosts: TestLab) -> None:
    calls.warm_up()
    calls.run("ssh:server1", "true")
    hosts.fault("server1", "kill")
    down = calls.call("run-command", "ssh:server1", "true")
    assert down.returncode == 1
    assert b"connect" in down.stderr.lower()
    hosts.fault("server1", "heal")
    assert calls.run("ssh:server1", "echo back")["output"] == "back\n"


def test_a_host_that_fell_silent_is_not_waited_for_for_ever(calls: Calls, hosts: TestLab) -> None:
    """Takes some 14 s: 3 for the old connection, 10 for the attempt at a new one."""
    calls.warm_up()
    calls.run("ssh:server1", "true")
    hosts.fault("server1", "stop")
    time.sleep(1.1)
    started = time.monotonic()
    silent = calls.call("run-command", "ssh:server1", "true", "600")
    assert time.monotonic() - started < 40
    assert silent.returncode == 1
    assert b"server1" in silent.stderr
    assert b"went away inside" not in silent.stderr  # nothing was sent, and that is what it says
    hosts.fault("server1", "heal")
    assert calls.run("ssh:server1", "echo back")["output"] == "back\n"


def test_an_inventory_that_is_named_by_a_relative_path_is_not_for_it(calls: Calls, hosts: TestLab) -> None:
    name = os.path.relpath(hosts.inventory)
    assert calls.call("run-command", "ssh:server1", "true", SANE_INVENTORY=name).returncode == 0
    assert not (calls.folder / "sane").exists()


def test_an_idle_connection_is_closed(hosts: TestLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANE_INVENTORY", str(hosts.inventory))

    async def scenario() -> None:
        warm = WarmHosts()
        async with warm.lend("server1") as context:
            settings, pool = await context.settings("server1"), context.pool
            await pool.connection(settings)
            warm.close_idle(0.0)
            assert pool.is_open(settings), "closed under a caller"
        async with warm.lend("server1") as again:
            assert again is context
        warm.close_idle(60.0)
        assert pool.is_open(settings)
        warm.close_idle(0.0)
        async with asyncio.timeout(10):
            while pool.is_open(settings):
                await asyncio.sleep(0.01)
        async with warm.lend("server1") as other:
            assert other is not context
        await warm.close()

    asyncio.run(scenario())

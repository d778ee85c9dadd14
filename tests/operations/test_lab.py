"""The lab: what it starts runs, what it breaks is broken, what it ends is gone."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sane.errors import NotFoundError, UsageError
from sane.operations import lab as labs
from sane.operations.lab import processes
from sane.operations.lab.faults import parse_fault
from sane.operations.lab.health import OLD_NONCE
from tests.e2e.lab import TestLab, lab

__all__ = ["lab"]
pytestmark = pytest.mark.e2e
StartLab = Callable[..., TestLab]
HEALTHY = '{"status":"healthy","version":"2","nonce":"abc"}'


def on(
    hosts: TestLab, host: str, command: str, *options: str, timeout_s: float = 10
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*hosts.ssh(host, *options), command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


def traces_of(directory: Path) -> list[str]:
    """Return what of a lab still runs or is mounted."""
    found: list[str] = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ, line = Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in environ + line and int(pid) != os.getpid() and processes.identify(int(pid)):
            found.append(f"{pid} {line!r}")
    return found + [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]


def test_hosts_are_what_the_inventory_says(lab: StartLab) -> None:
    hosts = lab(2)
    inventory = YAML(typ="safe").load(hosts.inventory.read_text())
    assert list(inventory["hosts"]) == ["server1", "server2"]
    entry = inventory["hosts"]["server2"]
    assert entry["vars"]["root"] == str(hosts.root("server2"))
    told = on(hosts, "server2", "pwd; echo ~; echo $SANE_LAB_HOST; echo $TMUX_TMPDIR; exit 3")
    home, tilde, name, sockets = told.stdout.splitlines()
    assert (home, tilde, name, told.returncode) == (entry["vars"]["root"], entry["vars"]["root"], "server2", 3)
    assert sockets not in on(hosts, "server1", "echo $TMUX_TMPDIR").stdout


def test_down_leaves_nothing(lab: StartLab) -> None:
    hosts = lab(2)
    sockets = hosts.lab.socket_dir
    on(
        hosts,
        "server1",
        "tmux new -d -s x && tmux split-window sleep 300; setsid sleep 300 </dev/null >/dev/null 2>&1 &",
    )
    with subprocess.Popen(
        [*hosts.ssh("server1"), "sleep 300"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as s:
        hosts.fault("server2", "full-disk")
        assert len(traces_of(hosts.directory)) > 5
        hosts.down()
        assert s.wait(10) == 255
    assert traces_of(hosts.directory) == []
    assert not hosts.directory.exists()
    assert not sockets.exists()
    assert labs.end(hosts.directory) == []


def test_down_works_when_half_of_it_is_gone(lab: StartLab) -> None:
    hosts = lab(2)
    (hosts.directory / "lab.json").unlink()
    (hosts.directory / ".lab" / "server1" / "sshd_config").unlink()
    with pytest.raises(UsageError, match="rest of a lab"):
        labs.start(hosts.directory)
    assert labs.end(hosts.directory) == ["server1", "server2"]
    assert not hosts.lab.socket_dir.exists()
    assert traces_of(hosts.directory) == []
    assert not hosts.directory.exists()


def test_up_keeps_what_runs_and_restarts_what_died(lab: StartLab) -> None:
    hosts = lab(2)
    before = labs.look(hosts.directory)
    keys = hosts.lab.known_hosts.read_text()
    server = processes.identify(before[0].pid or 0)
    assert server is not None
    processes.end([server])
    labs.start(hosts.directory, 3)
    after = labs.look(hosts.directory)
    assert [view.state for view in after] == ["up", "up", "up"]
    assert after[0].pid != before[0].pid
    assert after[1] == before[1]
    assert after[0].port == before[0].port
    assert hosts.lab.known_hosts.read_text().startswith(keys)
    assert on(hosts, "server1", "true").returncode == 0


def test_up_after_being_killed_before_the_end(lab: StartLab) -> None:
    """The state then names no process, and the servers run all the same."""
    hosts = lab(1)
    file = hosts.directory / "lab.json"
    state = json.loads(file.read_text())
    state["hosts"]["server1"]["server"] = None
    file.write_text(json.dumps(state))
    labs.start(hosts.directory, 1)
    assert on(hosts, "server1", "echo here").stdout == "here\n"


def test_a_pid_that_is_used_again_is_left_alone(lab: StartLab) -> None:
    """After a reboot the recorded pid is somebody else's: here that of an innocent sleep."""
    hosts = lab(1)
    innocent = subprocess.Popen(["sleep", "100"])
    try:
        hosts.fault("server1", "refuse")
        file = hosts.directory / "lab.json"
        state = json.loads(file.read_text())
        state["hosts"]["server1"]["server"] = {"pid": innocent.pid, "started": "another-boot/1"}
        file.write_text(json.dumps(state))
        hosts.fault("server1", "heal")
        hosts.down()
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_twenty_hosts_are_up_in_five_seconds(lab: StartLab) -> None:
    began = time.monotonic()
    hosts = lab(20)
    assert time.monotonic() - began < 5
    assert [view.state for view in labs.look(hosts.directory)] == ["up"] * 20


def test_refuse_and_heal(lab: StartLab) -> None:
    hosts = lab(1)
    hosts.fault("server1", "refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hosts.port("server1")), timeout=5)
    hosts.fault("server1", "heal")
    assert on(hosts, "server1", "true").returncode == 0


def test_silent_accepts_and_says_nothing(lab: StartLab) -> None:
    hosts = lab(1)
    hosts.fault("server1", "silent")
    with socket.create_connection(("127.0.0.1", hosts.port("server1")), timeout=5) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert labs.look(hosts.directory)[0].state == "silent"
    hosts.fault("server1", "heal")
    assert on(hosts, "server1", "true").returncode == 0


def test_stop_holds_sessions_up_and_heal_lets_them_go_on(lab: StartLab) -> None:
    hosts = lab(1)
    argv = [*hosts.ssh("server1"), "read -r word; echo got $word"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdin
        on(hosts, "server1", "true")  # by now the session before it has its shell
        hosts.fault("server1", "stop")
        session.stdin.write("hello\n")
        session.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            on(hosts, "server1", "true", timeout_s=0.7)
        assert session.poll() is None
        assert labs.look(hosts.directory)[0].state == "stopped"
        hosts.fault("server1", "heal")
        assert session.communicate(timeout=10)[0] == "got hello\n"


def test_slow_delays_each_direction(lab: StartLab) -> None:
    hosts = lab(1)
    hosts.fault("server1", "slow:100")
    with socket.create_connection(("127.0.0.1", hosts.port("server1")), timeout=5) as connection:
        began = time.monotonic()
        assert connection.recv(8).startswith(b"SSH-2.0")
        assert 0.1 <= time.monotonic() - began < 1
    began = time.monotonic()
    assert on(hosts, "server1", "seq 200000 | tail -n 1").stdout == "200000\n"
    assert time.monotonic() - began > 0.6  # banner, key exchange, login and command are more than three round trips
    assert len(on(hosts, "server1", "seq 200000").stdout) == 1288895


def test_full_disk_is_enospc_and_what_was_there_stays_readable(lab: StartLab) -> None:
    hosts = lab(1)
    on(hosts, "server1", "echo old > kept")
    hosts.fault("server1", "full-disk")
    told = on(hosts, "server1", "cat kept; mkdir d && echo new > d/file")
    assert (told.stdout, told.returncode) == ("old\n", 1)
    assert "No space left on device" in told.stderr
    on(hosts, "server1", "rm kept")
    hosts.fault("server1", "heal")
    told = on(hosts, "server1", "ls; echo new > file && cat file")
    assert "kept" not in told.stdout
    assert told.stdout.endswith("new\n")
    assert (hosts.root("server1") / "file").read_text() == "new\n"


def test_fail_step_fails_that_step_alone(lab: StartLab) -> None:
    hosts = lab(1)
    hosts.fault("server1", "fail-step:report health")
    (hosts.root("server1") / "step").write_text("echo ran\n")
    run = "SANE_STEP={}; export SANE_STEP; exec sh -c 'bash ~/step; echo code $?'"
    failed = on(hosts, "server1", run.format("'report health'"))
    assert failed.stdout == "code 1\n"
    assert "server1: step report health: Input/output error" in failed.stderr
    assert on(hosts, "server1", run.format("deploy")).stdout == "ran\ncode 0\n"
    hosts.fault("server1", "heal")
    assert on(hosts, "server1", run.format("'report health'")).stdout == "ran\ncode 0\n"


def test_fail_step_reaches_a_pane_of_the_hosts_tmux(lab: StartLab) -> None:
    hosts = lab(1)
    hosts.fault("server1", "fail-step:deploy")
    command = "(SANE_STEP=deploy; export SANE_STEP; bash -c 'echo ran'); echo code $? > ~/out; tmux wait -S done"
    on(hosts, "server1", f"tmux new -d -s x && tmux send-keys -t x {shlex.quote(command)} Enter && tmux wait done")
    assert (hosts.root("server1") / "out").read_text() == "code 1\n"


@pytest.mark.parametrize("fault", ["unhealthy", "stale", "torn"])
def test_health_lies_until_healed(lab: StartLab, fault: str) -> None:
    hosts = lab(1)
    hosts.fault("server1", fault)
    began = time.time()
    for _ in range(2):  # a second deployment is lied about just as the first
        on(hosts, "server1", f"printf %s '{HEALTHY}' > new && mv new health.json")
    told = on(hosts, "server1", "cat health.json").stdout
    age_s = time.time() - (hosts.root("server1") / "health.json").stat().st_mtime
    if fault == "torn":
        assert HEALTHY.startswith(told)
        with pytest.raises(ValueError, match=r"."):
            json.loads(told)
    else:
        health = json.loads(told)
        assert health["version"] == "2"
        assert (health["status"], health["nonce"]) == (
            ("unhealthy", "abc") if fault == "unhealthy" else ("healthy", OLD_NONCE)
        )
    assert (age_s > 3000) == (fault == "stale")
    assert on(hosts, "server1", "cat health.json").stdout == told
    hosts.fault("server1", "heal")
    assert on(hosts, "server1", "cat health.json").stdout == HEALTHY
    assert (hosts.root("server1") / "health.json").stat().st_mtime >= began - 5


def test_health_lies_to_sftp(lab: StartLab, tmp_path: Path) -> None:
    hosts = lab(1)
    (hosts.root("server1") / "health.json").write_text(HEALTHY)
    hosts.fault("server1", "unhealthy")
    (hosts.root("server1") / "health.json").write_text(HEALTHY)
    client = ["scp", "-s", *hosts.ssh("server1")[1:-3], "-P", str(hosts.port("server1"))]
    source = f"{hosts.lab.user}@127.0.0.1:health.json"
    copied = subprocess.run([*client, source, str(tmp_path)], capture_output=True, text=True, timeout=10)
    assert copied.returncode == 0, copied.stderr
    assert json.loads((tmp_path / "health.json").read_text())["status"] == "unhealthy"


def test_kill_ends_sessions_and_leaves_what_is_detached(lab: StartLab) -> None:
    hosts = lab(1)
    on(hosts, "server1", "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $! > pid; sleep 0.1")
    detached = int((hosts.root("server1") / "pid").read_text())
    argv = [*hosts.ssh("server1"), "echo begun; sleep 300"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as session:
        assert session.stdout
        assert session.stdout.readline() == "begun\n"
        hosts.fault("server1", "kill")
        assert session.wait(5) == 255
    assert processes.identify(detached) is not None
    labs.start(hosts.directory, 1)
    assert on(hosts, "server1", "true").returncode == 0


def test_asyncssh_serves_where_sshd_cannot_be_had(lab: StartLab) -> None:
    hosts = lab(1, server="asyncssh")
    told = on(hosts, "server1", "pwd; echo err >&2; exit 3")
    assert (told.stdout, told.stderr, told.returncode) == (f"{hosts.root('server1')}\n", "err\n", 3)
    terminal = subprocess.run(
        [*hosts.ssh("server1", "-tt"), "tty && exit 4"], capture_output=True, timeout=10, stdin=subprocess.DEVNULL
    )
    assert (terminal.stdout[:9], terminal.returncode) == (b"/dev/pts/", 4)
    hosts.fault("server1", "refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hosts.port("server1")), timeout=5)
    hosts.fault("server1", "heal")
    assert on(hosts, "server1", "true").returncode == 0


def test_mistakes_name_what_was_meant(lab: StartLab, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        parse_fault("refused")
    assert "'refuse'" in error.value.hint
    for text in ("slow", "slow:x", "slow:0", "refuse:1", "fail-step:", ""):
        with pytest.raises(UsageError):
            parse_fault(text)
    with pytest.raises(NotFoundError, match="no lab"):
        labs.look(tmp_path / "none")
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        labs.start(tmp_path)
    labs.end(tmp_path)
    assert (tmp_path / "mine").exists()
    hosts = lab(1)
    with pytest.raises(NotFoundError) as error:
        hosts.fault("sever1", "refuse")
    assert "'server1'" in error.value.hint

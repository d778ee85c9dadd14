"""Real faults of a real sshd; each is named with its phase, within a stated time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.errors import AuthError, LostError, RemoteError, TransportError, UnavailableError, UnreachableError
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_library import asyncssh
from sane.transports.ssh_pool import SshPool
from sane.transports.ssh_session import when_there_is_room
from tests.listeners import listening
from tests.processes import children_of, is_running, name_of
from tests.transports.sshd import Sshd, free_port, make_key

SLACK_S = 1.0


@contextlib.asynccontextmanager
async def pool_for(tmp_path: Path, text: str) -> AsyncIterator[SshPool]:
    config = tmp_path / "ssh_config"
    config.write_text(text)
    async with SshPool(SshConfig(config=str(config))) as pool:
        yield pool


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert took < seconds + SLACK_S, f"took {took:.1f} s"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Yield a port that accepts and never speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def host(port: int, name: str = "web1", timeout_s: float = 1) -> str:
    return f"Host {name}\n HostName 127.0.0.1\n Port {port}\n ConnectTimeout {timeout_s}\n UserKnownHostsFile none\n"


async def test_refused_port(tmp_path: Path) -> None:
    async with pool_for(tmp_path, host(free_port())) as pool:
        with within(0), pytest.raises(UnreachableError, match=r"web1 .*refused the connection") as caught:
            await pool.transport("web1").run(Command("true"))
    assert (caught.value.phase, caught.value.host) == ("connect", "web1")
    assert "sshd" in caught.value.hint


@pytest.mark.parametrize("attempts", [1, 5])
async def test_a_host_that_comes_up_late_is_reached_where_more_attempts_are_allowed(
    tmp_path: Path, attempts: int
) -> None:
    late = Sshd()
    try:
        config = late.config("web1", f"  ConnectionAttempts {attempts}")
        async with pool_for(tmp_path, config) as pool, asyncio.timeout(15):
            running = asyncio.create_task(pool.transport("web1").run(Command("echo reached")))
            await asyncio.sleep(0.5)  # the first attempt finds nobody
            await asyncio.to_thread(late.start)
            if attempts == 1:
                with pytest.raises(UnreachableError, match="refused the connection"):
                    await running
            else:
                assert (await running).output == b"reached\n"
    finally:
        late.stop()


async def test_silent_port(tmp_path: Path, silent_port: int) -> None:
    async with pool_for(tmp_path, host(silent_port)) as pool:
        with within(1), pytest.raises(UnreachableError, match="no SSH banner within 1 s") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "banner"


async def test_unknown_address(tmp_path: Path) -> None:
    async with pool_for(tmp_path, "Host web1\n HostName no-such-host.invalid\n ConnectTimeout 2\n") as pool:
        with within(2), pytest.raises(UnreachableError, match=r"no-such-host\.invalid") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "connect"


async def test_a_port_that_speaks_something_else(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-1.5-old\r\n")
        await writer.drain()

    async with listening(answer) as port, pool_for(tmp_path, host(port)) as pool:
        with within(1), pytest.raises(UnreachableError, match="does not speak SSH") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "banner"


async def test_a_host_that_closes_at_once(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(answer) as port, pool_for(tmp_path, host(port)) as pool:
        with within(1), pytest.raises(UnreachableError, match="closed the connection before it said") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "banner"


async def test_a_host_that_stops_in_the_login(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-stuck\r\n")
        await writer.drain()

    async with listening(answer) as port, pool_for(tmp_path, host(port)) as pool:
        with within(1), pytest.raises(UnreachableError, match="during the login") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "login"


async def test_wrong_user_key_names_the_keys_tried(tmp_path: Path, sshd: Sshd) -> None:
    stranger = make_key(tmp_path / "stranger")
    text = sshd.config().replace(str(sshd.user_key), str(stranger))
    async with pool_for(tmp_path, text) as pool:
        with within(1), pytest.raises(AuthError, match=f"refused the login of user '{sshd.user}'") as caught:
            await pool.transport("web1").run(Command("true"))
    assert caught.value.phase == "login"
    assert f"{stranger} SHA256:" in caught.value.hint


async def test_no_key_at_all(tmp_path: Path, sshd: Sshd) -> None:
    text = sshd.config().replace(str(sshd.user_key), str(tmp_path / "nothing"))
    async with pool_for(tmp_path, text) as pool:
        with within(1), pytest.raises(AuthError) as caught:
            await pool.transport("web1").run(Command("true"))
    assert "nothing (does not exist)" in caught.value.hint


async def test_a_key_with_a_passphrase(tmp_path: Path, sshd: Sshd) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", locked], check=True)
    async with pool_for(tmp_path, sshd.config().replace(str(sshd.user_key), str(locked))) as pool:
        with within(1), pytest.raises(AuthError) as caught:
            await pool.transport("web1").run(Command("true"))
    assert "needs its passphrase" in caught.value.hint
    assert "sesame" not in caught.value.hint + caught.value.message


async def test_changed_host_key(tmp_path: Path, sshd: Sshd) -> None:
    other = (make_key(tmp_path / "other").parent / "other.pub").read_text().split()[1]
    known = tmp_path / "known_hosts"
    known.write_text(f"# mine\n[127.0.0.1]:{sshd.port} ssh-ed25519 {other}\n")
    text = sshd.config().replace(str(sshd.known_hosts), str(known))
    for strictness in ("yes", "accept-new"):
        async with pool_for(tmp_path, text + f"  StrictHostKeyChecking {strictness}\n") as pool:
            with within(1), pytest.raises(AuthError, match="has changed") as caught:
                await pool.transport("web1").run(Command("true"))
        assert f"{known}:2" in caught.value.message
        assert "SHA256:" in caught.value.message
        assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{sshd.port}'" in caught.value.hint
        assert caught.value.phase == "login"


async def test_unknown_host_key(tmp_path: Path, sshd: Sshd) -> None:
    known = tmp_path / "known_hosts"
    text = sshd.config().replace(str(sshd.known_hosts), str(known))
    async with pool_for(tmp_path, text) as pool:
        with within(1), pytest.raises(AuthError, match="is not known") as caught:
            await pool.transport("web1").run(Command("true"))
    assert "accept-new" in caught.value.hint
    assert not known.exists()


@pytest.mark.parametrize("hashed", ["no", "yes"])
async def test_accept_new_writes_what_openssh_reads(tmp_path: Path, sshd: Sshd, hashed: str) -> None:
    known = tmp_path / "dot ssh" / "known_hosts"
    extra = f"  StrictHostKeyChecking accept-new\n  HashKnownHosts {hashed}\n"
    text = sshd.config(extra=extra).replace(str(sshd.known_hosts), f'"{known}"')
    async with pool_for(tmp_path, text) as pool:
        assert (await pool.transport("web1").run(Command("true"))).exit_code == 0
    assert known.read_text().startswith("|1|") == (hashed == "yes")
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{sshd.port}", "-f", known], capture_output=True, text=True, check=True
    )
    assert "ssh-ed25519" in found.stdout
    async with pool_for(tmp_path, text.replace("accept-new", "yes")) as pool:
        assert (await pool.transport("web1").run(Command("true"))).exit_code == 0


async def test_revoked_host_key(tmp_path: Path, sshd: Sshd) -> None:
    known = tmp_path / "known_hosts"
    line = sshd.known_hosts.read_text()
    known.write_text(line + "@revoked * " + line.split(" ", 1)[1])
    async with pool_for(tmp_path, sshd.config().replace(str(sshd.known_hosts), str(known))) as pool:
        with within(1), pytest.raises(AuthError, match=f"{known}:2 revokes"):
            await pool.transport("web1").run(Command("true"))


async def test_host_certificate(tmp_path: Path) -> None:
    authority = make_key(tmp_path / "ca")
    key = make_key(tmp_path / "host")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "id", "-h", "-n", "127.0.0.1,web1", f"{key}.pub"], check=True
    )
    server = Sshd(host_key=key, options={"HostCertificate": f"{key}-cert.pub"})
    known = tmp_path / "known_hosts"
    public = " ".join((tmp_path / "ca.pub").read_text().split()[:2])
    try:
        text = server.start().config().replace(str(server.known_hosts), str(known))
        known.write_text(f"@cert-authority [127.0.0.1]:* {public}\n")
        async with pool_for(tmp_path, text) as pool:
            assert (await pool.transport("web1").run(Command("true"))).exit_code == 0
        known.write_text(f"@cert-authority [127.0.0.1]:* {public}\n@revoked * {public}\n")
        async with pool_for(tmp_path, text) as pool:
            with pytest.raises(AuthError, match="revoked"):
                await pool.transport("web1").run(Command("true"))
    finally:
        server.stop()


async def test_sshd_killed_in_a_command(tmp_path: Path, own_sshd: Sshd) -> None:
    began = tmp_path / "began"
    async with pool_for(tmp_path, own_sshd.config()) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60")))
        pid = await _pid_in(began)
        own_sshd.signal_sessions(signal.SIGKILL)
        with within(0), pytest.raises(LostError, match="inside a step") as caught:
            await task
        assert (caught.value.phase, caught.value.host) == ("command", "web1")
        assert (await pool.transport("web1").run(Command("echo again"))).output == b"again\n"
    os.kill(pid, signal.SIGKILL)


async def test_sshd_stopped_in_a_command_is_noticed_by_keepalive(tmp_path: Path, own_sshd: Sshd) -> None:
    began = tmp_path / "began"
    keepalive = "  ServerAliveInterval 1\n  ServerAliveCountMax 1\n"
    async with pool_for(tmp_path, own_sshd.config(extra=keepalive)) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60")))
        pid = await _pid_in(began)
        own_sshd.signal_sessions(signal.SIGSTOP)
        with within(2), pytest.raises(LostError, match="keepalive") as caught:
            await task
    assert caught.value.phase == "command"
    os.kill(pid, signal.SIGKILL)


async def test_a_timeout_on_a_stopped_host_is_no_clean_timeout(
    tmp_path: Path, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sane.transports.ssh_session.KILL_TIMEOUT_S", 0.5)
    began = tmp_path / "began"
    async with pool_for(tmp_path, own_sshd.config()) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60", timeout_s=0.5)))
        pid = await _pid_in(began)
        own_sshd.signal_sessions(signal.SIGSTOP)
        with within(1), pytest.raises(LostError, match="did not confirm"):
            await task
    os.kill(pid, signal.SIGKILL)


async def test_a_cancellation_on_a_stopped_host_stays_one(
    tmp_path: Path, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sane.transports.ssh_session.KILL_TIMEOUT_S", 0.5)
    began = tmp_path / "began"
    async with pool_for(tmp_path, own_sshd.config()) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60")))
        pid = await _pid_in(began)
        own_sshd.signal_sessions(signal.SIGSTOP)
        task.cancel()
        with within(1), pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert any("did not confirm" in note for note in caught.value.__notes__)
    os.kill(pid, signal.SIGKILL)


async def _pid_in(file: Path, within_s: float = 5) -> int:
    deadline = time.monotonic() + within_s
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    return int(file.read_text())


async def test_a_program_on_a_channel_ends_with_its_connection(tmp_path: Path, sshd: Sshd) -> None:
    """Takes 2 s: that often the host looks."""
    async with pool_for(tmp_path, sshd.config()) as pool:
        script = "echo $$; trap '' HUP PIPE; while :; do sleep 1; done"
        channel = await pool.machine("web1").spawn(["sh", "-c", script])
        pid = int(await channel.read(5))
        (await pool.connection(pool.config.resolve("web1"))).abort()
        deadline = time.monotonic() + 15
        while is_running(pid):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_a_closed_pool_ends_what_runs_on_it(tmp_path: Path, sshd: Sshd) -> None:
    began = tmp_path / "began"
    async with pool_for(tmp_path, sshd.config()) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60")))
        pid = await _pid_in(began)
        with within(0):
            await pool.close()
        with pytest.raises(LostError):
            await task
        with pytest.raises(UnavailableError):
            await pool.transport("web1").run(Command("true"))
    os.kill(pid, signal.SIGKILL)


async def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    # A limit on the size of files makes every write past it fail, for every user, as a full disk does.
    server = Sshd()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    place = tmp_path / "place"
    place.mkdir()
    try:
        async with pool_for(tmp_path, server.config()) as pool:
            transport = pool.transport("web1")
            await transport.put(str(place / "file"), b"old")
            with within(1), pytest.raises(RemoteError, match="can't be written on web1"):
                await transport.put(str(place / "file"), bytes(3 << 20))
            assert [p.name for p in place.iterdir()] == ["file"]
            assert await transport.get(str(place / "file")) == b"old"
    finally:
        server.stop()


async def test_half_a_transfer_is_not_a_file(tmp_path: Path, own_sshd: Sshd) -> None:
    place = tmp_path / "place"
    place.mkdir()
    async with pool_for(tmp_path, own_sshd.config()) as pool:
        transport = pool.transport("web1")
        await transport.put(str(place / "file"), b"old")
        task = asyncio.create_task(transport.put(str(place / "file"), bytes(64 << 20)))
        deadline = time.monotonic() + 5
        while len(list(place.iterdir())) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        own_sshd.signal_sessions(signal.SIGKILL)
        with within(0), pytest.raises(LostError) as caught:
            await task
        assert caught.value.phase == "transfer"
    while len(list(place.iterdir())) > 1:  # the shell there tidies up on its own
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert (place / "file").read_bytes() == b"old"


async def test_a_jump_host_is_shared(tmp_path: Path, sshd: Sshd, own_sshd: Sshd) -> None:
    text = sshd.config("bastion") + "".join(
        own_sshd.config(name, "  ProxyJump bastion\n") for name in ("inner1", "inner2", "inner3")
    )
    async with pool_for(tmp_path, text) as pool:
        before = len(sshd.sessions())
        script = Command("echo ${SSH_CONNECTION##* }")
        results = await asyncio.gather(*(pool.transport(f"inner{n}").run(script) for n in (1, 2, 3)))
        assert {result.output for result in results} == {f"{own_sshd.port}\n".encode()}
        one_connection = len(sshd.sessions()) - before
        await pool.transport("bastion").run(Command("true"))
        assert len(sshd.sessions()) - before == one_connection
    assert one_connection in (1, 2)  # OpenSSH serves a user who is not root with two processes


async def test_a_nested_jump_and_its_refusal(tmp_path: Path, sshd: Sshd, own_sshd: Sshd) -> None:
    text = (
        sshd.config("outer")
        + own_sshd.config("middle", "  ProxyJump outer\n")
        + sshd.config("inner", "  ProxyJump middle\n")
        + sshd.config("dead", "  ProxyJump outer,middle\n").replace(f"Port {sshd.port}", f"Port {free_port()}")
    )
    async with pool_for(tmp_path, text) as pool:
        assert (await pool.transport("inner").run(Command("echo in"))).output == b"in\n"
        with within(1), pytest.raises(UnreachableError, match="from its jump host") as caught:
            await pool.transport("dead").run(Command("true"))
    assert (caught.value.phase, caught.value.host) == ("connect", "dead")


class JumpServer(asyncssh.SSHServer):
    """Forward as an sshd does, and pass on all that came before the end: an sshd drops what it has not yet written."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


async def test_a_host_behind_a_jump_host_is_told_of_the_end_before_it_is(tmp_path: Path, own_sshd: Sshd) -> None:
    jump = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=JumpServer,
        server_host_keys=[str(own_sshd.host_key)],
        authorized_client_keys=f"{own_sshd.user_key}.pub",
    )
    async with jump:
        text = own_sshd.config("outer").replace(f"Port {own_sshd.port}", f"Port {jump.get_port()}")
        text = text.replace(str(own_sshd.known_hosts), "none\n  StrictHostKeyChecking no")
        async with pool_for(tmp_path, text + own_sshd.config("inner", "  ProxyJump outer\n")) as pool:
            assert (await pool.transport("inner").run(Command("echo in"))).output == b"in\n"
        log, until = own_sshd.directory / "log", time.monotonic() + 5
        while "Received disconnect" not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            await asyncio.sleep(0.01)


async def test_a_dead_jump_host_is_the_one_that_is_named(tmp_path: Path, sshd: Sshd) -> None:
    text = host(free_port(), "bastion") + sshd.config("inner", "  ProxyJump bastion\n")
    async with pool_for(tmp_path, text) as pool:
        with within(0), pytest.raises(UnreachableError, match=r"bastion .*refused") as caught:
            await pool.transport("inner").run(Command("true"))
    assert caught.value.host == "bastion"


async def test_proxy_command(tmp_path: Path, sshd: Sshd) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n    while d := os.read(0, 65536): s.sendall(d)\n    s.shutdown(1)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while d := s.recv(65536): os.write(1, d)\n"
    )
    async with pool_for(tmp_path, sshd.config(extra=f"  ProxyCommand python3 {relay} %h %p\n")) as pool:
        assert (await pool.transport("web1").run(Command("echo hi"))).output == b"hi\n"
    async with pool_for(tmp_path, sshd.config(extra="  ProxyCommand echo no >&2; false\n")) as pool:
        with within(1), pytest.raises(TransportError) as caught:
            await pool.transport("web1").run(Command("true"))
    assert "ProxyCommand" in caught.value.hint


async def test_an_agent_is_used_when_it_is_asked_for(
    tmp_path: Path, short_dir: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = short_dir / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 5
        while not agent.exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        environ = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
        subprocess.run(["ssh-add", "-q", sshd.user_key], env=environ, check=True, stderr=subprocess.DEVNULL)
        text = sshd.config().replace(f"  IdentityFile {sshd.user_key}\n", "").replace("IdentityAgent none", "{}")
        for line, works in ((f"IdentityAgent {agent}", True), ("IdentityAgent none", False), ("", True)):
            monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
            async with pool_for(tmp_path, text.replace("{}", line)) as pool:
                if works:
                    assert (await pool.transport("web1").run(Command("true"))).exit_code == 0
                else:
                    with pytest.raises(AuthError):
                        await pool.transport("web1").run(Command("true"))
    finally:
        process.terminate()
        process.wait(5)
    assert not is_running(process.pid)


OWNER = """import asyncio, sys
from sane.core.command import Command
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from sane.transports.ssh_session import when_there_is_room
async def main(config, outlives, *scripts):
    async with SshPool(SshConfig(config=config)) as pool:
        for script in scripts:
            await pool.transport("web1").run(Command(script, outlives_caller=outlives == "outlives"))
asyncio.run(main(*sys.argv[1:]))"""

STARTS_WITHIN_S = 20  # a process that imports the SSH library, on a busy machine


@contextlib.contextmanager
def owner_of(tmp_path: Path, sshd: Sshd, *scripts: str, outlives: str = "") -> Generator[subprocess.Popen[bytes]]:
    """Yield a process that runs scripts on the host, one after the other."""
    config = tmp_path / "ssh_config"
    config.write_text(sshd.config())
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, "-c", OWNER, config, outlives, *scripts], env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _is_watched(group: int) -> None:
    """Wait until the host watches over a command, which it does once that has taken a quarter of a second."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not any(_watches(int(pid), group) for pid in os.listdir("/proc") if pid.isdigit()):
        assert time.monotonic() < deadline, "nothing watches over it"
        await asyncio.sleep(0.02)


def _watches(pid: int, group: int) -> bool:
    """Return whether a process has looked at a command once, and waits to look again."""
    return f"/proc/{group}/stat".encode() in command_line(pid) and "sleep" in map(name_of, children_of(pid))


def command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def _ends(pid: int, within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        await asyncio.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="the host looks into /proc")
async def test_a_command_ends_soon_after_a_caller_that_is_killed(tmp_path: Path, sshd: Sshd) -> None:
    """Takes 3 s: every 2 s the host looks, and what ignores TERM gets KILL a second later."""
    began, job, left = tmp_path / "began", tmp_path / "job", tmp_path / "left"
    leaves = f"sleep 60 >/dev/null 2>&1 & echo $! >{left}"
    hangs = f"sh -c 'trap : TERM; echo $$ >{job}; while :; do sleep 1; done' & echo $$ >{began}; sleep 60; :"
    with owner_of(tmp_path, sshd, leaves, hangs) as owner:
        pids = [await _pid_in(began, STARTS_WITHIN_S), await _pid_in(job)]
        kept = await _pid_in(left)
        await _is_watched(pids[0])
        owner.kill()
        try:
            for pid in pids:
                await _ends(pid)
            assert is_running(kept)  # its own command had ended: it was asked to stay
        finally:
            os.kill(kept, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the host looks into /proc")
async def test_the_host_ends_a_command_whose_time_is_over_where_nobody_else_does(
    tmp_path: Path, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way there is cut, and its sshd does not know it yet."""
    monkeypatch.setattr("sane.transports.ssh_session.WATCH_GRACE_S", 1)
    monkeypatch.setattr("sane.transports.ssh_session.KILL_TIMEOUT_S", 0.1)
    began = tmp_path / "began"
    async with pool_for(tmp_path, own_sshd.config()) as pool:
        task = asyncio.create_task(pool.transport("web1").run(Command(f"echo $$ >{began}; sleep 60; :", timeout_s=3)))
        pid = await _pid_in(began)
        await _is_watched(pid)
        own_sshd.signal_sessions(signal.SIGSTOP)
        with pytest.raises(LostError):
            await task
        await _ends(pid)


async def test_a_command_that_is_to_outlive_its_caller_does_there(tmp_path: Path, sshd: Sshd) -> None:
    began, other = tmp_path / "began", tmp_path / "other"
    os.mkfifo(tmp_path / "fifo")
    waits = f"echo $$ >{began}; read x <{tmp_path}/fifo"
    (tmp_path / "2").mkdir()
    with owner_of(tmp_path, sshd, waits, outlives="outlives") as owner:
        with owner_of(tmp_path / "2", sshd, f"echo $$ >{other}; sleep 60; :") as watched:
            pids = await _pid_in(began, STARTS_WITHIN_S), await _pid_in(other, STARTS_WITHIN_S)
            await _is_watched(pids[1])
            owner.kill()
            owner.wait()
            watched.kill()
        await _ends(pids[1])  # by then a watch over the first had ended it as well
        assert is_running(pids[0])
        (tmp_path / "fifo").write_text("go\n")
        await _ends(pids[0])


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash"])
async def test_a_timeout_ends_the_command_whatever_the_login_shell(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed")
    server = Sshd(options={"ForceCommand": f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"'})
    began = tmp_path / "began"
    try:
        server.start()
        async with pool_for(tmp_path, server.config()) as pool:
            command = Command(f"echo $$ >{began}; sleep 60; :", timeout_s=0.5)
            with within(1):
                assert (await pool.transport("web1").run(command)).timed_out
            await _ends(await _pid_in(began))
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def crowded(tmp_path: Path, sessions: int) -> AsyncIterator[tuple[Sshd, SshPool]]:
    """Yield a server that allows a few sessions on one connection, and a pool that knows it as web1."""
    server = Sshd(options={"MaxSessions": str(sessions)})
    try:
        server.start()
        async with pool_for(tmp_path, server.config()) as pool:
            yield server, pool
    finally:
        server.stop()


@pytest.mark.parametrize(("sessions", "commands"), [(1, 1), (2, 1), (2, 2)])
async def test_a_command_is_ended_where_the_server_has_no_room_for_another(
    tmp_path: Path, sessions: int, commands: int
) -> None:
    async with crowded(tmp_path, sessions) as (_, pool):
        transport = pool.transport("web1")
        await transport.run(Command("echo asked", brief=True))
        files = [tmp_path / f"pid{number}" for number in range(commands)]
        with within(1 + 2):
            results = await asyncio.gather(
                *(transport.run(Command(f"echo $$ >{file}; exec sleep 60", timeout_s=1)) for file in files)
            )
        assert all(result.timed_out for result in results)
        for file in files:
            await _ends(await _pid_in(file), 1)


async def test_a_question_is_ended_where_the_server_has_no_room_for_another(tmp_path: Path) -> None:
    async with crowded(tmp_path, 1) as (_, pool):
        with within(1 + 2):
            command = Command(f"echo $$ >{tmp_path}/pid; sleep 60", timeout_s=1, brief=True)
            assert (await pool.transport("web1").run(command)).timed_out
        await _ends(await _pid_in(tmp_path / "pid"), 1)


async def test_a_program_of_a_machine_is_ended_where_the_server_has_no_room_for_another(tmp_path: Path) -> None:
    async with crowded(tmp_path, 1) as (_, pool):
        with within(1 + 2), pytest.raises(TimeoutError):
            await pool.machine("web1").execute(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60"], timeout_s=1)
        await _ends(await _pid_in(tmp_path / "pid"), 1)


async def test_a_host_that_lets_nobody_in_again_to_end_a_command_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sane.transports.ssh_session.KILL_TIMEOUT_S", 2)
    began = tmp_path / "began"
    async with crowded(tmp_path, 1) as (server, pool):
        transport = pool.transport("web1")
        await transport.connect()
        server.user_key.with_suffix(".pub").unlink()
        command = Command(f"echo $$ >{began}; exec sleep 60", timeout_s=0.5)
        with within(0.5 + 2):
            (outcome,) = await asyncio.gather(transport.run(command), return_exceptions=True)
        pid = await _pid_in(began)
        # Where it is not root who is logged in, the server passes signals on by itself.
        assert isinstance(outcome, LostError) == is_running(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        log = (server.directory / "log").read_text()
        assert 1 <= log.count("Connection closed by authenticating") + log.count("Disconnected from auth") <= 6


@pytest.mark.skipif(sys.platform != "linux", reason="the host looks into /proc")
async def test_a_command_is_watched_over_where_the_server_has_no_room_for_another(tmp_path: Path) -> None:
    async with crowded(tmp_path, 1) as (server, _):
        began = tmp_path / "began"
        with owner_of(tmp_path, server, f"echo $$ >{began}; exec sleep 60") as owner:
            pid = await _pid_in(began, STARTS_WITHIN_S)
            await _is_watched(pid)
            owner.kill()
            await _ends(pid)


@pytest.mark.parametrize("closed", [True, False])
async def test_what_the_library_stumbles_over_as_the_connection_goes_away_is_its_loss(
    tmp_path: Path, sshd: Sshd, closed: bool
) -> None:
    async def stumble() -> None:
        if closed:
            connection.abort()
            await connection.wait_closed()
        raise AttributeError("'NoneType' object has no attribute 'session_started'")

    async with pool_for(tmp_path, sshd.config()) as pool:
        connection = await pool.connection(pool.config.resolve("web1"))
        with pytest.raises(asyncssh.ConnectionLost if closed else AttributeError):
            await when_there_is_room(connection, stumble)

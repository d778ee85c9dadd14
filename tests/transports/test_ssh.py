"""What the ssh transport, its pool and its machine do beyond the contract."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import glob
import logging
import math
import os
import random
import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from sane.core.command import Command
from sane.errors import LostError, RemoteError, TransportError, UnavailableError, UnreachableError
from sane.transports.ssh import SCRIPT_LIMIT_BYTES
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import HANDSHAKE_PLACE_S, SESSIONS_AT_ONCE, SshPool
from tests.listeners import listening
from tests.processes import is_running
from tests.transports.sshd import Sshd


async def test_one_connection_is_shared_by_all_who_ask(pool: SshPool, sshd: Sshd) -> None:
    before = set(sshd.sessions())
    script = Command("echo $PPID")
    results = await asyncio.gather(*(pool.transport("web1").run(script) for _ in range(3 * SESSIONS_AT_ONCE)))
    assert len({result.output for result in results}) == 1
    assert len(set(sshd.sessions()) - before) in (1, 2)  # OpenSSH serves a user who is not root with two processes


async def test_equal_settings_share_under_two_names(tmp_path: Path, sshd: Sshd) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.config("web1 web2"))
    async with SshPool(SshConfig(config=str(config))) as pool:
        one, two = pool.transport("web1"), pool.transport("web2")
        assert one.name == "ssh:web1"
        assert (await one.run(Command("true"))).target == "ssh:web1"
        assert (await two.run(Command("true"))).target == "ssh:web2"


async def test_a_connection_that_went_away_is_opened_again(pool: SshPool) -> None:
    transport = pool.transport("web1")
    await transport.run(Command("true"))
    connection = await pool.connection(transport.settings)
    connection.abort()
    assert (await transport.run(Command("echo again"))).output == b"again\n"
    assert await pool.connection(transport.settings) is not connection


async def test_a_failed_attempt_is_not_kept(tmp_path: Path, sshd: Sshd) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        server = Sshd(port=port)
        config = tmp_path / "config"
        config.write_text(server.config())
        async with SshPool(SshConfig(config=str(config))) as pool:
            with pytest.raises(UnreachableError):
                await pool.transport("web1").run(Command("true"))
            taken.close()
            try:
                server.start()
                assert (await pool.transport("web1").run(Command("true"))).exit_code == 0
            finally:
                server.stop()


async def test_a_caller_that_gives_up_does_not_end_the_attempt_of_others(pool: SshPool) -> None:
    transport = pool.transport("web1")
    first = asyncio.create_task(pool.connection(transport.settings))
    second = asyncio.create_task(pool.connection(transport.settings))
    await asyncio.sleep(0)
    first.cancel()
    assert not (await second).is_closed()


async def test_silent_hosts_hold_up_nobody(tmp_path: Path, sshd: Sshd) -> None:
    """Two places for handshakes and six silent hosts: the good one is through long before any of them times out."""
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
    text = sshd.config() + "".join(
        f"Host s{n}\n HostName 127.0.0.1\n Port {sock.getsockname()[1]}\n ConnectTimeout 4\n UserKnownHostsFile none\n"
        for n, sock in enumerate(silent)
    )
    config = tmp_path / "config"
    config.write_text(text)
    async with SshPool(SshConfig(config=str(config)), handshakes_at_once=2) as pool:
        waiting = [asyncio.create_task(pool.transport(f"s{n}").run(Command("true"))) for n in range(6)]
        await asyncio.sleep(0)
        started = time.monotonic()
        await pool.transport("web1").run(Command("true"))
        assert time.monotonic() - started < 3 * HANDSHAKE_PLACE_S + 1
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    for sock in silent:
        sock.close()


async def test_a_background_job_does_not_hold_the_command(pool: SshPool, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    started = time.monotonic()
    result = await pool.transport("web1").run(Command(f"sleep 30 & echo $! >{pid}; echo started"))
    assert (result.output, result.exit_code) == (b"started\n", 0)
    assert time.monotonic() - started < 2
    job = int(pid.read_text())
    assert is_running(job)
    await pool.transport("web1").run(Command(f"kill {job}"))


async def test_output_written_just_before_the_end_is_kept_although_a_job_holds_the_pipe(pool: SshPool) -> None:
    result = await pool.transport("web1").run(Command("sleep 5 & head -c 3000000 /dev/zero; kill -9 $$"))
    assert (len(result.output), result.exit_code) == (3_000_000, 137)


async def test_a_long_script(pool: SshPool) -> None:
    script = "# " + "x" * SCRIPT_LIMIT_BYTES + "\nprintf '%s' \"it's $VALUE\"; exit 5"
    result = await pool.transport("web1").run(Command(script, env={"VALUE": "here"}))
    assert (result.output, result.exit_code) == (b"it's here", 5)
    assert (await pool.transport("web1").run(Command("ls /tmp/.sane-script-* 2>/dev/null"))).output == b""


async def test_a_long_script_leaves_nothing_where_it_can_not_run(pool: SshPool) -> None:
    secret = f"hunter{random.random()}"
    command = Command("true", env={"SECRET": secret + "x" * SCRIPT_LIMIT_BYTES}, cwd="/no/such/place")
    with pytest.raises(RemoteError, match="can't be entered"):
        await pool.transport("web1").run(command)
    found = subprocess.run(["grep", "-ls", secret, *glob.glob("/tmp/.sane*")], input=b"", capture_output=True)
    assert found.stdout == b""


@pytest.mark.parametrize("shell", ["", "dash", "busybox sh", "bash", "zsh", "fish"])
@pytest.mark.parametrize("brief", [False, True])
async def test_a_long_script_reads_what_it_is_given_to_the_byte(tmp_path: Path, shell: str, brief: bool) -> None:
    if shell and shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed")
    server = Sshd(options={"ForceCommand": f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"'} if shell else {})
    config = tmp_path / "config"
    config.write_text(server.config())
    value, given = "\\ 'é\udce9'\t\n  " + "x" * SCRIPT_LIMIT_BYTES, bytes(range(1, 256)) * 5
    try:
        server.start()
        async with SshPool(SshConfig(config=str(config))) as pool, asyncio.timeout(20):
            transport = pool.transport("web1")
            for stdin in (None, given, given + b"\0" + given):
                command = Command('printf %s "$V"\n  cat', env={"V": value}, stdin=stdin, brief=brief, cwd=None)
                result = await transport.run(command)
                assert result.output == os.fsencode(value) + (stdin or b"")
                assert (result.stderr, result.exit_code) == (b"", 0)
    finally:
        server.stop()


async def test_line_numbers_in_messages_are_those_of_the_script(pool: SshPool) -> None:
    result = await pool.transport("web1").run(Command("true\nno-such-program", cwd="/", env={"A": "1"}))
    assert b"line 2" in result.stderr or b": 2:" in result.stderr
    assert result.exit_code == 127


async def test_a_directory_that_is_not_there(pool: SshPool) -> None:
    chunks: list[bytes] = []
    with pytest.raises(RemoteError, match="/no/such/place can't be entered on web1: No such file or directory"):
        await pool.transport("web1").run(Command("echo not reached", cwd="/no/such/place", brief=True), chunks.append)
    assert chunks == []


@pytest.mark.parametrize("script", ["echo (", "if true\nthen echo ("])
async def test_a_shell_that_can_not_parse_a_command_shows_that_alone(pool: SshPool, script: str) -> None:
    result = await pool.transport("web1").run(Command(script, cwd="/", env={"A": "a value"}))
    assert (result.output, result.exit_code) == (b"", 2)
    assert b"syntax error" in result.stderr.lower()
    for ours in (b"PPID", b"value", b"cd /"):
        assert ours not in result.stderr


async def test_home_paths(pool: SshPool, sshd: Sshd) -> None:
    transport = pool.transport("web1")
    await transport.put("~/a file", b"x")
    assert (sshd.home / "a file").read_bytes() == b"x"
    assert await transport.get("~/a file") == b"x"
    assert (await transport.run(Command("pwd", cwd="~"))).output == f"{sshd.home}\n".encode()


async def test_a_closed_input_is_no_failure(pool: SshPool) -> None:
    result = await pool.transport("web1").run(Command("exec 0</dev/null; echo done", stdin=bytes(8 << 20)))
    assert (result.output, result.exit_code) == (b"done\n", 0)


async def test_a_failing_watcher_fails_its_own_command_only(pool: SshPool) -> None:
    def watch(chunk: bytes) -> None:
        raise ValueError(f"saw {chunk!r}")

    transport = pool.transport("web1")
    other = asyncio.create_task(transport.run(Command("sleep 0.3; echo fine")))
    with pytest.raises(ValueError, match="saw"):
        await transport.run(Command("echo hi"), watch)
    assert (await other).output == b"fine\n"


async def test_what_is_no_regular_file_is_not_read(pool: SshPool) -> None:
    with pytest.raises(RemoteError, match="Not a regular file"):
        await asyncio.wait_for(pool.transport("web1").get("/dev/zero", limit_bytes=5000), 10)


async def test_no_packet_is_sent_to_be_ignored(pool: SshPool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncssh")
    asyncssh.set_debug_level(3)
    try:
        assert (await pool.transport("web1").run(Command("true"))).exit_code == 0
    finally:
        asyncssh.set_debug_level(1)
    assert "Sent MSG_CHANNEL_OPEN" in caplog.text
    assert "Sent MSG_IGNORE" not in caplog.text


async def test_more_sessions_than_the_server_allows(tmp_path: Path) -> None:
    server = Sshd(options={"MaxSessions": "1"})
    config = tmp_path / "config"
    config.write_text(server.config())
    try:
        server.start()
        async with SshPool(SshConfig(config=str(config))) as pool:
            transport = pool.transport("web1")
            first = asyncio.create_task(transport.run(Command("sleep 1; echo first")))
            await asyncio.sleep(0.4)
            with pytest.raises(UnavailableError, match="no further session"):
                await transport.run(Command("true"))
            assert (await first).output == b"first\n"
    finally:
        server.stop()


async def test_machine_runs_programs_by_argument_list(pool: SshPool) -> None:
    machine = pool.machine("web1")
    assert machine.name == "web1"
    argv = ["printf", "%s|", "a b", "it's", "$x", "", "-n", "\\"]
    done = await machine.execute(argv)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"a b|it's|$x||-n|\\|", b"")
    done = await machine.execute(["sh", "-c", "cat; echo bad >&2; exit 9"], stdin=b"in")
    assert (done.exit_code, done.stdout, done.stderr) == (9, b"in", b"bad\n")
    with pytest.raises(TimeoutError, match="sleep on web1"):
        await machine.execute(["sleep", "30"], timeout_s=0.3)
    await machine.close()


async def test_channel_talks_both_ways_and_ends_its_program(pool: SshPool) -> None:
    machine = pool.machine("web1")
    channel = await machine.spawn(["sh", "-c", "echo $$; echo no >&2; exec cat"])
    pid = int(await channel.read(5))
    await channel.write(b"hello")
    assert await channel.read(5) == b"hello"
    with pytest.raises(TimeoutError):
        await channel.read(0.05)
    await channel.close()
    await channel.close()
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    with pytest.raises(LostError):
        await channel.write(b"late")


async def test_channel_whose_program_ends(pool: SshPool) -> None:
    channel = await pool.machine("web1").spawn(["echo", "bye"])
    assert await channel.read(5) == b"bye\n"
    assert await channel.read(5) == b""
    await channel.close()


async def test_a_slow_reader_holds_the_program_back_and_loses_nothing(pool: SshPool) -> None:
    channel = await pool.machine("web1").spawn(["head", "-c", "20000000", "/dev/zero"])
    await asyncio.sleep(0.3)
    size = 0
    while chunk := await channel.read(5):
        size += len(chunk)
        assert len(chunk) < 12_000_000  # bounded, although nobody read
    assert size == 20_000_000
    await channel.close()


async def test_machine_close_ends_its_channels(pool: SshPool) -> None:
    machine = pool.machine("web1")
    channel = await machine.spawn(["cat"])
    await machine.close()
    assert await channel.read(5) == b""


async def test_a_channel_that_was_closed_is_not_kept(pool: SshPool) -> None:
    machine = pool.machine("web1")
    channel = await machine.spawn(["cat"])
    await channel.close()
    closed = weakref.ref(channel)
    del channel
    deadline = time.monotonic() + 5
    while closed() is not None:  # until the host has said that it is closed
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
        gc.collect()


async def test_a_closed_pool_opens_nothing(tmp_path: Path, sshd: Sshd) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.config())
    pool = SshPool(SshConfig(config=str(config)))
    await pool.close()
    await pool.close()
    with pytest.raises(UnavailableError):
        await pool.transport("web1").run(Command("true"))


async def test_errors_hold_no_secret(tmp_path: Path, sshd: Sshd) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.config().replace(f"Port {sshd.port}", "Port 1"))
    async with SshPool(SshConfig(config=str(config))) as pool:
        with pytest.raises(TransportError) as caught:
            await pool.transport("web1").run(Command("true", env={"TOKEN": "hunter2"}, stdin=b"hunter2"))
    assert "hunter2" not in caught.value.message + caught.value.hint


async def test_no_room_is_said_in_time(pool: SshPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sane.transports.ssh_pool.ROOM_TIMEOUT_S", 0.2)
    machine = pool.machine("web1")
    channels = [await machine.spawn(["cat"]) for _ in range(SESSIONS_AT_ONCE)]
    with pytest.raises(UnavailableError, match="busy"):
        await machine.execute(["true"])
    await channels[0].close()
    assert (await machine.execute(["true"])).exit_code == 0
    await machine.close()


async def test_the_mark_leaves_no_trace(pool: SshPool) -> None:
    result = await pool.transport("web1").run(Command("printf 'no newline' >&2; exit 2"))
    assert (result.stderr, result.exit_code) == (b"no newline", 2)
    assert (await pool.transport("web1").run(Command("exec true"))).stderr == b""


async def test_what_start_up_files_say_is_kept_around_the_mark(tmp_path: Path) -> None:
    (tmp_path / "noise").write_text("printf 'noise without end' >&2\n")
    server = Sshd()
    config = tmp_path / "config"
    config.write_text(server.config())
    try:
        # Only bash reads BASH_ENV; another login shell is simply quiet here.
        server.start(SetEnv=f"HOME={server.home} BASH_ENV={tmp_path}/noise")
        async with SshPool(SshConfig(config=str(config))) as pool:
            result = await pool.transport("web1").run(Command("echo error >&2; sleep 60", timeout_s=0.5))
        assert result.stderr.removeprefix(b"noise without end") == b"error\n"
        assert result.timed_out
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def relay(delay_s: float, to_port: int, limit_bytes: float = math.inf) -> AsyncIterator[int]:
    """Yield a port on loopback from which everything is handed on to another, a while later, up to so much."""
    loop = asyncio.get_running_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        while (data := await reader.read(1 << 16)) and (seen := seen + len(data)) < limit_bytes:
            loop.call_later(delay_s, writer.write, data)
        loop.call_later(delay_s, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        far.append(far_writer)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)

    far: list[asyncio.StreamWriter] = []
    async with listening(serve) as port:
        yield port
    for writer in far:
        writer.close()


async def test_the_last_output_comes_over_a_slow_way_although_a_job_holds_the_pipe(tmp_path: Path, sshd: Sshd) -> None:
    """The window of 2 MiB is full when the command ends, so the rest comes a round trip after its exit code."""
    size = (2 << 20) + 40_000
    async with far_away(tmp_path, sshd, 0.1) as pool:
        result = await pool.transport("web1").run(Command(f"sleep 5 & head -c {size} /dev/zero"))
    assert (len(result.output), result.exit_code) == (size, 0)


@contextlib.asynccontextmanager
async def far_away(tmp_path: Path, sshd: Sshd, delay_s: float, limit_bytes: float = math.inf) -> AsyncIterator[SshPool]:
    """Yield a pool that knows a server as web1, each way to which takes a while, and ends after so many bytes."""
    config, known = tmp_path / "config", tmp_path / "known"
    known.write_text("known " + sshd.known_hosts.read_text().split(" ", 1)[1])
    async with relay(delay_s, sshd.port, limit_bytes) as port:
        text = sshd.config(extra="  HostKeyAlias known\n").replace(f"Port {sshd.port}", f"Port {port}")
        config.write_text(text.replace(str(sshd.known_hosts), str(known)))
        async with SshPool(SshConfig(config=str(config))) as pool:
            yield pool


@pytest.mark.parametrize("pause_s", [0.05, 0.15])
async def test_a_program_whose_start_is_cancelled_gives_its_session_back(tmp_path: Path, pause_s: float) -> None:
    """The host's yes to a session comes after 0.1 s, that to the program after 0.2."""
    server = Sshd(options={"MaxSessions": "2"})
    try:
        server.start()
        async with far_away(tmp_path, server, 0.05) as pool, asyncio.timeout(20):
            machine = pool.machine("web1")
            await (await machine.spawn(["true"])).close()
            for _ in range(3):
                starting = asyncio.create_task(machine.spawn(["cat"]))
                await asyncio.sleep(pause_s)
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
            channel = await machine.spawn(["cat"])
            await channel.write(b"hello")
            assert await channel.read(5) == b"hello"
            await channel.close()
    finally:
        server.stop()


async def test_what_ends_a_command_gives_its_session_back_where_its_time_is_over_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sane.transports.ssh_session.KILL_GRACE_S", 0.05)  # less than the host's yes takes
    server = Sshd(options={"MaxSessions": "4"})
    try:
        server.start()
        async with far_away(tmp_path, server, 0.05) as pool, asyncio.timeout(20):
            transport = pool.transport("web1")
            for _ in range(4):
                assert (await transport.run(Command("exec sleep 60", timeout_s=0.4))).timed_out
            together = [transport.run(Command("sleep 1; echo room")) for _ in range(3)]
            assert {result.output for result in await asyncio.gather(*together)} == {b"room\n"}
    finally:
        server.stop()


@pytest.mark.parametrize("stdin", [None, b"given"])
async def test_half_a_long_script_is_not_run(tmp_path: Path, stdin: bytes | None) -> None:
    ran, ended = tmp_path / "ran", tmp_path / "ended"
    server = Sshd(options={"ForceCommand": f'sh -c "$SSH_ORIGINAL_COMMAND"; echo >{ended}'})
    try:
        server.start()
        async with far_away(tmp_path, server, 0, 300_000) as pool, asyncio.timeout(20):
            with pytest.raises(LostError):
                await pool.transport("web1").run(Command(f"echo >{ran}\n# " + "x" * 1_000_000, stdin=stdin))
            while not ended.exists():
                await asyncio.sleep(0.01)
        assert not ran.exists()
    finally:
        server.stop()

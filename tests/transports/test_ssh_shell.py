"""Brief commands over ssh: one shell for all of them, and no trace of one in the next."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.errors import LostError
from sane.transports.ssh import SshTransport
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from tests.processes import is_running
from tests.transports.sshd import Sshd


@pytest.fixture
def transport(pool: SshPool) -> SshTransport:
    return pool.transport("web1")


async def ask(transport: SshTransport, script: str, timeout_s: float = 10, **fields: object) -> CommandResult:
    return await transport.run(Command(script, timeout_s=timeout_s, brief=True, **fields))  # type: ignore[arg-type]


async def shell_of(transport: SshTransport) -> int:
    return int((await ask(transport, "echo $$")).output)


async def opened_for_writing(fifo: Path) -> int:
    """Return a descriptor of a FIFO once somebody reads it: until then the system refuses it."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        await asyncio.sleep(0.01)


async def test_brief_commands_share_a_shell_and_others_do_not(transport: SshTransport) -> None:
    shell = await shell_of(transport)
    assert await shell_of(transport) == shell
    assert int((await transport.run(Command("echo $$"))).output) != shell


async def test_the_answer_is_that_of_a_session_of_its_own(transport: SshTransport) -> None:
    scripts = {
        "printf 'a\\n\\n\\0\\377'; echo no >&2; exit 3": None,
        "cat; echo; cat": b"it's \\ $HOME\n\xff\n\n",
        'printf %s "$X"; [ -t 0 ] || cat': None,
        "exec sh -c 'exit 96'": b"not read" * 20_000,
        "kill -9 $(sh -c 'echo $PPID')": None,
    }
    for script, stdin in scripts.items():
        env = {"X": "a'b\\\n\"$(c)` "}
        alone = await transport.run(Command(script, env=env, stdin=stdin))
        shared = await ask(transport, script, env=env, stdin=stdin)
        assert (shared.output, shared.exit_code) == (alone.output, alone.exit_code), script
        assert bool(shared.stderr) == bool(alone.stderr), script


async def test_what_is_read_may_hold_any_byte(transport: SshTransport) -> None:
    assert (await ask(transport, "wc -c", stdin=b"a\0b")).output.split() == [b"3"]


async def test_a_brief_command_finds_the_shell_as_the_first_one_did(transport: SshTransport) -> None:
    look = "pwd; umask; set -- $-; echo $1 ${X-unset} ${Y-unset}; trap"
    first = await ask(transport, look)
    await ask(
        transport, "cd /; umask 000; set -f; X=1; export Y=2; trap 'echo x' EXIT; exec 2>/dev/null", env={"Z": "1"}
    )
    assert (await ask(transport, look)).output == first.output
    assert (await ask(transport, "echo ${Z-unset}")).output == b"unset\n"


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_one_that_is_cut_short_is_ended_and_the_next_is_answered(
    transport: SshTransport, tmp_path: Path, how: str
) -> None:
    shell = await shell_of(transport)
    script = f'echo begun; sh -c "echo \\$PPID; >{tmp_path}/began; exec sleep 60"'
    if how == "timeout":
        result = await ask(transport, script, timeout_s=0.3)
        assert (result.timed_out, result.exit_code) == (True, 124)
        assert result.output.startswith(b"begun\n")
    else:
        asking = asyncio.create_task(ask(transport, script))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert not is_running(shell)
    assert await shell_of(transport) != shell


async def test_an_answer_without_end_is_refused_and_its_shell_ended(transport: SshTransport) -> None:
    shell = await shell_of(transport)
    with pytest.raises(LostError, match="more than 8 MB"):
        await ask(transport, "yes", timeout_s=30.0)
    assert not is_running(shell)
    assert await shell_of(transport) != shell


async def test_a_cancellation_of_a_question_stays_one(
    tmp_path: Path, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sane.transports.ssh_session.KILL_TIMEOUT_S", 0.5)
    config = tmp_path / "config"
    config.write_text(own_sshd.config())
    async with SshPool(SshConfig(config=str(config))) as pool:
        asking = asyncio.create_task(ask(pool.transport("web1"), f"echo >{tmp_path}/began; sleep 60"))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        own_sshd.signal_sessions(signal.SIGSTOP)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        own_sshd.signal_sessions(signal.SIGCONT)


async def test_nobody_waits_for_a_shell_that_is_busy(transport: SshTransport, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = asyncio.create_task(ask(transport, f"read line <{gate}; echo $line"))
    writer = await opened_for_writing(gate)
    assert (await asyncio.wait_for(ask(transport, "echo second"), 5)).output == b"second\n"
    os.write(writer, b"first\n")
    os.close(writer)
    assert (await first).output == b"first\n"


async def test_a_shell_that_is_killed_loses_what_it_was_asked_and_no_more(transport: SshTransport) -> None:
    with pytest.raises(LostError, match="went away inside a step"):
        await ask(transport, "kill -9 $$; sleep 1")
    shell = await shell_of(transport)
    os.kill(shell, signal.SIGKILL)
    while is_running(shell):
        await asyncio.sleep(0.01)
    await transport.run(Command("true"))  # sshd says of the end of the one before that of the other
    assert await shell_of(transport) != shell


async def test_a_server_with_room_for_one_session_gets_one_at_a_time(tmp_path: Path) -> None:
    server = Sshd(options={"MaxSessions": "1"})
    config = tmp_path / "config"
    config.write_text(server.config())
    try:
        server.start()
        async with SshPool(SshConfig(config=str(config))) as pool:
            transport = pool.transport("web1")
            for _ in range(2):
                assert (await ask(transport, "echo asked")).output == b"asked\n"
                assert (await transport.run(Command("echo ran"))).output == b"ran\n"
    finally:
        server.stop()


async def test_a_closed_transport_leaves_no_shell(transport: SshTransport) -> None:
    shell = await shell_of(transport)
    await transport.close()
    for _ in range(100):
        if not is_running(shell):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the shell still runs")

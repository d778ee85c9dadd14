"""Keys that change while a process lives: files, what is beside them, and what a real ssh-agent holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.errors import AuthError
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from tests.transports.sshd import Sshd, make_key

LIST_KEYS = 11  # SSH_AGENTC_REQUEST_IDENTITIES


@contextlib.contextmanager
def agent_at(path: Path) -> Generator[None]:
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 5
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.005)
        yield
    finally:
        process.terminate()
        process.wait(5)
        path.unlink(missing_ok=True)


def add(agent: Path, key: Path) -> None:
    environ = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
    subprocess.run(["ssh-add", "-q", key], env=environ, check=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def agent(short_dir: Path) -> Iterator[Path]:
    with agent_at(short_dir / "agent"):
        yield short_dir / "agent"


@contextlib.asynccontextmanager
async def pool_for(tmp_path: Path, sshd: Sshd, agent: Path | None, key: Path | None = None) -> AsyncGenerator[SshPool]:
    """Yield a pool that knows the sshd as web1, web2 and web3, each a connection of its own."""
    text = "".join(sshd.config(name, f"  ConnectTimeout {9 + n}\n") for n, name in enumerate(("web1", "web2", "web3")))
    text = text.replace(f"  IdentityFile {sshd.user_key}\n", f"  IdentityFile {key}\n" if key else "")
    config = tmp_path / "ssh_config"
    config.write_text(text.replace("IdentityAgent none", f"IdentityAgent {agent}") if agent else text)
    async with SshPool(SshConfig(config=str(config))) as pool:
        yield pool


async def logs_in(pool: SshPool, name: str = "web1") -> bool:
    try:
        return (await pool.transport(name).run(Command("true"))).exit_code == 0
    except AuthError:
        return False


async def test_a_key_that_was_added_to_the_agent_is_used_by_the_next_login(
    tmp_path: Path, sshd: Sshd, agent: Path
) -> None:
    key = tmp_path / "key"
    shutil.copy(sshd.user_key, key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a passphrase", "-f", key], check=True, stdout=subprocess.DEVNULL)
    async with pool_for(tmp_path, sshd, agent, key) as pool:
        with pytest.raises(AuthError) as refused:
            await pool.transport("web1").run(Command("true"))
        assert "add it to ssh-agent" in refused.value.hint
        add(agent, sshd.user_key)
        assert await logs_in(pool)


async def test_an_agent_that_was_started_late_or_anew_is_asked_again(
    tmp_path: Path, sshd: Sshd, short_dir: Path
) -> None:
    path = short_dir / "late"
    async with pool_for(tmp_path, sshd, path) as pool:
        assert not await logs_in(pool)
        with agent_at(path):
            add(path, sshd.user_key)
            assert await logs_in(pool)
        with agent_at(path):
            add(path, sshd.user_key)
            assert await logs_in(pool, "web2")
        with agent_at(path):
            assert not await logs_in(pool, "web3")


async def test_a_key_file_is_read_again_when_it_changed(tmp_path: Path, sshd: Sshd) -> None:
    key = tmp_path / "key"
    async with pool_for(tmp_path, sshd, None, key) as pool:
        assert not await logs_in(pool)
        make_key(key)
        assert not await logs_in(pool)
        shutil.copy(sshd.user_key, key)
        with pytest.raises(AuthError) as refused:  # the other half is still that of the key before
            await pool.transport("web1").run(Command("true"))
        assert f"look at {key}.pub" in refused.value.hint
        shutil.copy(f"{sshd.user_key}.pub", f"{key}.pub")
        assert await logs_in(pool)
        key.write_text("no key at all")
        assert not await logs_in(pool, "web2")


async def test_the_agent_is_asked_once_for_many_hosts_and_once_more_for_all_who_are_refused(
    tmp_path: Path, sshd: Sshd, agent: Path, short_dir: Path
) -> None:
    asked = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        theirs, ours = await asyncio.open_unix_connection(str(agent))
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                for source, drain in ((reader, ours), (theirs, writer)):
                    size = await source.readexactly(4)
                    body = await source.readexactly(int.from_bytes(size, "big"))
                    asked += source is reader and body[0] == LIST_KEYS
                    drain.write(size + body)
        ours.close()
        writer.close()

    async with await asyncio.start_unix_server(relay, short_dir / "relay"):
        add(agent, sshd.user_key)
        names = ("web1", "web2", "web3")
        async with pool_for(tmp_path, sshd, short_dir / "relay") as pool:
            assert await asyncio.gather(*(logs_in(pool, name) for name in names)) == [True] * 3
        assert asked == 1
        subprocess.run(["ssh-add", "-qD"], env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True)
        add(agent, make_key(tmp_path / "other"))
        async with pool_for(tmp_path, sshd, short_dir / "relay") as pool:
            assert await asyncio.gather(*(logs_in(pool, name) for name in names)) == [False] * 3
    assert 2 < asked <= 1 + 1 + len(names)

"""The scripted host and its faults."""

from __future__ import annotations

import time

import pytest

from sane.core.command import Command
from sane.errors import LostError, RemoteError, UnavailableError, UnreachableError
from sane.transports.fake import FakeTransport, Reply


async def test_table_handler_and_unknown_commands() -> None:
    host = FakeTransport("web1", {"uname": Reply(b"Linux\n")})
    assert (await host.run(Command("uname"))).output == b"Linux\n"
    assert (await host.run(Command("other"))).exit_code == 127
    host.handler = lambda command, _: Reply(command.script.encode())
    assert (await host.run(Command("other"))).output == b"other"
    assert [command.script for command in host.commands] == ["uname", "other", "other"]


async def test_a_handler_sees_the_files() -> None:
    def install(command: Command, host: FakeTransport) -> Reply:
        host.files["/installed"] = host.files["/bundle"]
        return Reply()

    host = FakeTransport("web1", {"install": install})
    await host.put("/bundle", b"v1")
    await host.run(Command("install"))
    assert await host.get("/installed") == b"v1"


@pytest.mark.parametrize(("fault", "phase"), [("refuse", "connect"), ("silent", "banner")])
async def test_hosts_that_can_not_be_reached(fault: str, phase: str) -> None:
    host = FakeTransport("web1", {"true": Reply()})
    host.fault = fault  # type: ignore[assignment]
    with pytest.raises(UnreachableError) as caught:
        await host.run(Command("true"))
    assert (caught.value.phase, caught.value.host) == (phase, "web1")
    assert host.commands == []


async def test_a_lost_answer_means_that_it_ran() -> None:
    host = FakeTransport("web1", {"true": Reply()})
    host.fault = "lost"
    with pytest.raises(LostError) as caught:
        await host.run(Command("true"))
    assert (caught.value.phase, len(host.commands), host.running) == ("command", 1, 0)


async def test_slow_full_and_closed() -> None:
    host = FakeTransport("web1", {"true": Reply()}, slow_s=0.05)
    host.fault = "slow"
    started = time.monotonic()
    await host.run(Command("true"))
    assert time.monotonic() - started >= 0.05
    host.fault = "full-disk"
    with pytest.raises(RemoteError, match="No space left"):
        await host.put("/x", b"")
    await host.close()
    with pytest.raises(UnavailableError):
        await host.run(Command("true"))

"""Targets that a long-lived process opens: what changed in the user's files counts for the next connection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.core.target import Target
from sane.engine.context import AsyncContext
from sane.errors import UnreachableError
from tests.transports.sshd import Sshd, free_port


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    server = Sshd()
    try:
        yield server.start()
    finally:
        server.stop()


async def test_a_host_that_was_not_reached_is_reached_once_its_configuration_is_mended(sshd: Sshd) -> None:
    config = Path(os.environ["HOME"]) / ".ssh/config"
    config.parent.mkdir()
    config.write_text(sshd.config().replace(f"Port {sshd.port}", f"Port {free_port()}"))
    context, target = AsyncContext(), Target("web1", None)
    try:
        with pytest.raises(UnreachableError):
            await (await context.transport(target)).run(Command("true"))
        with pytest.raises(UnreachableError):
            await (await context.machine("web1")).execute(["true"])
        config.write_text(sshd.config())
        transport = await context.transport(target)
        assert (await transport.run(Command("echo in"))).output == b"in\n"
        assert (await (await context.machine("web1")).execute(["true"])).exit_code == 0
        config.write_text("# what is open stays so\n")
        assert await context.transport(target) is transport
    finally:
        await context.close()

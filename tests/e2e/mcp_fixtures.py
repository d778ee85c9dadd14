"""A tmux server that this process sees as its own, and clients of the MCP server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from sane.engine.context import AsyncContext
from sane.surfaces.mcp.server import ToolServer
from tests.e2e.pane_fixtures import Tmux
from tests.processes import is_running

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ("PATH", "HOME", "TMUX_TMPDIR", "XDG_RUNTIME_DIR", "SANE_STATE_DIR", "LC_ALL")


@pytest.fixture
def tmux_here(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tmux]:
    """Yield a tmux server that code in this process reaches as people reach theirs."""
    server = Tmux(short_dir)
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    yield server
    server.kill()


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def connect_in_process(
    tier: str = "write", limit_chars: int = 16_000, mode: str = "auto", names: Sequence[str] = ()
):
    """Yield a client of a server in this process."""
    context = AsyncContext()
    try:
        async with Client(ToolServer(tier, context, limit_chars, names).build(), mode=mode) as client:
            yield client
    finally:
        await context.close()


def stdio_server(*arguments: str, **environ: str) -> StdioServerParameters:
    """Return how to start `sane mcp` in this process's surroundings."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return StdioServerParameters(command=str(ROOT / "bin" / "sane"), args=["mcp", *arguments], env={**kept, **environ})


def writes_pid(path: Path) -> str:
    """Return a command that writes its process id and then takes a minute."""
    return f"sh -c 'echo $$ > {path}.new && mv {path}.new {path} && exec sleep 60'"


async def pid_in(path: Path, seconds: float = 10.0) -> int:
    """Return the process id a command wrote, once it has."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} was not written"
        await asyncio.sleep(0.01)
    return int(path.read_text())


async def assert_ends(pid: int, seconds: float) -> None:
    """Wait until a process has ended; fail when it takes longer."""
    until = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < until, f"process {pid} still runs after {seconds:g} s"
        await asyncio.sleep(0.01)


async def answer_of(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool's structured answer."""
    result = await client.call_tool(name, arguments)
    assert result.structured_content is not None
    return result.structured_content

"""Time run_command `true` on a local pane, in process on open connections: ours over the API and over MCP, libtmux-mcp.

    .venv/bin/python tests/bench/bench_mcp.py [ROUNDS]

Interleaved in one run, each in a pane of its own. Prints one JSON line a case: the median and the 95th percentile of a call in
ms, and the median's ratio to libtmux-mcp's. Each MCP client is its SDK's own in-process one.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.e2e.pane_fixtures import Tmux, make_server  # noqa: E402

Call = Callable[[], Awaitable[object]]
PEER = "libtmux-mcp run_command"


async def open_cases(server: Tmux, stack: AsyncExitStack) -> dict[str, Call]:
    """Return each way to run a command, connected."""
    import mcp

    import sane
    from sane.engine.context import AsyncContext
    from sane.surfaces.mcp.server import ToolServer

    names = [server.new() for _ in range(3)]
    host = await stack.enter_async_context(sane.connect(names[0]))
    context = AsyncContext()
    stack.push_async_callback(context.close)
    ours = await stack.enter_async_context(mcp.Client(ToolServer("write", context).build()))
    theirs = await open_peer(stack)
    pane_id = server.call("display-message", "-p", "-t", names[2], "#{pane_id}").strip()

    async def over_mcp() -> None:
        answer = await ours.call_tool("run_command", {"target": names[1], "command": "true"})
        assert answer.structured_content is not None
        assert answer.structured_content["exit_code"] == 0

    async def over_api() -> None:
        assert (await host.run("true")).exit_code == 0

    async def peer() -> None:
        answer = await theirs.call_tool("run_command", {"pane_id": pane_id, "command": "true"})
        assert answer.structured_content["exit_status"] == 0

    return {PEER: peer, "sane over MCP": over_mcp, "sane over the API": over_api}


async def open_peer(stack: AsyncExitStack) -> Any:
    """Return a client of libtmux-mcp in this process."""
    import fastmcp
    from libtmux_mcp import server as peer

    peer._register_all()
    return await stack.enter_async_context(fastmcp.Client(peer.mcp))


async def measure(server: Tmux, rounds: int) -> list[dict[str, object]]:
    """Return one row a case."""
    async with AsyncExitStack() as stack:
        cases = await open_cases(server, stack)
        times: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(rounds + 5):
            for name, call in cases.items():
                started = time.perf_counter()
                await call()
                if number >= 5:
                    times[name].append((time.perf_counter() - started) * 1000)
    base = statistics.median(times[PEER])
    return [
        {
            "case": name,
            "median_ms": round(statistics.median(values), 2),
            "p95_ms": round(sorted(values)[int(len(values) * 0.95)], 2),
            "ratio": round(statistics.median(values) / base, 2),
        }
        for name, values in times.items()
    ]


def main(rounds: int) -> None:
    for server in make_server():
        os.environ.update(server.environ)
        os.environ.pop("TMUX", None)
        for row in asyncio.run(measure(server, rounds)):
            print(json.dumps(row))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)

"""Call sane's tools as an AI agent does: list, call, read a long output page by page, cancel.

    .venv/bin/python docs/examples/mcp_client.py TARGET

TARGET is a tmux pane (`work:1.0`), `local:` or `ssh:HOST`. The client is the official one of the MCP SDK, over stdio.
"""

import asyncio
import os
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters

SANE = str(Path(__file__).parents[2] / "bin" / "sane")


async def main(target: str) -> None:
    """Show the four things a client does."""
    server = StdioServerParameters(command=SANE, args=["mcp", "--access", "write"], env=dict(os.environ))
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        print("tools:", ", ".join(tool.name for tool in tools))

        answer = await call(client, "run_command", target=target, command="echo hello; test -e /no/such/file")
        print("run_command:", repr(answer["output"]), "exit code", answer["exit_code"])

        answer = await call(client, "run_command", target=target, command="seq 1 20000")
        print("a long output:", answer["output_page"])
        lines = (await read_whole(client, answer["output_page"]["cursor"])).splitlines()
        print("read page by page:", len(lines), "lines, the last is", lines[-1])

        running = asyncio.create_task(call(client, "run_command", target=target, command="sleep 600", timeout_s=700))
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.wait({running})
        answer = await call(client, "run_command", target=target, command="echo free again")
        print("after a cancelled call:", answer["output"].strip())

        answer = await call(client, "run_comand", target=target)
        print("a mistake:", answer["error"], answer["hint"])


async def call(client: Client, tool: str, **arguments: object) -> dict:
    """Return a tool's answer as data; an error is an answer too."""
    return (await client.call_tool(tool, arguments)).structured_content or {}


async def read_whole(client: Client, cursor: str) -> str:
    """Return a text that was cut, read from its start to its end."""
    text, offset = "", 0
    while offset is not None:
        page = await call(client, "read_output", cursor=cursor, offset=offset)
        text, offset = text + page["text"], page.get("next_offset")
    return text


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local:"))

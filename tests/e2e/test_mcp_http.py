"""`sane mcp --http`: streamable HTTP on loopback, guarded against other origins and, where a token is set, other callers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.mcp_fixtures import ENVIRONMENT, ROOT, answer_of, assert_ends, pid_in, tmux_here, writes_pid
from tests.e2e.pane_fixtures import Tmux
from tests.processes import is_running

__all__ = ["tmux_here"]
pytestmark = pytest.mark.e2e
TOKEN = "a-token-for-this-test"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@contextmanager
def serve(said: list[bytes] | None = None, **environ: str) -> Iterator[str]:
    """Yield the URL of a server that is ready, and end it; then `said` has what it wrote on standard error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    argv = [str(ROOT / "bin" / "sane"), "mcp", "--access", "write", "--http", address]
    process = subprocess.Popen(argv, env={**kept, **environ}, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(address.split(":"), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.02)
        yield f"http://{address}/mcp"
    finally:
        process.terminate()
        _, written = process.communicate(timeout=10)
        if said is not None:
            said.append(written)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calls_and_cancellation_over_http(tmux_here: Tmux, tmp_path: Path, mode: str):
    pane = tmux_here.new()
    with serve() as url:
        async with Client(url, mode=mode) as client:
            answer = await answer_of(client, "run_command", target=pane, command="echo over http")
            assert answer["output"] == "over http\n"
            arguments = {"target": pane, "command": writes_pid(tmp_path / "pid")}
            call = asyncio.create_task(client.call_tool("run_command", arguments))
            pid = await pid_in(tmp_path / "pid")
            call.cancel()
            await assert_ends(pid, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_the_server_says_where_it_is_and_ends_what_runs_at_its_end(
    tmux_here: Tmux, tmp_path: Path, number: signal.Signals
):
    pane = tmux_here.new()
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    argv = [str(ROOT / "bin" / "sane"), "mcp", "--access", "write", "--http", "127.0.0.1:0"]
    process = subprocess.Popen(argv, env=kept, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    url = said.split()[-1]
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/mcp", url), said
    async with Client(url, mode="legacy") as client:
        arguments = {"target": pane, "command": writes_pid(tmp_path / "pid")}
        call = asyncio.create_task(client.call_tool("run_command", arguments))
        pid = await pid_in(tmp_path / "pid")
        process.send_signal(number)
        await assert_ends(pid, 10)
        await assert_ends(process.pid, 10)
        call.cancel()
        await asyncio.wait({call})
    assert process.wait(timeout=1) == 0
    process.stderr.close()


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [str(ROOT / "bin" / "sane"), "mcp", "--http", address]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"Error: {address} can't be served: ")


async def test_a_page_of_another_site_is_refused():
    with serve() as url:
        async with httpx2.AsyncClient() as http:
            for headers, status in [
                ({}, 200),
                ({"origin": "http://127.0.0.1:80"}, 200),
                ({"host": "attacker.example"}, 421),
                ({"origin": "http://attacker.example"}, 403),
            ]:
                response = await http.post(url, json=HELLO, headers={**ACCEPT, **headers})
                assert response.status_code == status, headers


async def test_a_token_is_needed_where_one_is_set():
    with serve(SANE_MCP_TOKEN=TOKEN) as url:
        async with httpx2.AsyncClient() as http:
            for value in ("", "Bearer wrong", TOKEN, f"bearer {TOKEN}x"):
                response = await http.post(url, json=HELLO, headers={**ACCEPT, "authorization": value})
                assert response.status_code == 401, value
                assert TOKEN not in response.text
        authorised = httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"})
        async with authorised, Client(streamable_http_client(url, http_client=authorised)) as client:
            assert (await answer_of(client, "run_command", target="local:", command="echo in"))["output"] == "in\n"


async def test_the_scheme_of_a_token_is_read_in_any_case():
    with serve(SANE_MCP_TOKEN=TOKEN) as url:
        async with httpx2.AsyncClient() as http:
            for scheme in ("bearer", "Bearer", "BEARER"):
                response = await http.post(url, json=HELLO, headers={**ACCEPT, "authorization": f"{scheme} {TOKEN}"})
                assert response.status_code == 200, scheme


async def test_silent_strangers_keep_nobody_out():
    said: list[bytes] = []
    with serve(said, SANE_MCP_TOKEN=TOKEN) as url:
        host, port = httpx2.URL(url).host, httpx2.URL(url).port
        strangers = [await asyncio.open_connection(host, port) for _ in range(300)]
        strangers[1][1].write(b"POST /mcp HTTP/1.1\r\nHost: x\r\n")
        async with httpx2.AsyncClient() as http:
            response = await http.post(url, json=HELLO, headers={**ACCEPT, "authorization": f"Bearer {TOKEN}"})
            assert response.status_code == 200
        for _, writer in strangers:
            writer.close()
        # One of them is let in, and goes away within a body.
        _, writer = await asyncio.open_connection(host, port)
        head = f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx2.AsyncClient() as http:  # and the server has seen it
            assert (await http.post(url, json=HELLO)).status_code == 401
    assert b"Traceback" not in said[0]


async def test_a_session_that_nobody_uses_makes_room_for_another_and_a_running_call_keeps_its_own(tmp_path: Path):
    with serve() as url:
        async with httpx2.AsyncClient() as http:

            async def open_session() -> dict[str, str]:
                response = await http.post(url, json=HELLO, headers=ACCEPT)
                assert response.status_code == 200, response.text
                named = {**ACCEPT, "mcp-session-id": response.headers["mcp-session-id"]}
                begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
                await http.post(url, json=begun, headers=named)
                return named

            async def ping(session: dict[str, str]) -> int:
                body = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
                return (await http.post(url, json=body, headers=session)).status_code

            busy = await open_session()
            arguments = {"target": "local:", "command": writes_pid(tmp_path / "pid")}
            params = {"name": "run_command", "arguments": arguments}
            call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
            gone = asyncio.create_task(http.post(url, json=call, headers=busy, timeout=60))
            pid = await pid_in(tmp_path / "pid")
            gone.cancel()  # its client goes away, which is no cancellation
            idle = await open_session()
            others = [await open_session() for _ in range(63)]
            assert [await ping(session) for session in (busy, idle, others[0], others[-1])] == [200, 404, 200, 200]
            assert is_running(pid)


async def test_half_a_character_is_refused_with_the_id_of_its_request():
    with serve() as url:
        body = rb'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x","arguments":{"a":"\ud800"}}}'
        async with httpx2.AsyncClient() as http:
            response = await http.post(url, content=body, headers={**ACCEPT, "content-type": "application/json"})
        assert response.status_code == 400
        answer = response.json()
        assert (answer["id"], answer["error"]["data"]["code"]) == (5, "usage")


@pytest.mark.parametrize("address", ["1.1.1.1:²", "127.0.0.1:٣", "x:-1", ":80", "127.0.0.1"])
def test_what_is_no_address_is_told(address: str):
    argv = [str(ROOT / "bin" / "sane"), "mcp", "--http", address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "is not HOST:PORT" in done.stderr


def test_every_address_of_this_machine_alone_needs_no_token():
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
    argv = [str(ROOT / "bin" / "sane"), "mcp", "--http", "127.0.0.2:0"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    assert url.startswith("http://127.0.0.2:"), url
    assert httpx2.post(url, json=HELLO, headers=ACCEPT).status_code == 200
    assert httpx2.post(url, json=HELLO, headers={**ACCEPT, "host": "attacker.example"}).status_code == 421
    process.terminate()
    process.communicate(timeout=10)

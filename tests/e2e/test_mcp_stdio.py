"""`sane mcp` over stdio, as agents start it: the official client, a real SSH host, and every way a session can end."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.e2e.lab import TestLab, lab
from tests.e2e.mcp_fixtures import ROOT, answer_of, assert_ends, pid_in, stdio_server, tmux_here, writes_pid
from tests.e2e.pane_fixtures import Tmux
from tests.processes import is_running

__all__ = ["lab", "tmux_here"]
pytestmark = pytest.mark.e2e


async def test_a_call_on_an_ssh_host_is_answered_and_ends_with_its_cancellation(
    lab: Callable[..., TestLab], tmp_path: Path
):
    hosts = lab(1)
    async with Client(stdio_server("--access", "write", "--inventory", str(hosts.inventory))) as client:
        listed = json.loads((await client.read_resource("sane://hosts")).contents[0].text)
        assert [host["target"] for host in listed] == ["ssh:server1"]
        answer = await answer_of(client, "run_command", target="ssh:server1", command="echo there")
        assert answer["output"] == "there\n"
        command = writes_pid(tmp_path / "pid")
        call = asyncio.create_task(client.call_tool("run_command", {"target": "ssh:server1", "command": command}))
        pid = await pid_in(tmp_path / "pid")
        call.cancel()
        await assert_ends(pid, 5)
        assert (await answer_of(client, "run_command", target="ssh:server1", command="echo again"))["exit_code"] == 0


@pytest.mark.parametrize("end", ["eof", "TERM", "HUP"])
async def test_the_end_of_the_server_ends_what_it_runs_within_8_s(tmux_here: Tmux, tmp_path: Path, end: str):
    pane = tmux_here.new()
    parameters = stdio_server("--access", "write")
    process = subprocess.Popen(
        [parameters.command, *parameters.args],
        env=parameters.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    arguments = {"target": pane, "command": writes_pid(tmp_path / "pid")}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    for message in [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "run_command", "arguments": arguments}},
    ]:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
    pid = await pid_in(tmp_path / "pid")
    if end == "eof":
        process.stdin.close()
    else:
        process.send_signal(getattr(signal, f"SIG{end}"))
    await assert_ends(pid, 4)
    await assert_ends(process.pid, 4)
    assert process.wait(timeout=1) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    tmux_here.wait_for(pane, "$" if "$" in tmux_here.screen(pane) else "#")
    assert not is_running(pid)


def test_what_is_no_message_is_answered(tmp_path: Path):
    lines = [
        b"{not json",
        b"[]",
        b"",
        b"   ",
        b"42",
        b'{"jsonrpc": "2.0", "id": 5}',
        b'{"jsonrpc": "1.0", "id": "a", "method": "ping"}',
    ]
    too_long = b'{"jsonrpc": "2.0", "id": 6, "method": "ping", "params": {"x": "' + b"x" * (33 << 20) + b'"}}'
    hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    first = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode()
    last = b'{"jsonrpc": "2.0", "id": 7, "method": "ping"}'
    parameters = stdio_server()
    process = subprocess.Popen(
        [parameters.command, *parameters.args], env=parameters.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n".join([first, *lines, too_long, last, b""]))
    process.stdin.flush()
    answers = [json.loads(process.stdout.readline()) for _ in range(8)]
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    process.stdout.close()
    told = [(answer["id"], answer.get("error", {}).get("code")) for answer in answers]
    assert sorted(told, key=str) == sorted(
        [
            (1, None),
            (None, -32700),
            (None, -32600),
            (None, -32600),
            (5, -32600),
            ("a", -32600),
            (None, -32700),
            (7, None),
        ],
        key=str,
    )
    assert any("batches" in answer["error"]["message"] for answer in answers if "error" in answer)


def answers_to(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return what a server answers to each of these lines, then to a ping with the id "last"."""
    parameters = stdio_server("--access", "write")
    last = b'{"jsonrpc": "2.0", "id": "last", "method": "ping"}\n'
    argv = [parameters.command, *parameters.args]
    process = subprocess.Popen(argv, env=parameters.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n".join([*lines, last]))
    process.stdin.flush()
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["id"] != "last":
        answers.append(json.loads(process.stdout.readline()))
    process.communicate(timeout=20)
    return answers


REFUSED = [
    (
        rb'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x","arguments":{"a":"\ud800"}}}',
        5,
        -32602,
        "ud800",
    ),
    (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":[1]}', 5, -32602, "params must be an object"),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, -32600, "id must be"),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600, "id must be"),
    (b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', None, -32600, "id must be"),
    (b'{"jsonrpc":"2.0","id":"a","method":7}', "a", -32600, "method"),
    (b'{"id":"a","method":"ping"}', "a", -32600, "jsonrpc"),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None, -32600, "batches"),
    (b"[" * 100_000, None, -32700, "nested too deeply"),
    (b"{,}", None, -32700, "no JSON: Expecting"),
    (b'"' + b"x" * (33 << 20) + b'"', None, -32700, "longer than"),
    (b'{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"x"}}', 6, -32602, "send initialize first"),
]


def test_a_refusal_has_the_id_and_names_the_fault():
    *answers, last = answers_to([line for line, *_ in REFUSED])
    assert last == {"jsonrpc": "2.0", "id": "last", "result": {}}
    for (line, asked, code, fault), answer in zip(REFUSED, answers, strict=True):
        assert (answer["id"], answer["error"]["code"]) == (asked, code), line[:100]
        assert fault in answer["error"]["message"]
        if "ud800" in fault:
            assert (answer["error"]["data"]["code"], answer["error"]["data"]["retryable"]) == ("usage", False)


def test_wrong_parameters_are_named():
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "run_command", "arguments": [1]}}
    for answer in answers_to([json.dumps(message).encode() for message in (first, begun, call)])[1:-1]:
        assert (answer["id"], answer["error"]["code"]) == (2, -32602)
        assert "arguments: " in answer["error"]["message"]


def test_an_empty_input_ends_the_server(tmp_path: Path):
    (tmp_path / "empty").touch()
    for name in ("/dev/null", str(tmp_path / "empty")):
        with open(name) as stdin:
            done = subprocess.run([str(ROOT / "bin" / "sane"), "mcp"], stdin=stdin, capture_output=True, timeout=20)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), name


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--inventory", "no/such/none.yaml"], "none.yaml"),
        (["--http", "0.0.0.0:0"], "SANE_MCP_TOKEN"),
        (["--http", "8765"], "127.0.0.1:8765"),
        (["--access", "all"], "admin"),
        (["--limit", "0"], "200"),
        (["--tools", "run_comand"], "run_command"),
        (["--tools", "run_command"], "--access write"),
    ],
)
def test_the_server_says_why_it_can_not_start(arguments: list[str], text: str):
    done = subprocess.run(
        [str(ROOT / "bin" / "sane"), "mcp", *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert done.stdout == ""


def test_a_person_at_a_terminal_is_told_what_this_is():
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [str(ROOT / "bin" / "sane"), "mcp"], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(its)
    assert process.stderr is not None
    assert b"agent" in process.stderr.readline()
    os.write(ours, b"\x04")
    said = process.communicate(timeout=20)
    os.close(ours)
    assert (process.returncode, said) == (0, (b"", b""))


AGENT = """
import asyncio, json, os, sys
from mcp import Client, StdioServerParameters

async def main(sane, folder, calls, answers):
    # The environment is what the SDK passes by itself, and the place of the test's tmux: no TMUX_PANE.
    parameters = StdioServerParameters(command=sane, args=["mcp", "--access", "write"], env={"TMUX_TMPDIR": folder})
    told = []
    async with Client(parameters) as client:
        for name, arguments in json.loads(calls):
            told.append((await client.call_tool(name, arguments)).structured_content)
    with open(answers + ".new", "w") as file:
        json.dump(told, file)
    os.rename(answers + ".new", answers)

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_own_pane_is_known_where_the_client_does_not_name_it(tmux_here: Tmux, tmp_path: Path):
    session, other = tmux_here.new(), tmux_here.new()
    own = tmux_here.call("display-message", "-p", "-t", session, "#{pane_id}").strip()
    calls = [
        ("list_targets", {}),
        ("send_keys", {"target": session, "keys": ["C-c"]}),
        ("run_command", {"target": session, "command": "true"}),
        ("run_command", {"target": "local:", "command": f"tmux kill-pane -t {own}"}),
        ("run_command", {"target": other, "command": "echo fine"}),
    ]
    (tmp_path / "agent.py").write_text(AGENT)
    words = [sys.executable, str(tmp_path / "agent.py"), str(ROOT / "bin" / "sane"), os.environ["TMUX_TMPDIR"]]
    tmux_here.type(session, shlex.join([*words, json.dumps(calls), str(tmp_path / "answers")]) + "\r")
    until = time.monotonic() + 20
    while not (tmp_path / "answers").exists():
        assert time.monotonic() < until, tmux_here.screen(session)
        time.sleep(0.02)
    listed, *refused, fine = json.loads((tmp_path / "answers").read_text())
    assert [pane.get("own") for pane in listed["panes"]] == [True, None]
    assert [answer.get("code") for answer in refused] == ["access"] * 3, refused
    assert fine["output"] == "fine\n"

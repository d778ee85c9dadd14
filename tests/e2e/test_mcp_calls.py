"""Calls of the MCP server's tools on real panes, through the official client in this process."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import MCPError

from sane.verbs.registry import VERB_NAMES
from tests.e2e.lab import TestLab, lab
from tests.e2e.mcp_fixtures import (
    answer_of,
    assert_ends,
    connect_in_process,
    pid_in,
    tmux_here,
    writes_pid,
)
from tests.e2e.pane_fixtures import Tmux
from tests.processes import is_running

__all__ = ["lab", "tmux_here"]
pytestmark = pytest.mark.e2e


async def test_answers_are_what_the_schemas_say(tmux_here: Tmux, tmp_path: Path):
    pane, file = tmux_here.new(), str(tmp_path / "file")
    place = {"target": pane, "path": file}
    release = {"target": "local:", "root": str(tmp_path / "app")}
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "x").write_text("x")
    log = {"log_file": str(tmp_path / "log")}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_panes", {"session": pane}),  # its pane has no label yet
        ("list_windows", {"session": pane}),
        ("capture_pane", {"target": pane, "lines": 100}),
        ("list_targets", {}),
        ("run_command", {"target": pane, "command": "seq 1 3000; printf '\\377'; false"}),
        ("run_command", {"target": "local:", "command": "echo out; echo err >&2"}),
        ("run_command", {"target": pane, "command": "echo 'open"}),
        ("check_pane_health", {"target": pane, "all": True}),
        ("create_file", {**place, "content": "x"}),
        ("edit_file", {**place, "operation": "replace", "what": ["x", "y"], "backup": False}),
        ("read_file", place),
        ("checksum_file", place),
        ("detect_mode", {"target": pane}),
        ("detect_platform", {"target": pane}),
        ("detect_ssh", {"target": pane}),
        ("get_tool", {"name": "grep"}),
        ("wait_ready", {"target": pane}),
        ("setup_prompt", {"target": pane}),
        ("label_pane", {"target": pane, "label": "build"}),
        ("get_label", {"target": pane}),
        ("context_database", {"operation": "create", "target": pane}),
        ("context_database", {"operation": "list"}),
        ("split_pane", {"target": pane}),
        ("send_keys", {"target": pane, "keys": ["C-l"]}),
        ("validate_bash", {"text": "for x"}),
        ("validate_json", {"text": "{"}),
        ("validate_yaml", {"text": "a: ["}),
        ("validate_python", {"text": "def"}),
        ("validate_with_ai", {"kind": "bash", "text": "if"}),
        ("log_operation", {"event": "x", **log}),
        ("friction_analysis", log),
        ("push_bundle", {**release, "source": str(tmp_path / "dist"), "release": "1"}),
        ("activate_release", {**release, "release": "1"}),
        ("transfer_to_workstation", {"target": "local:", "path": file, "to": file + ".here"}),
        ("transfer_from_workstation", {"target": "local:", "code": file, "path": file + ".there"}),
    ]
    async with connect_in_process("admin", limit_chars=500) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {name for name, _ in calls} | {"read_output"} == tools.keys()
        for name, arguments in [
            *calls,
            *((name, {}) for name in tools),
            *((name, {"target": "%99"}) for name in tools),
        ]:
            result = await client.call_tool(name, arguments)  # the client refuses an answer of another shape
            jsonschema.validate(result.structured_content, tools[name].output_schema)
        answer = await answer_of(client, "run_command", target=pane, command="seq 1 3000")
        page = await answer_of(client, "read_output", cursor=answer["output_page"]["cursor"])
        jsonschema.validate(page, tools["read_output"].output_schema)


async def test_where_commands_can_run_is_listed(tmux_here: Tmux, monkeypatch: pytest.MonkeyPatch):
    async with connect_in_process("read") as client:
        assert await answer_of(client, "list_targets") == {"panes": [], "hosts": []}
        panes = [tmux_here.new(), tmux_here.new()]
        own = tmux_here.call("display-message", "-p", "-t", panes[1], "#{pane_id}").strip()
        monkeypatch.setenv("TMUX_PANE", own)
        listed = (await answer_of(client, "list_targets"))["panes"]
        assert [pane["target"] for pane in listed] == [f"{name}:0.0" for name in panes]
        refused = await answer_of(client, "list_targets", host="127.0.0.1:1")
        assert refused["code"] == "unreachable"
    async with connect_in_process("read") as client:
        listed = (await answer_of(client, "list_targets"))["panes"]
        assert [pane.get("own") for pane in listed] == [None, True]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_verb_is_listed_and_a_command_runs_in_a_pane(tmux_here: Tmux, mode: str):
    pane = tmux_here.new()
    async with connect_in_process("admin", mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {name.replace("-", "_") for name in VERB_NAMES} | {"list_targets", "read_output"}
        answer = await answer_of(client, "run_command", target=pane, command="echo out; echo err >&2; (exit 3)")
        assert (answer["output"], answer["exit_code"]) == ("out\nerr\n", 3)


async def test_the_read_tier_lists_no_tool_that_writes_and_refuses_one(tmux_here: Tmux):
    async with connect_in_process("read") as client:
        assert all(tool.annotations.read_only_hint for tool in (await client.list_tools()).tools)
        result = await client.call_tool("run_command", {"target": "local:", "command": "true"})
        assert result.is_error
        assert result.structured_content["code"] == "access"


async def test_only_the_tools_that_were_chosen_are_offered(tmux_here: Tmux):
    async with connect_in_process("write", names=["run_command", "read_file"]) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == {"run_command", "read_file", "list_targets", "read_output"}
        assert (await answer_of(client, "run_command", target="local:", command="echo in"))["output"] == "in\n"
        assert (await answer_of(client, "send_keys", target="x", keys=["y"]))["code"] == "access"


async def test_errors_are_answers_with_code_and_hint(tmux_here: Tmux):
    pane = tmux_here.new()
    async with connect_in_process() as client:
        for name, arguments, code, hint in [
            ("run_comand", {}, "not_found", "run_command"),
            ("run_command", {"target": pane, "comand": "true"}, "usage", "'command'"),
            ("run_command", {"target": pane}, "usage", "command"),
            ("run_command", {"target": "nowhere", "command": "true"}, "not_found", pane),
            ("run_command", {"target": pane, "command": "true", "timeout_s": "soon"}, "usage", ""),
            ("read_file", {"target": "local:", "path": "/no/such/file"}, "not_found", ""),
            ("read_output", {"cursor": "0123"}, "not_found", ""),
        ]:
            result = await client.call_tool(name, arguments)
            assert result.is_error, name
            assert result.structured_content["code"] == code, result.structured_content
            assert hint in result.structured_content["hint"]
            assert json.loads(result.content[0].text) == result.structured_content
        result = await client.call_tool("run_command", {"target": pane, "command": "echo 'open"})
        assert result.is_error
        assert "nothing was sent" in result.structured_content["error"]
        assert (result.structured_content["code"], result.structured_content["retryable"]) == ("usage", False)


async def test_that_a_text_is_not_valid_is_an_answer_and_no_error(tmux_here: Tmux):
    async with connect_in_process("read") as client:
        for name, text in [("validate_json", "{"), ("validate_yaml", "a: ["), ("validate_bash", "for x")]:
            result = await client.call_tool(name, {"text": text})
            assert (result.is_error, result.structured_content["valid"]) == (False, False), name
            assert "code" not in result.structured_content


async def test_every_error_is_typed_and_so_is_what_is_listed(tmux_here: Tmux):
    async with connect_in_process() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        answer = await answer_of(client, "run_command", target="ssh:127.0.0.1:1", command="true")
        assert answer["code"] == "unreachable"
        for name, tool in tools.items():
            assert answer.keys() <= tool.output_schema["properties"].keys(), name
        tmux_here.new()
        listed = await answer_of(client, "list_targets")
        items = tools["list_targets"].output_schema["properties"]["panes"]["items"]
        assert listed["panes"][0].keys() <= items["properties"].keys()


async def test_a_command_that_ends_its_pane_is_answered_with_a_code(tmux_here: Tmux):
    pane = tmux_here.new()
    async with connect_in_process() as client:
        answer = await answer_of(client, "run_command", target=pane, command="kill -9 $$")
        assert (answer["pane_gone"], answer["code"], answer["retryable"]) == (True, "lost", False)


async def test_a_long_output_is_cut_and_can_be_read_to_its_end(tmux_here: Tmux):
    pane = tmux_here.new()
    async with connect_in_process(limit_chars=1000) as client:
        answer = await answer_of(client, "run_command", target=pane, command="seq 1 5000")
        assert len(answer["output"]) < 1100
        assert answer["output"].startswith("1\n2\n")
        assert answer["output"].endswith("\n5000\n")
        cursor, read, offset = answer["output_page"]["cursor"], "", 0
        while offset is not None:
            page = await answer_of(client, "read_output", cursor=cursor, offset=offset, limit=9000)
            read, offset = read + page["text"], page.get("next_offset")
        assert read == "".join(f"{n}\n" for n in range(1, 5001))


async def test_a_screen_can_be_read_by_the_tier_that_only_reads_also_of_the_own_pane(
    tmux_here: Tmux, monkeypatch: pytest.MonkeyPatch
):
    pane = tmux_here.new()
    own = tmux_here.call("display-message", "-p", "-t", pane, "#{pane_id}").strip()
    monkeypatch.setenv("TMUX_PANE", own)
    tmux_here.type(pane, "echo on the screen\r")
    tmux_here.wait_for(pane, "\non the screen")
    async with connect_in_process("read") as client:
        answer = await answer_of(client, "capture_pane", target=pane, lines=50)
        assert "\non the screen\n" in answer["content"]
        assert answer["size"] == {"width": 80, "height": 24}


async def test_a_long_run_reports_progress(tmux_here: Tmux):
    pane = tmux_here.new()
    seen: list[tuple[float, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message or ""))

    async with connect_in_process() as client:
        arguments = {"target": pane, "command": "sleep 2.3"}
        await client.call_tool("run_command", arguments, progress_callback=on_progress)
    assert len(seen) == 2
    assert seen[0][0] < seen[1][0]
    assert "run-command" in seen[0][1]


@pytest.mark.parametrize("where", ["pane", "local:"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_cancelling_a_call_ends_the_command_within_3_s(tmux_here: Tmux, tmp_path: Path, where: str, mode: str):
    target = tmux_here.new() if where == "pane" else where
    async with connect_in_process(mode=mode) as client:
        arguments = {"target": target, "command": writes_pid(tmp_path / "pid")}
        call = asyncio.create_task(client.call_tool("run_command", arguments))
        pid = await pid_in(tmp_path / "pid")
        assert is_running(pid)
        call.cancel()
        await asyncio.wait({call}, timeout=3)
        assert call.cancelled()
        await assert_ends(pid, 3)
        assert (await answer_of(client, "run_command", target=target, command="echo again"))["output"] == "again\n"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_command_that_ignores_ctrl_c_is_ended_too(tmux_here: Tmux, tmp_path: Path, mode: str):
    pane, path = tmux_here.new(), tmp_path / "pid"
    command = f"sh -c 'trap : INT; echo $$ > {path}.new; mv {path}.new {path}; while :; do sleep 1; done'"
    async with connect_in_process(mode=mode) as client:
        call = asyncio.create_task(client.call_tool("run_command", {"target": pane, "command": command}))
        pid = await pid_in(path)
        call.cancel()
        await assert_ends(pid, 10)
        assert (await answer_of(client, "run_command", target=pane, command="echo again"))["output"] == "again\n"


async def test_a_call_cancelled_at_any_moment_leaves_nothing_to_the_next(tmux_here: Tmux):
    pane = tmux_here.new()
    async with connect_in_process() as client:
        await answer_of(client, "run_command", target=pane, command="true")
        for number in range(25):
            arguments = {"target": pane, "command": "echo cancelled"}
            call = asyncio.create_task(client.call_tool("run_command", arguments))
            await asyncio.sleep(number * 0.0004)  # a call takes 6 ms: each step of it is cut once
            call.cancel()
            await asyncio.wait({call}, timeout=5)
            answer = await answer_of(client, "run_command", target=pane, command=f"echo {number}")
            assert (answer.get("output"), answer.get("exit_code")) == (f"{number}\n", 0), answer


async def test_panes_run_side_by_side_and_one_pane_takes_turns(tmux_here: Tmux, tmp_path: Path):
    one, other = tmux_here.new(), tmux_here.new()
    meet = f"touch {tmp_path}/$0; until [ -e {tmp_path}/$1 ]; do sleep 0.01; done"
    log = tmp_path / "log"
    turn = f"echo + >> {log}; sleep 0.1; echo - >> {log}; echo $0"
    async with connect_in_process() as client:

        def run(pane: str, script: str, *words: str):
            return answer_of(client, "run_command", target=pane, command=f"sh -c '{script}' {' '.join(words)}")

        both = await asyncio.gather(run(one, meet, "a", "b"), run(other, meet, "b", "a"))  # each waits for the other
        assert [answer["exit_code"] for answer in both] == [0, 0]
        answers = await asyncio.gather(*(run(one, turn, str(n)) for n in range(4)))
        assert [answer["output"] for answer in answers] == [f"{n}\n" for n in range(4)]
        assert log.read_text() == "+\n-\n" * 4


async def test_a_name_means_the_pane_that_has_it_now(tmux_here: Tmux):
    pane = tmux_here.new()
    async with connect_in_process() as client:
        first = await answer_of(client, "run_command", target=f"{pane}:0", command="echo $TMUX_PANE")
        tmux_here.call("new-window", "-d", "-t", f"{pane}:5", "bash --norc")
        tmux_here.call("kill-window", "-t", f"{pane}:0")
        tmux_here.call("move-window", "-s", f"{pane}:5", "-t", f"{pane}:0")
        second = await answer_of(client, "run_command", target=f"{pane}:0", command="echo $TMUX_PANE")
        assert second["exit_code"] == 0
        assert first["output"] != second["output"]
        tmux_here.kill()
        gone = await answer_of(client, "run_command", target=f"{pane}:0", command="true")
        assert gone["code"] == "not_found"
        name = tmux_here.new()  # the new server gives the old pane's id again
        third = await answer_of(client, "run_command", target=name, command="echo new")
        assert third["output"] == "new\n"


async def test_an_idle_client_of_a_loud_session_detaches(tmux_here: Tmux, tmp_path: Path):
    pane, done = tmux_here.new(), tmp_path / "done"
    async with connect_in_process() as client:
        await client.call_tool("run_command", {"target": pane, "command": "true"})
        assert tmux_here.call("list-clients").count("control-mode") == 1
        tmux_here.type(pane, f"seq 1 400000; touch {done}\r")  # 2.7 MB, with the client attached and idle
        until = time.monotonic() + 10
        while not done.exists():
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        while tmux_here.call("list-clients"):  # else tmux would keep what it does not read
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        answer = await answer_of(client, "run_command", target=pane, command="echo after")
        assert answer["output"] == "after\n"


async def test_nothing_is_typed_into_the_own_pane_by_any_of_its_names(
    tmux_here: Tmux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    session = tmux_here.new()
    other = tmux_here.call("split-window", "-d", "-t", session, "-P", "-F", "#{pane_id}", "bash --norc").strip()
    own = tmux_here.call("list-panes", "-t", session, "-F", "#{pane_id}").split()[0]
    monkeypatch.setenv("TMUX_PANE", own)
    before = tmux_here.wait_for(own, "bash")
    async with connect_in_process("admin") as client:
        for name in (own, session, f"{session}:0", f"{session}:0.0", f"{session}:{own}"):
            for tool, arguments in [
                ("run_command", {"command": "exit"}),
                ("send_keys", {"keys": ["C-d"]}),
                ("create_file", {"path": str(tmp_path / "x"), "content": "x"}),
                ("read_file", {"path": "/etc/hosts"}),
                ("setup_prompt", {}),
            ]:
                answer = await answer_of(client, tool, target=name, **arguments)
                assert answer.get("code") == "access", (tool, name, answer)
        assert tmux_here.screen(own) == before
        assert own in tmux_here.call("list-panes", "-t", session, "-F", "#{pane_id}")
        assert (await answer_of(client, "run_command", target=other, command="echo ok"))["output"] == "ok\n"
        assert "pane" in await answer_of(client, "split_pane", target=own)


async def test_a_command_that_would_end_the_own_pane_is_refused(tmux_here: Tmux, monkeypatch: pytest.MonkeyPatch):
    session, elsewhere = tmux_here.new(), tmux_here.new()
    own = tmux_here.call("display-message", "-p", "-t", session, "#{pane_id}").strip()
    other = tmux_here.call("split-window", "-d", "-t", session, "-P", "-F", "#{pane_id}", "bash --norc").strip()
    monkeypatch.setenv("TMUX_PANE", own)
    async with connect_in_process() as client:
        for target, command in [
            ("local:", "tmux kill-server"),
            ("local:", "tmux kill-pane"),  # of the pane that TMUX_PANE names
            ("local:", "tmux kill-pane -t $TMUX_PANE"),
            (other, f"tmux kill-pane -t {own}"),
            (other, "tmux kill-window"),  # the own pane is in it too
            (other, "true; tmux kill-pane -a"),
            (elsewhere, f"tmux kill-session -t {session}"),
            (elsewhere, f"tmux respawn-pane -k -t {session}:0.0"),
        ]:
            answer = await answer_of(client, "run_command", target=target, command=command)
            assert answer.get("code") == "access", (command, answer)
            assert "list_targets" in answer["hint"]
        answer = await answer_of(client, "send_keys", target=other, keys=["tmux kill-server", "Enter"])
        assert answer.get("code") == "access"
        assert {own, other} <= set(tmux_here.call("list-panes", "-s", "-t", session, "-F", "#{pane_id}").split())
        answer = await answer_of(client, "run_command", target="local:", command=f"tmux kill-pane -t {other}")
        assert answer["exit_code"] == 0
        assert tmux_here.call("list-panes", "-s", "-t", session, "-F", "#{pane_id}").split() == [own]
        answer = await answer_of(client, "run_command", target="local:", command=f"tmux kill-session -t {elsewhere}")
        assert answer["exit_code"] == 0


async def test_every_way_to_name_the_own_pane_is_seen_through(tmux_here: Tmux, monkeypatch: pytest.MonkeyPatch):
    session, elsewhere = tmux_here.new(), tmux_here.new()
    own = tmux_here.call("display-message", "-p", "-t", session, "#{pane_id}").strip()
    tmux_here.call("new-window", "-d", "-t", f"{session}:5", "bash --norc")
    socket = tmux_here.call("display-message", "-p", "-t", session, "#{socket_path}").strip()
    monkeypatch.setenv("TMUX_PANE", own)
    async with connect_in_process() as client:
        for command in [
            f"tmux kill-session -t ={session}",
            f"tmux kill-session -t ={session}:5",
            f"tmux kill-ses -t {session}",
            f"tmux ls \\; kill-session -t {session}",
            f"tmux 'kill-session' -t {session}",
            f"tmux -L default kill-session -t {session}",
            f"tmux -S {socket} kill-session -t {session}",
            f"tmux new-window -k -t {session}:0",
            f"tmux unlink-window -k -t {session}:0",
            f"tmux link-window -k -s {elsewhere}:0 -t {session}:0",
            f"tmux move-window -k -s {elsewhere}:0 -t {session}:0",
            f"tmux kill-window -a -t {session}:5",
            f"tmux send-keys -t {session}:0 C-d",
            f"tmux pipe-pane -I -t {session}:0 'echo touch x'",
            "tmux \\\n kill-server",
            "t\\mux kill-server",
            't"mu"x kill-server',
            "for s in a b; do tmux kill-session -t $s; done",
        ]:
            for target in ("local:", elsewhere):
                answer = await answer_of(client, "run_command", target=target, command=command)
                assert answer.get("code") == "access", (command, answer)
        answer = await answer_of(client, "send_keys", target=elsewhere, keys=["tmux kill-", "server"])
        assert answer.get("code") == "access"
        for command in [
            "echo 'never run tmux kill-server'",
            f"echo tmux kill-pane -t {own}",
            f"tmux new-window -k -d -t {session}:5 'bash --norc'",
            "tmux kill-window -a",  # of the session that the command runs in
            f"tmux kill-window -t {session}:5",
        ]:
            answer = await answer_of(client, "run_command", target=elsewhere, command=command)
            assert answer.get("exit_code") == 0, (command, answer)
    assert tmux_here.call("list-panes", "-s", "-t", session, "-F", "#{pane_id}").split() == [own]


async def test_a_pane_that_is_in_another_host_may_end_the_tmux_there(
    tmux_here: Tmux, lab: Callable[..., TestLab], monkeypatch: pytest.MonkeyPatch
):
    hosts, session = lab(1), tmux_here.new()
    own = tmux_here.call("display-message", "-p", "-t", session, "#{pane_id}").strip()
    ssh = shlex.join(hosts.ssh("server1", "-tt"))
    other = tmux_here.call("split-window", "-d", "-t", session, "-P", "-F", "#{pane_id}", ssh).strip()
    monkeypatch.setenv("TMUX_PANE", own)
    async with connect_in_process() as client:
        assert (await answer_of(client, "wait_ready", target=other))["ready"]
        command = "tmux() { echo there: $*; }; tmux kill-server"
        answer = await answer_of(client, "run_command", target=other, command=command)
        assert answer.get("output") == "there: kill-server\n", answer


async def test_panes_and_hosts_are_resources(tmux_here: Tmux):
    pane = tmux_here.new()
    tmux_here.type(pane, "echo on the screen\r")
    tmux_here.wait_for(pane, "\non the screen")
    ssh = Path(os.environ["HOME"]) / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text("Host web1 web2\n  Port 22\nHost *\n")
    async with connect_in_process("read") as client:
        listed = (await client.list_resources()).resources
        assert [str(r.uri) for r in listed] == ["sane://panes", "sane://hosts", "sane://panes/0"]
        panes = json.loads((await client.read_resource("sane://panes")).contents[0].text)
        assert panes[0]["target"] == f"{pane}:0.0"
        assert panes[0]["command"] == "bash"
        hosts = json.loads((await client.read_resource("sane://hosts")).contents[0].text)
        assert [host["target"] for host in hosts] == ["ssh:web1", "ssh:web2"]
        screen = (await client.read_resource("sane://panes/0")).contents[0].text
        for written in ("%0", "%250"):  # the id as list_targets says it, and as a client fills it into the template
            again = (await client.read_resource(f"sane://panes/{written}")).contents[0]
            assert (again.text, str(again.uri)) == (screen, f"sane://panes/{written}")
        assert "\non the screen\n" in screen
        with pytest.raises(MCPError, match="does not exist"):
            await client.read_resource("sane://panes/99")

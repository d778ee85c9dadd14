"""`sane tools --call`, for agents that speak no MCP: what MCP guards and cuts is guarded and cut here too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sane.surfaces.tool_schemas import FORMATS, tool_schemas
from tests.e2e.mcp_fixtures import assert_ends, pid_in, tmux_here
from tests.e2e.pane_fixtures import Tmux

__all__ = ["tmux_here"]

ROOT = Path(__file__).parents[3]
TOOLS = [sys.executable, "-m", "sane.surfaces.cli.main", "tools"]
IGNORES_TERM = "trap '' TERM; echo $$ >{0}.new; mv {0}.new {0}; for i in $(seq 600); do sleep 0.1; done"


def call(name: str, arguments: object, *options: str, **environ: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the one JSON object that a call of a tool prints."""
    done = subprocess.run(
        [*TOOLS, *options, "--call", name, json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_host_of_agents_that_ends_a_call_ends_its_command(tmp_path: Path, number: signal.Signals):
    """Also one that takes no notice of SIGTERM, which the kernel sends for us in any case."""
    arguments = json.dumps({"target": "local:", "command": IGNORES_TERM.format(tmp_path / "pid")})
    argv = [*TOOLS, "--access", "write", "--call", "run_command", arguments]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    pid = await pid_in(tmp_path / "pid", 30)
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    await assert_ends(pid, 5)
    assert (running.returncode, json.loads(out)["code"], err) == (128 + number, "interrupted", "")


def test_the_own_pane_is_not_ended_nor_typed_into(tmux_here: Tmux):
    tmux_here.new()
    pane = tmux_here.call("list-panes", "-a", "-F", "#{pane_id}").strip()
    for target, command in (("local:", f"tmux kill-pane -t {pane}"), (pane, "true")):
        arguments = {"target": target, "command": command}
        status, answer = call("run_command", arguments, "--access", "write", TMUX_PANE=pane)
        assert (status, answer["code"]) == (2, "access")
    assert tmux_here.call("list-panes", "-a", "-F", "#{pane_id}").strip() == pane


def test_a_long_answer_is_cut_to_its_head_and_tail():
    arguments = {"target": "local:", "command": "echo first; seq 100000; echo last"}
    for options, limit in (((), 16_000), (("--limit", "1000"), 1000)):
        _, answer = call("run_command", arguments, "--access", "write", *options)
        assert answer["output"].startswith("first\n1\n")
        assert answer["output"].endswith("\n100000\nlast\n")
        assert len(answer["output"]) < limit + 100
        assert answer["output_page"] == {"total_chars": 588_906}  # and no cursor: nothing is kept to read on in
    whole = [*TOOLS, "--access", "write", "--query", "length(output)", "--call", "run_command", json.dumps(arguments)]
    assert subprocess.run(whole, capture_output=True, cwd=ROOT, timeout=60, check=True).stdout == b"588906\n"


def test_where_commands_can_run_is_listed(tmux_here: Tmux):
    tmux_here.new()
    pane = tmux_here.call("list-panes", "-a", "-F", "#{pane_id}").strip()
    status, answer = call("list_targets", {}, TMUX_PANE=pane)
    assert (status, [(p["id"], p["own"]) for p in answer["panes"]], answer["hosts"]) == (0, [(pane, True)], [])
    assert call("list_targets", {"hots": "x"})[1]["hint"] == "Did you mean 'host'?"
    assert call("list_target", {})[1]["hint"] == "Did you mean 'list_targets'?"
    for tools_format in FORMATS:
        assert "list_targets" in json.dumps(tool_schemas(tools_format, "read")[-1])


def test_what_is_not_given_is_read():
    assert call("run_command", {"target": "local:", "command": "true"})[1]["code"] == "access"
    printed = subprocess.run(TOOLS, capture_output=True, cwd=ROOT, timeout=60, check=True).stdout
    assert {tool["access"] for tool in json.loads(printed)} == {"read"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("create_file", {"target": "local:", "path": "/nonexistent/x", "content": "\ud800"}),
        ("send_keys", {"target": "%0", "keys": ["\udfff"]}),
        ("label_pane", {"target": "%0", "label": "\ud800"}),
        ("validate_json", {"text": "\ud800"}),
        ("validate_json", {"\ud800": ""}),
    ],
)
def test_half_of_a_surrogate_pair_is_an_error_like_any_other(name: str, arguments: object):
    status, answer = call(name, arguments, "--access", "write")
    assert (status, answer["code"]) == (2, "usage")
    assert "surrogate" in answer["error"]


def test_arguments_that_are_no_json_are_told_so():
    for given in (b"\xff", b"[" * 100_000, b'{"a": '):
        argv = [*TOOLS, "--call", "validate_json"]
        done = subprocess.run(argv, input=given, capture_output=True, cwd=ROOT, timeout=60, check=False)
        assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (2, "usage", b"")

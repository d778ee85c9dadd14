"""`--output` and `--query` of the commands that people call for what they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BOUND_S = 20


def sane(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sane.surfaces.cli.main", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=BOUND_S, check=False)


def test_a_credential_is_data() -> None:
    added = json.loads(sane("server", "credential", "add", "ci", "--scope", "deploy", "--output", "json").stdout)
    assert (added["name"], added["kind"], added["scopes"]) == ("ci", "token", ["deploy"])
    assert len(added["token"]) > 30
    token = sane("server", "credential", "add", "other", "--query", "token").stdout
    assert len(json.loads(token)) > 30
    assert json.loads(sane("server", "credential", "list", "--query", "[].name").stdout) == ["ci", "other"]
    removed = sane("server", "credential", "remove", "ci", "--output", "ndjson")
    assert json.loads(removed.stdout) == {"name": "ci", "removed": True}
    assert sane("server", "credential", "remove", "other").stdout == ""


def test_the_tools_are_a_table_or_a_part_of_their_schemas() -> None:
    header, *rows = sane("tools", "--output", "table", "--access", "read").stdout.splitlines()
    assert header.split() == ["TOOL", "ACCESS", "SUMMARY"]
    assert {row.split()[1] for row in rows} == {"read"}
    names = json.loads(sane("tools", "--access", "read", "--query", "[].name").stdout)
    assert names == [row.split()[0] for row in rows]
    lines = sane("tools", "--access", "read", "--output", "ndjson").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == names


def test_a_tool_that_is_called_answers_the_part_that_is_asked_for() -> None:
    call = ("tools", "--call", "validate_json", '{"text": "{}"}')
    assert json.loads(sane(*call).stdout)["valid"] is True
    assert sane(*call, "--query", "valid").stdout == "true\n"
    refused = sane("tools", "--call", "validate_jsn", "{}", "--query", "valid")
    assert refused.returncode != 0
    assert json.loads(refused.stdout)["code"] == "not_found"


def test_an_agent_answers_the_part_that_is_asked_for() -> None:
    whole = json.loads(sane("agent", "ask", "what failed?", "--output", "json").stdout)
    assert json.loads(sane("agent", "ask", "what failed?", "--query", "answer").stdout) == whole["answer"]
    models = sane("agent", "ask", "what failed?", "--output", "ndjson", "--query", "model").stdout
    assert [json.loads(line) for line in models.splitlines()] == [whole["model"]]

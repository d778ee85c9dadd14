"""The program behind every sane-NAME, in process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.surfaces.cli import primitive
from sane.surfaces.cli.arguments import Arguments
from sane.surfaces.cli.primitive import main, render
from sane.verbs.registry import VERB_NAMES, answer_fields, load_verb

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Give back the signals that a program's start takes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(capfd: pytest.CaptureFixture[str], name: str, *words: str) -> tuple[int, str, str]:
    status = main(name, list(words))
    out, err = capfd.readouterr()
    return status, out, err


def test_answers_one_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "sane-detect-platform", "local:")
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out)["os"]


@pytest.mark.parametrize("name", VERB_NAMES)
def test_every_verb_has_help_with_an_example(capfd: pytest.CaptureFixture[str], name: str) -> None:
    status, out, err = run(capfd, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: sane-{name}")
    assert f"Example:\n  sane-{name}" in out


@pytest.mark.parametrize("name", VERB_NAMES)
def test_every_verb_says_what_it_answers(name: str) -> None:
    assert answer_fields(load_verb(name))


def test_usage_is_written_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, bytes]] = []
    monkeypatch.setattr(primitive.os, "write", lambda fd, data: written.append((fd, bytes(data))) or len(data))
    assert main("create-file", ["local:"]) == 1
    ((fd, text),) = written
    assert fd == 2
    assert text.startswith(b"Usage: sane-create-file TARGET PATH CONTENT [backup] ")
    assert text.endswith(b"\n")


@pytest.mark.parametrize("name", [n for n in VERB_NAMES if n not in primitive.USAGE_ON_STDOUT | {"friction-analysis"}])
def test_a_missing_argument_shows_usage_on_stderr(capfd: pytest.CaptureFixture[str], name: str) -> None:
    status, out, err = run(capfd, name)
    assert (status, out) == (1, "")
    assert err.startswith(f"Usage: sane-{name}")


def test_errors_are_sentences_on_stderr(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "absent"
    status, out, err = run(capfd, "read-file", "local:", str(path))
    assert (status, out, err) == (1, "", f"Error: {path} can't be read: No such file or directory\n")


def test_an_unknown_verb_names_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capfd, "creat-file")
    assert status == 1
    assert err == "Error: there is no verb 'creat-file'\nDid you mean 'create-file'?\n"


def test_create_file_answers_json_on_every_failure(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = run(capfd, "create-file", "local:", str(tmp_path), "x")
    assert status == 1
    assert json.loads(out) == {
        "status": "error",
        "error": f"{tmp_path} can't be written: Is a directory",
        "code": "remote",
        "hint": "Name a file in it.",
        "path": str(tmp_path),
    }
    assert err == f"Error: {tmp_path} can't be written: Is a directory\nName a file in it.\n"
    status, out, err = run(capfd, "create-file", "local:", str(tmp_path / "t-f"), "x", "maybe")
    assert json.loads(out)["error"] == "backup must be 'true' or 'false', got 'maybe'"
    assert json.loads(out)["path"] == str(tmp_path / "t-f")
    assert err.startswith("Error: backup must be 'true' or 'false', got 'maybe'\n")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("send-keys", {"status": "error", "error": "Session 'S' does not exist"}),
        ("label-pane", {"status": "error", "message": "Session 'S' does not exist"}),
        ("get-label", {"status": "error", "message": "Session 'S' does not exist"}),
        ("detect-ssh", {"error": "Session 'S' does not exist"}),
    ],
)
def test_some_verbs_say_errors_as_json(name: str, answer: dict[str, Any]) -> None:
    said = primitive.say_error(name, primitive.SaneError("Session 'S' does not exist"))
    assert (said.status, json.loads(said.out), said.err) == (1, answer, "")
    said = primitive.say_error(name, primitive.SaneError("Session 'S' does not exist", hint="more"))
    assert (said.status, json.loads(said.out), said.err) == (1, {**answer, "hint": "more"}, "")


@pytest.mark.parametrize("name", ["create-file", "validate-json"])
def test_a_closed_standard_input_is_told(name: str, tmp_path: Path) -> None:
    words = ["local:", str(tmp_path / "t-f")] if name == "create-file" else []
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", str(ROOT / "bin" / f"sane-{name}"), *words, "--stdin"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr.split("\n")[0]) == (1, "Error: standard input is closed")
    if name == "create-file":
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["error"], answer["path"]) == ("error", "standard input is closed", words[1])
    assert list(tmp_path.iterdir()) == []


def test_the_answer_can_be_selected_from_and_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "validate-json", "1", "--query", "valid") == (0, "true\n", "")
    assert run(capfd, "validate-json", "1", "--output", "table") == (0, "valid  true\n", "")
    status, _, err = run(capfd, "validate-json", "1", "--query", "a[")
    assert status == 1
    assert "query 'a[' is wrong" in err
    panes = {"session": "s", "panes": [{"id": "%0", "path": "/\x1b[31m"}, {"id": "%10", "path": ""}]}
    assert render(panes, Arguments(output="table")) == "session  s\npanes    (2)\n\nID   PATH\n%0   / [31m\n%10\n"


def test_exit_status_is_the_commands_own_where_asked(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "run-command", "local:", "exit 3")[0] == 0
    assert run(capfd, "run-command", "local:", "exit 3", "--exit-status")[0] == 3
    assert run(capfd, "run-command", "local:", "true", "--exit-status")[0] == 0


def test_exit_status_is_an_option_only_where_a_command_runs(capfd: pytest.CaptureFixture[str]) -> None:
    for name in VERB_NAMES:
        help_text = run(capfd, name, "--help")[1]
        assert ("[--exit-status]" in help_text, "  --exit-status" in help_text) == (name == "run-command",) * 2
    status, _, err = run(capfd, "read-file", "local:", "/etc/hostname", "--exit-status")
    assert (status, err.split("\n")[0]) == (1, "Error: unknown option '--exit-status'")
    assert "exit-status" not in err.split("\n")[1]
    assert "'exit-status'" in run(capfd, "run-command", "local:", "true", "--exit-statu")[2]


def test_a_command_that_does_not_parse_is_not_begun(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capfd, "run-command", "local:", f"touch {tmp_path}/begun\nif")
    answer = json.loads(out)
    assert (status, answer["attempts"]) == (0, 0)
    assert "syntax error" in answer["error"]
    assert list(tmp_path.iterdir()) == []


LIST_IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
from sane.surfaces.cli.primitive import main
status = main(sys.argv[2], sys.argv[3:])
sys.stderr.write(" ".join(sys.modules))
sys.exit(status)
"""
SLOW = {
    "asyncio",
    "subprocess",
    "libtmux",
    "rich",
    "asyncssh",
    "pydantic",
    "click",
    "argparse",
    "difflib",
    "tempfile",
    "logging",
}


@pytest.mark.parametrize(
    "words",
    [
        ["create-file", "local:", "{tmp}/t-file", "x"],
        ["read-file", "local:", "/etc/hostname"],
        ["run-command", "local:", "true"],
        ["detect-platform", "local:"],
        ["validate-json", "{}"],
    ],
    ids=lambda words: words[0],
)
def test_a_call_on_this_machine_imports_nothing_slow(words: list[str], tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        LIST_IMPORTS,
        str(ROOT),
        *(w.replace("{tmp}", str(tmp_path)) for w in words),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert set(done.stderr.split()) & SLOW == set()

"""sane-validate-bash, sane-validate-json and sane-validate-with-ai."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.errors import RemoteError
from sane.primitives._tool_flags import ToolFlags, commands_in, lists_flag, refuses, sure_parts, tools_in
from sane.primitives.validate_json import check_json
from sane.primitives.validate_yaml import check_yaml

Call = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "text", ["true", "", "for f in *; do echo $f; done", "cat <<X\n'\nX", "f() { :; }\n[[ a =~ ^b$ ]]", "echo \udcff"]
)
def test_takes_what_bash_takes(call: Call, text: str) -> None:
    assert call("validate-bash", text) == {"valid": True}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("echo a\n  fi", 2, 3),
        ("echo )", 1, 6),
        ('echo "abc\nfi', 1, 6),
        ("if true; then", 1, 14),
        ("a\nb\nfor x; do", 3, 10),
        ("echo '", 1, 6),
    ],
)
def test_says_where_bash_stops(call: Call, text: str, line: int, column: int) -> None:
    answer = call("validate-bash", text)
    assert (answer["valid"], answer["line"], answer["column"]) == (False, line, column)
    assert "unexpected" in answer["error"]


def test_no_script_holds_a_nul_character(call: Call) -> None:
    assert call("validate-bash", "true\na\0b") == {
        "valid": False,
        "error": "a script can't hold a NUL character",
        "line": 2,
        "column": 2,
    }


def test_never_runs_the_text(call: Call, tmp_path: Path) -> None:
    call("validate-bash", f"touch {tmp_path}/ran; exit 3")
    assert os.listdir(tmp_path) == []


def test_without_bash_nobody_can_tell(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="bash did not answer"):
        call("validate-bash", "true")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_takes_every_json_value(value: object) -> None:
    assert check_json(json.dumps(value)).valid


def test_a_json_number_may_have_any_number_of_digits(call: Call) -> None:
    assert call("validate-json", '{"a": [-' + "9" * 5000 + ", 1e999]}") == {"valid": True}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("[1,2,]", 1, 6),
        ('{"a": NaN}', 1, 7),
        ('{\n "a": 1\n "b"}', 3, 2),
        ("[" * 100_000, 1, 1),
        ("1 2", 1, 3),
    ],
)
def test_says_where_json_stops(call: Call, text: str, line: int, column: int) -> None:
    answer = call("validate-json", text)
    assert (answer["valid"], answer["line"], answer["column"]) == (False, line, column)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(max_size=100), c),  # YAML's own limit of a key is 1,024
    )
)
def test_every_json_value_is_yaml(value: object) -> None:
    assert check_yaml(json.dumps(value)).valid


@given(st.text())
def test_any_text_gets_a_verdict_as_yaml(text: str) -> None:
    verdict = check_yaml(text)
    assert verdict.valid is (verdict.error is None)


@pytest.mark.parametrize(
    ("text", "line", "column", "error"),
    [
        ("a: [1", 1, 6, "expected ','"),
        ("a: 1\nb: 2\na: 3", 3, 1, "'a' is there twice"),
        ("x: {k: 1, k: 2}", 1, 11, "'k' is there twice"),
        ("a:\n\t- x", 2, 1, "cannot start any token"),
        ("---\na\n---\n- b\n- c: 1\n  c: 2", 6, 3, "'c' is there twice"),
    ],
)
def test_says_where_yaml_stops(call: Call, text: str, line: int, column: int, error: str) -> None:
    answer = call("validate-yaml", text)
    assert (answer["valid"], answer["line"], answer["column"]) == (False, line, column)
    assert error in answer["error"]


@pytest.mark.parametrize(
    "text", ["", "a: &x {k: 1}\nb: *x", "<<: {a: 1}\n<<: {b: 1}", "1: a\n'1': b", "!!python/object:os.system x"]
)
def test_takes_what_is_yaml(call: Call, text: str) -> None:
    assert call("validate-yaml", text) == {"valid": True}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("print(", 1, 6),
        ("def f():\n  x = = 1", 2, 7),
        ("\tif", 1, 1),
        ("a\0b", 1, 1),
        ("(" * 300, 1, 200 + 1),
        ("-" * 20_000 + "1", 1, 1),
    ],
)
def test_says_where_python_stops(call: Call, text: str, line: int, column: int) -> None:
    answer = call("validate-python", text)
    assert (answer["valid"], answer["line"], answer["column"]) == (False, line, column)
    assert answer["error"]


def test_python_is_compiled_and_never_run(call: Call, tmp_path: Path) -> None:
    assert call("validate-python", f"open({str(tmp_path / 'ran')!r}, 'w')\nassert 'x' is 'x'\n") == {"valid": True}
    assert os.listdir(tmp_path) == []


def test_without_python_nobody_can_tell(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="python3 did not answer"):
        call("validate-python", "1")


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("ls | frob -x; FOO=1 zork", ["ls", "frob", "zork"]),
        ("f() { echo; }; f", ["echo"]),
        ("function g { true; }\ng && h", ["true", "h"]),
        ("if true; then nope; else no; fi >out", ["true", "nope", "no", "fi"]),
        ("a >b 2>&1 && c <d", ["a", "c"]),
        ("echo $(quux) 'a; b'  # it is here", ["echo", "quux"]),
        ("cat <<X\nDear\nX", []),
        ("case a in b) c ;; esac", []),
        ("# don't\nls", ["ls"]),
        ("", []),
    ],
)
def test_finds_the_commands_of_a_script(script: str, names: list[str]) -> None:
    assert commands_in(script) == names


def test_names_the_commands_that_the_target_lacks(call: Call) -> None:
    answer = call("validate-bash", "for f in *; do ls $f | frobnicate; done; cd /", commands=True)
    assert answer == {"valid": False, "error": "local: does not have frobnicate", "missing": ["frobnicate"]}
    assert call("validate-bash", "cd / && ls", commands=True) == {"valid": True}
    assert call("validate-bash", "frobnicate") == {"valid": True}


def test_finds_tools_and_flags() -> None:
    assert tools_in("LANG=C grep -P x | sort -zn -k 2 --unique=yes && tail -5 -- -x") == [
        ToolFlags("grep", ("-P",)),
        ToolFlags("sort", ("-zn", "-k", "--unique")),
        ToolFlags("tail", ()),
    ]
    assert tools_in("") == []


def test_a_line_ends_a_command_and_a_comment() -> None:
    assert tools_in("ls -l # it is\ngrep -P \\\n -q x;; cat -n") == [
        ToolFlags("ls", ("-l",)),
        ToolFlags("grep", ("-P", "-q")),
        ToolFlags("cat", ("-n",)),
    ]


def test_flags_behind_a_command_that_follows_may_be_its_own() -> None:
    assert tools_in("xargs -I{} rm | git commit -m x; env -i A=1 ls -l; nohup ls") == [
        ToolFlags("xargs", ("-I{}",)),
        ToolFlags("git", ("-m",), "commit"),
        ToolFlags("env", ("-i", "-l"), "A=1"),
        ToolFlags("nohup", ()),
    ]


@pytest.mark.parametrize(
    ("flag", "listed"), [("-a", True), ("--all", True), ("--al", False), ("-ab", True), ("-az", False), ("-q", True)]
)
def test_reads_a_help_text(flag: str, listed: bool) -> None:
    assert lists_flag("usage: x [-qr] ...\n  -a, --all   all\n  -b  both", flag) is listed


GNU_HELP = "  -l N, --length=N  x\n  -i[SUFFIX]  x\n  -o, --output <file>  x\n  -v, --verbose  x\n"
BSD_HELP = "usage: grep [-abc] [-A num] [-e pattern] [pattern]"


@pytest.mark.parametrize(
    ("help_text", "flags", "parts"),
    [
        (GNU_HELP, ["-l80", "-vi.bak", "-vofile", "--length", "-v"], {}),
        (GNU_HELP, ["-vq"], {"-vq": "-q"}),
        (GNU_HELP, ["-l", "-1day", "--none", "-q"], {"-1day": "", "--none": "--none", "-q": "-q"}),
        (GNU_HELP, ["--output", "--none"], {"--none": ""}),
        (GNU_HELP, ["-i", "--none", "-$x", "--a b"], {"--none": "--none", "-$x": "", "--a b": ""}),
        (BSD_HELP, ["-abA3", "-cP"], {"-cP": "-P"}),
    ],
)
def test_finds_what_a_tool_can_be_asked_about(help_text: str, flags: list[str], parts: dict[str, str]) -> None:
    assert sure_parts(help_text, ToolFlags("x", tuple(flags))) == parts


@pytest.mark.parametrize(
    ("said", "option", "refused"),
    [
        ("grep: unrecognized option '--none'\nTry 'grep --help'", "--none", True),
        ("grep: invalid option -- P\nusage: grep [-abc]", "-P", True),
        ("ls: invalid option -- '9'", "-9", True),
        ("curl: option --none: is unknown\ncurl: try 'curl --help'", "--none", True),
        ("jq: Unknown option --none", "--none", True),
        ("grep: illegal option -- -", "-P", False),
        ("head: invalid number of bytes: '--help'", "-c", False),
        ("x: invalid option -- 'q'", "-P", False),
        ("x: unknown option --nonesuch", "--none", False),
    ],
)
def test_reads_a_tools_refusal(said: str, option: str, refused: bool) -> None:
    assert refuses(said, option) is refused


class Model(HTTPServer):
    """Speak the OpenAI-compatible protocol on loopback, answering what the test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ModelHandler)
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []
        self.status = 200
        self.content = '{"valid": true, "reason": "fine"}'
        self.raw: bytes | None = None


class _ModelHandler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        answer = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant"}}]}
        answer["choices"][0]["message"]["content"] = self.server.content
        data = self.server.raw if self.server.raw is not None else json.dumps(answer).encode()
        if not self.server.status:  # whoever listens there speaks something else
            self.wfile.write(data)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """Answer somebody who followed the redirect, key in hand."""
        self.server.requests.append((self.path, self.headers["Authorization"], {}))
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    server = Model()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("SANE_AI_URL", f"http://127.0.0.1:{server.server_port}/v1/")
    monkeypatch.setenv("SANE_AI_MODEL", "cheap")
    monkeypatch.setenv("SANE_AI_KEY", "s3cret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_the_machine_can_tell_is_not_asked(call: Call, model: Model) -> None:
    assert call("validate-with-ai", "bash", "echo hi") == {"valid": True, "method": "local"}
    assert call("validate-with-ai", "bash", "echo (")["valid"] is False
    assert call("validate-with-ai", "jq", ".a | map(.b)") == {"valid": True, "method": "local"}
    assert call("validate-with-ai", "jq", "1) | (2")["valid"] is False
    assert call("validate-with-ai", "tool-flag", "grep -P x | sort -u")["valid"] is True
    assert model.requests == []


def test_without_a_model_the_tools_own_help_decides(call: Call) -> None:
    answer = call("validate-with-ai", "tool-flag", "grep --none x")
    assert (answer["valid"], answer["method"]) == (False, "local")
    unknown = call("validate-with-ai", "tool-flag", "frobnicate --fast")
    assert "valid" not in unknown
    assert unknown["method"] == "error"
    assert "SANE_AI_URL" in unknown["error"]


@pytest.mark.parametrize(
    "line",
    [
        "ps -ef",
        "curl -fsSL x",
        "sort -k1,1n",
        "sort -t - -k2",
        "grep -A3 x",
        "sed -i.bak s/a/b/ f",
        "xargs -I{} echo",
        "chmod -x f",
        "head -c10 f | cut -d: -f1",
        "ls --colo",
        "git -C x status",
        "ls -l\ngrep -P x",
        "find . -name x -exec ls {} \\;",
    ],
)
def test_what_a_tool_takes_is_valid(call: Call, line: str) -> None:
    answer = call("validate-with-ai", "tool-flag", line)
    assert (answer.get("valid"), answer["method"]) == (True, "local"), answer


@pytest.mark.parametrize(
    "line",
    [
        "git commit -m x",
        "git commit --amend",
        "env -i FOO=1 ls -l",
        "sudo ls -l",
        "xargs rm -f",
        "date -d -1day",
        "grep -e --none f",
        "ls -$x",
        "echo '|' ls --none",
        "find . -nam x",
        "$(touch ran) -x",
        "$X",
        "cat <<'X'\nls --none\nX",
        "cat <<'X'\nit's\nX",
    ],
)
def test_what_nobody_here_can_tell_is_no_verdict(call: Call, line: str) -> None:
    answer = call("validate-with-ai", "tool-flag", line)
    assert (answer.get("valid"), answer["method"]) == (None, "error"), answer
    assert "can't tell" in answer["error"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ls -l | grep -qP --none x", "grep does not take --none"),
        ("ls -lZq9", "ls does not take -lZq9"),
        ("git --none status", "git does not take --none"),
        ("curl --none x", "curl does not take --none"),
        ("", "there is no tool in it"),
        ("# ls", "there is no tool in it"),
    ],
)
def test_what_a_tool_itself_refuses_is_invalid(call: Call, model: Model, line: str, error: str) -> None:
    answer = call("validate-with-ai", "tool-flag", line)
    assert (answer["valid"], answer["method"], answer["error"]) == (False, "local", error)
    assert model.requests == []


@pytest.mark.parametrize("line", ["sed -ne1wran", "env '-Stouch ran'", "find -delete -print --help", "tee --out ran"])
def test_a_tool_does_nothing_when_it_is_asked(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "kept").touch()
    monkeypatch.chdir(tmp_path)
    call("validate-with-ai", "tool-flag", line)
    assert os.listdir(tmp_path) == ["kept"]


def test_the_model_is_told_the_subcommand(call: Call, model: Model) -> None:
    assert call("validate-with-ai", "tool-flag", "git commit -m x")["cached"] is False
    assert call("validate-with-ai", "tool-flag", "git push -m x")["cached"] is False
    assert "commit" in model.requests[0][2]["messages"][1]["content"]


def test_asks_the_model_once_for_a_platform_a_tool_and_its_flags(call: Call, model: Model) -> None:
    first = call("validate-with-ai", "tool-flag", "frobnicate --fast one")
    assert (first["valid"], first["method"], first["cached"]) == (True, "ai", False)
    again = call("validate-with-ai", "bash-or-tool-flag", "frobnicate --fast two")
    assert (again["valid"], again["cached"]) == (True, True)
    call("validate-with-ai", "tool-flag", "frobnicate --fast", "Darwin")
    assert len(model.requests) == 2
    path, credential, body = model.requests[0]
    assert (path, credential, body["model"]) == ("/v1/chat/completions", "Bearer s3cret", "cheap")
    assert "frobnicate" in body["messages"][1]["content"]


def test_a_model_can_say_no(call: Call, model: Model) -> None:
    model.content = 'Sure:\n```json\n{"valid": false, "reason": "no such flag"}\n```'
    answer = call("validate-with-ai", "tool-flag", "frobnicate --fast")
    assert (answer["valid"], answer["method"], answer["error"]) == (False, "ai", "no such flag")


@pytest.mark.parametrize(
    ("status", "content", "raw"),
    [
        (500, "", None),
        (302, "", None),
        (200, "maybe", None),
        (200, '{"valid": "yes"}', None),
        (200, "", b"{"),
        (200, "", b"[]"),
        (0, "", b"no HTTP at all\r\n\r\n"),
        (0, "", b""),
    ],
)
def test_a_broken_model_is_an_error_and_is_not_remembered(
    call: Call, model: Model, status: int, content: str, raw: bytes | None
) -> None:
    model.status, model.content, model.raw = status, content, raw
    answer = call("validate-with-ai", "tool-flag", "frobnicate --fast")
    assert answer["method"] == "error"
    assert "s3cret" not in json.dumps(answer)
    assert len(model.requests) == 1
    model.status, model.content, model.raw = 200, '{"valid": true}', None
    assert call("validate-with-ai", "tool-flag", "frobnicate --fast")["method"] == "ai"


def test_a_model_that_is_not_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANE_AI_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SANE_AI_MODEL", "cheap")
    assert call("validate-with-ai", "tool-flag", "frobnicate --fast")["method"] == "error"
    monkeypatch.setenv("SANE_AI_URL", "file:///etc/passwd")
    assert "no http address" in call("validate-with-ai", "tool-flag", "frobnicate --fast")["error"]

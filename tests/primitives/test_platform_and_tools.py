"""sane-detect-platform and sane-get-tool."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., dict[str, Any]]


def test_tells_the_platform(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    answer = call("detect-platform", "local:")
    assert answer["os"] == platform.system()
    assert answer["arch"] == platform.machine()
    assert answer["hostname"] == platform.node()
    assert answer["user"] == pwd.getpwuid(os.getuid()).pw_name
    assert answer["shell"] == "fish"
    assert answer["distro"] == platform.freedesktop_os_release()["ID"]


def test_tells_where_a_tool_is(call: Call) -> None:
    answer = call("get-tool", "grep")
    assert answer == {"tool": "grep", "path": shutil.which("grep"), "found": True, "platform": platform.system()}


def test_takes_the_gnu_tool_by_its_name_elsewhere(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("get-tool", "grep", "Darwin") == {"tool": "ggrep", "path": "", "found": False, "platform": "Darwin"}
    (tmp_path / "ggrep").write_text("#!/bin/sh\n")
    (tmp_path / "ggrep").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert call("get-tool", "grep", "darwin")["path"] == str(tmp_path / "ggrep")
    assert call("get-tool", "jq", "Darwin")["tool"] == "jq"


def test_on_a_mac_it_falls_back_to_the_plain_tool(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert call("get-tool", "grep") == {
        "tool": "grep",
        "path": shutil.which("grep"),
        "found": True,
        "platform": "Darwin",
    }


@pytest.mark.parametrize("name", ["none-such", "$(touch /tmp/x)", "-v", ""])
def test_a_tool_that_is_not_there(call: Call, name: str) -> None:
    assert call("get-tool", name) == {"tool": name, "path": "", "found": False, "platform": platform.system()}


def test_knows_builtins(call: Call) -> None:
    assert call("get-tool", "cd")["path"] == "builtin"

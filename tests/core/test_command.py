"""A command as data."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest

from sane.core.command import Command, path_text
from sane.errors import UsageError


@pytest.mark.parametrize(
    "fields", [{"script": "a\0b"}, {"script": "a", "cwd": "\0"}, {"script": "a", "env": {"A": "x\0"}}]
)
def test_no_part_of_a_command_holds_a_nul(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="NUL"):
        Command(**fields)


@pytest.mark.parametrize("fields", [{"script": "echo \ud800"}, {"script": "a", "env": {"A": "\udfff"}}])
def test_no_part_of_a_command_holds_half_of_a_surrogate_pair(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="surrogate"):
        Command(**fields)
    Command("echo \udcff")  # a byte that is no UTF-8


@pytest.mark.parametrize("name", ["A=B", "A B", "", "1A", "A-B", "ä"])
def test_a_variable_has_a_name_that_every_shell_takes(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for a variable"):
        Command("true", env={name: "x"})
    Command("true", env={"_a1": "x"})


def test_no_time_is_none() -> None:
    for timeout_s in (0, -1, float("-inf"), float("nan")):
        with pytest.raises(UsageError, match="timeout_s"):
            Command("true", timeout_s=timeout_s)


@pytest.mark.parametrize("path", ["", "/tmp/\0", "/tmp/\ud800"])
def test_what_no_file_is_called(path: str) -> None:
    with pytest.raises(UsageError, match="a path can't"):
        path_text(path)
    assert path_text(PurePath("/a\udcff")) == "/a\udcff"

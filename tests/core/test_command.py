"""A command as data."""

from __future__ import annotations

from typing import Any

import pytest

from sane.core.command import Command
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

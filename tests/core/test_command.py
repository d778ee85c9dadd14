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

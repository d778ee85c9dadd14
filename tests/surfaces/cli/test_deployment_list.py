"""The table of deployments: whole where there is room, and the ids whole where there is not."""

from __future__ import annotations

import os
import re
import sys

import pytest
from click.testing import CliRunner

from sane.surfaces.cli import deployment

ROW = {
    "deployment": "a-key-of-some-length-12-abcdef",
    "key": "a-key-of-some-length",
    "revision": 12,
    "version": "1.0.0",
    "status": "successful",
    "stable": True,
    "created_at_ms": 0,
    "description": "6 of 6 hosts are healthy",
}


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None) -> str:
    if columns is not None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
    deployment.print_table([ROW])
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_without_a_terminal_every_column_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(capsys, monkeypatch, None)
    for word in ("a-key-of-some-length-12-abcdef", "1.0.0", "successful ★", " 12 ", "6 of 6 hosts are healthy"):
        assert word in text


def test_sixty_columns_keep_the_id_the_version_and_the_status_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(capsys, monkeypatch, 60)
    assert max(map(len, text.splitlines())) <= 60
    for word in ("a-key-of-some-length-12-abcdef", "1.0.0", "successful", "★"):
        assert word in text
    assert "…" not in text


def test_more_than_any_log_can_hold_is_refused() -> None:
    refused = CliRunner().invoke(deployment.deployment, ["list", "--limit", "99999999999999999999"])
    assert (refused.exit_code, "'--limit': " in refused.output) == (2, True)

"""The table of deployments: whole where there is room, and the ids whole where there is not."""

from __future__ import annotations

import os
import re
import sys

import pytest

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


@pytest.mark.parametrize("columns", [None, 60, 150])
def test_the_table_has_neither_empty_lines_at_its_edges_nor_blanks_at_its_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    lines = printed(capsys, monkeypatch, columns).splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert all(lines)
    assert len(lines) == 3


def test_a_long_reason_is_wrapped_in_its_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROW, "description", "word " * 40)
    lines = printed(capsys, monkeypatch, 150).splitlines()
    assert max(map(len, lines)) <= 150
    assert len(lines) > 4
    assert {line.index("word") for line in lines[2:]} == {lines[0].index("why")}


def test_no_library_is_imported_for_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    assert "successful" in printed(capsys, monkeypatch, None)

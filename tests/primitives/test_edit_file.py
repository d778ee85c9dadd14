"""sane-edit-file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sane.errors import NotFoundError, RemoteError, UsageError
from sane.primitives import edit_file as module
from sane.primitives.edit_file import edited

Call = Callable[..., dict[str, Any]]
TEXT = "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("operation", "what", "after"),
    [
        ("replace", ["t", "T"], "one\nTwo\nThree\n"),
        ("replace", ["one\ntwo", ".*"], ".*\nthree\n"),
        ("insert", ["1", "zero"], "zero\none\ntwo\nthree\n"),
        ("insert", ["4", "four"], "one\ntwo\nthree\nfour\n"),
        ("delete", ["2"], "one\nthree\n"),
        ("delete", ["1-2"], "three\n"),
        ("delete", ["hre"], "one\ntwo\n"),
        ("append", ["four"], "one\ntwo\nthree\nfour\n"),
    ],
)
def test_edits_text(operation: Any, what: list[str], after: str) -> None:
    assert edited(TEXT, operation, what) == after


@pytest.mark.parametrize(
    ("operation", "what", "complaint"),
    [
        ("replace", ["x", "y"], "does not occur"),
        ("replace", ["", "y"], "is empty"),
        ("replace", ["x"], "replace needs OLD NEW, got 1 argument$"),
        ("insert", ["5", "x"], "line must be 1 to 4, got '5'"),
        ("insert", ["x", "x"], "line must be 1 to 4, got 'x'"),
        ("delete", ["2-9"], "lines must be within 1 to 3, got '2-9'"),
        ("delete", ["0"], "lines must be within 1 to 3"),
        ("delete", [""], "is empty"),
        ("delete", ["none"], "no line holds 'none'"),
        ("append", [], "append needs TEXT, got 0 arguments"),
    ],
)
def test_refuses_what_does_not_fit(operation: Any, what: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        edited(TEXT, operation, what)


def test_says_how_to_give_what_an_operation_needs() -> None:
    with pytest.raises(UsageError) as raised:
        edited(TEXT, "replace", ["x"])
    assert "one argument" in raised.value.hint


def test_appends_behind_a_last_line_without_an_end() -> None:
    assert edited("one", "append", ["two"]) == "one\ntwo\n"
    assert edited("", "append", ["one"]) == "one\n"
    assert edited("one", "insert", ["2", "two"]) == "one\ntwo\n"


def test_lines_are_those_of_grep_and_editors() -> None:
    text = "one\n\ftwo\u2028two\x85two\r\nthree\n"
    assert edited(text, "delete", ["3"]) == "one\n\ftwo\u2028two\x85two\r\n"
    assert edited(text, "insert", ["3", "x"]) == "one\n\ftwo\u2028two\x85two\r\nx\nthree\n"


def test_once_refuses_more_than_one() -> None:
    with pytest.raises(UsageError, match="occurs 2 times"):
        edited(TEXT, "replace", ["t", "T"], once=True)
    assert edited(TEXT, "replace", ["two", "2"], once=True) == "one\n2\nthree\n"


def test_changes_the_file_keeps_a_backup_and_shows_the_difference(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    path.write_text(TEXT)
    path.chmod(0o600)
    answer = call("edit-file", "local:", str(path), "replace", ["two", "2"])
    assert path.read_text() == "one\n2\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(answer["backup_path"]).read_text() == TEXT
    assert "-two\n+2\n" in answer["diff"]
    assert (answer["status"], answer["size_bytes"]) == ("edited", 12)


def test_the_difference_shows_a_missing_line_end(call: Call, tmp_path: Path) -> None:
    (tmp_path / "t-file").write_text("a\nb")
    answer = call("edit-file", "local:", str(tmp_path / "t-file"), "replace", ["b", "c"])
    assert answer["diff"].endswith("-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n")


def test_an_edit_that_changes_nothing_writes_nothing(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    path.write_text(TEXT)
    before = path.stat().st_ino
    answer = call("edit-file", "local:", str(path), "replace", ["one", "one"])
    assert answer["status"] == "unchanged"
    assert path.stat().st_ino == before


def test_a_file_changed_meanwhile_is_left_alone(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t-file"
    path.write_text(TEXT)

    def edited_late(text: str, *arguments: Any, **options: Any) -> str:
        path.write_text("somebody else's\n")
        return edited(text, *arguments, **options)

    monkeypatch.setattr(module, "edited", edited_late)
    with pytest.raises(RemoteError, match="somebody else changed it meanwhile"):
        call("edit-file", "local:", str(path), "delete", ["1"])
    assert path.read_text() == "somebody else's\n"


def test_refuses_what_is_no_text_and_what_is_not_there(call: Call, tmp_path: Path) -> None:
    (tmp_path / "t-file").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8 text"):
        call("edit-file", "local:", str(tmp_path / "t-file"), "append", ["x"])
    with pytest.raises(NotFoundError, match="No such file"):
        call("edit-file", "local:", str(tmp_path / "none"), "append", ["x"])

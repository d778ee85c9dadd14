"""The text of the pane codec, as strings; what shells make of it is tried in tests/e2e."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.pane.framing import (
    CHUNK_BYTES,
    LINE_LIMIT_BYTES,
    Place,
    Reader,
    dialect_of,
    escape_for_b,
    in_pieces,
    quote,
    rows_taken,
    shown_text,
    typed_line,
)
from sane.core.pane.payload import Run, payload

PLACE = Place(10, 80)


@given(st.integers(0, 300), st.integers(1, 300))
def test_typed_line_never_ends_at_the_edge(column: int, width: int) -> None:
    place = Place(column % width, width)
    line = typed_line("abcdef12", place)
    assert line.startswith(" ")
    assert width == 1 or (place.column + len(line)) % width != 0
    assert (rows_taken(line, place) - 1) * width <= place.column + len(line) < rows_taken(line, place) * width


def test_dialects_differ_by_what_printf_was_given() -> None:
    assert dialect_of("R\\41") == "posix"
    assert dialect_of("R!") == "fish"


@given(st.binary().map(lambda data: data.replace(b"\0", b"")))
def test_lines_fit_a_terminal_and_come_back_as_they_were(data: bytes) -> None:
    body = data.decode("utf-8", "surrogateescape") + "\n"  # a newline forces the escaped form
    first, second = in_pieces(body, "abcdef12", "posix")
    assert first.count(b"\n") == 1
    for line in [first, *second.splitlines(keepends=True)]:
        assert len(line) <= CHUNK_BYTES + 300
        assert all(32 <= byte < 127 for byte in line[:-1])
    joined = second.replace(b"\n", b"")
    assert b"[ ${#__sane_p} = %d ]" % len(joined) in first
    decoded = b"".join(
        bytes([int(part[1:4], 8)]) + part[4:] if index else part for index, part in enumerate(joined.split(b"\\"))
    )
    assert decoded == body.encode("utf-8", "surrogateescape")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_chunks_are_words_that_a_shell_could_not_obey(text: str) -> None:
    pieces = in_pieces(text + "\n" * 2, "abcdef12", "posix")
    assert not set(pieces[1].decode()) & set(" \t'\"`$;&|<>(){}[]*?!#~=%^")


def test_short_plain_commands_are_one_line() -> None:
    pieces = payload(Run("abcdef12", "uname -a", "uname -a", PLACE, 1), "posix")
    assert len(pieces) == 1
    assert len(pieces[0]) < LINE_LIMIT_BYTES
    assert len(payload(Run("abcdef12", "a\nb", "a", PLACE, 1), "posix")) == 2


@given(st.binary(max_size=50).map(lambda data: data.replace(b"\0", b"")))
def test_escapes_are_read_by_printf(data: bytes) -> None:
    done = subprocess.run(["dash", "-c", f"printf %b '{escape_for_b(data)}'"], capture_output=True, check=True)
    assert done.stdout == data


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_quoted_text_is_one_word(text: str) -> None:
    done = subprocess.run(["dash", "-c", f"printf %s {quote(text, 'posix')}"], capture_output=True, check=True)
    assert done.stdout == text.encode()


def test_shown_text_obeys_nothing_and_stays_short() -> None:
    assert shown_text("echo \x1b[2J\x07 ü\n") == "echo ·[2J· ü"
    assert len(shown_text("x" * 100_000)) < 450
    assert shown_text("\n".join("a" * 50)).count("\n") < 13


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_known_to_wait_reads_the_payload_itself(shell: Reader) -> None:
    place = Place(column=2, width=80)
    line = typed_line("tok", place, reader=shell)
    assert "builtin read -rs" in line
    assert "$(" not in line  # a hook that expands the line it is told of would run that
    assert "head" not in line
    assert "stty" not in line
    assert "head -n1" in typed_line("tok", place)

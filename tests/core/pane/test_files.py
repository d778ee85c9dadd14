"""What carries bytes through a pane, as strings; what terminals make of it is tried in tests/e2e."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.pane.control_stream import OutputReader
from sane.core.pane.files import LINE_BYTES, PIECE_LINES, feed_pieces, send_script
from sane.core.pane.framing import CHUNK_BYTES

TOKEN = "abcdef12"


@given(st.binary(max_size=3 * LINE_BYTES))
def test_pieces_hold_the_content(content: bytes) -> None:
    pieces = "".join(feed_pieces(content))
    assert base64.b64decode(pieces.replace(",", "").replace("\n", "")) == content
    assert len(pieces.splitlines()) == -(-len(content) // LINE_BYTES)


def test_pieces_are_bounded_lines_that_no_shell_could_obey() -> None:
    pieces = list(feed_pieces(bytes(1_000_000)))
    assert [piece.count("\n") for piece in pieces[:-1]] == [PIECE_LINES] * (len(pieces) - 1)
    lines = "".join(pieces).splitlines()
    assert max(map(len, lines)) <= CHUNK_BYTES + 1
    assert {line[0] for line in lines} == {","}
    assert not set("".join(lines)) & set(" \t'\"`$;&|<>(){}[]*?!#~%^\\")


@pytest.mark.parametrize("shell", [["sh"], ["bash", "--posix"], ["busybox", "sh"]])
def test_an_answer_is_sent_with_its_length_its_code_and_its_stderr(shell: list[str]) -> None:
    said = "printf 'a\\0b'; head -c 9000 /dev/zero; echo 'not | good 7' >&2; exit 3"
    done = subprocess.run([*shell, "-c", send_script(TOKEN), "sane", said], capture_output=True, check=False)
    reader = OutputReader(TOKEN, 1 << 20)
    reader.feed(done.stdout.replace(b"\x1b", b"\\033").replace(b"\x07", b"\\007"))
    data = b"".join(reader.data)
    assert base64.b64decode(data) == b"a\0b" + bytes(9000)
    assert reader.find("H") == ("H", (str(len(data)),))
    assert (done.stderr, done.returncode) == (b"not | good 7\n", 3)

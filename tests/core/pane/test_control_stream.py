"""Marks and output in what control mode sends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sane.core.pane.control_stream import ControlLines, OutputReader, decode_octal, nested_output

TOKEN = "abcdef12"


def encode(data: bytes) -> bytes:
    """Write bytes as tmux's control mode does."""
    return b"".join(b"\\%03o" % byte if byte < 32 or byte == 92 else bytes([byte]) for byte in data)


def mark(kind: str) -> bytes:
    return f"\x1b]7791;{TOKEN};{kind}\x07".encode()


@given(st.binary())
def test_octal_is_undone(data: bytes) -> None:
    assert decode_octal(encode(data)) == data


@given(st.binary(max_size=300), st.lists(st.integers(0, 600), max_size=8))
def test_output_is_exact_wherever_the_stream_is_cut(output: bytes, cuts: list[int]) -> None:
    printed = output.replace(b"\n", b"\r\n")
    stream = encode(b"noise " + mark("S") + printed + mark("E;3;77") + b"prompt$ ")
    reader, pieces = OutputReader(TOKEN, 1 << 20), []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in zip(edges, edges[1:], strict=False):
        pieces.append(reader.feed(stream[begin:end]))
    assert reader.output == output == b"".join(pieces)
    assert reader.find("E") == ("E", ("3", "77"))


def test_marks_of_another_call_are_output() -> None:
    reader = OutputReader(TOKEN, 1 << 20)
    other = b"\x1b]7791;00000000;E;0\x07"
    reader.feed(encode(mark("S") + other + mark("E;0;")))
    assert reader.output == other


def test_limit_keeps_the_beginning_and_says_so() -> None:
    reader = OutputReader(TOKEN, 4)
    reader.feed(encode(mark("S") + b"123456" + mark("E;0;")))
    assert (reader.output, reader.truncated) == (b"1234", True)


def test_what_is_held_back_comes_at_the_end() -> None:
    reader = OutputReader(TOKEN, 100)
    assert reader.feed(encode(mark("S") + b"abc\r")) == b"abc"
    assert reader.flush() == b"\r"


def test_data_marks_are_no_output() -> None:
    reader = OutputReader(TOKEN, 100)
    reader.feed(encode(mark("S") + mark("D;aGk=") + mark("D;eQ==") + b"x" + mark("E;0;")))
    assert (reader.data, reader.output) == ([b"aGk=", b"eQ=="], b"x")


def test_data_past_the_limit_is_counted_and_dropped() -> None:
    reader = OutputReader(TOKEN, 3)
    reader.feed(encode(mark("S") + mark("D;YWJjZGVm") + mark("D;Z2hp") + mark("H;12")))
    assert (b"".join(reader.data), reader.data_length, reader.truncated) == (b"YWJjZGVm", 12, True)


@given(st.lists(st.integers(0, 9000), max_size=5))
def test_a_long_data_mark_is_whole_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    stream = encode(mark("S") + b"a" + mark("D;" + "x" * 3000) + b"b" + mark("D;" + "y" * 3000) + mark("E;0;"))
    reader = OutputReader(TOKEN, 1 << 20)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in zip(edges, edges[1:], strict=False):
        reader.feed(stream[begin:end])
    assert (reader.data, reader.output) == ([b"x" * 3000, b"y" * 3000], b"ab")


def test_nested_output_is_without_the_marks_that_were_passed_on() -> None:
    feed = b"\x1bPtmux;\x1b" + mark("F") + b"\x1b\\"
    data = mark("S") + feed + b"a\r\n" + feed + feed + b"b" + mark("E")
    assert nested_output(TOKEN, data) == b"a\nb"


def test_nested_output_is_between_the_plain_marks() -> None:
    data = b"\x1bPtmux;\x1b" + mark("S") + b"\x1b\\" + b"shown\r\n" + mark("S") + b"a\r\nb" + mark("E")
    assert nested_output(TOKEN, data) == b"a\nb"


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_whole(chunks: list[bytes]) -> None:
    lines = ControlLines()
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    assert found == b"".join(chunks).split(b"\n")[:-1]

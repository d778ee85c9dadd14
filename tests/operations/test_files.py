"""Reading YAML: bounds, places, and no exception but ours whatever the bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sane.core.document import Problems
from sane.core.fleet.inventory import read_inventory
from sane.core.workflow.workflow import read_workflow
from sane.errors import ConfigError, NotFoundError, UsageError
from sane.operations.files import MAX_FILE_BYTES, RegisteredVerbs, load_inventory, load_workflow, parse_yaml, read_bytes


def value_of(text: str | bytes) -> object:
    problems = Problems()
    node = parse_yaml(text if isinstance(text, bytes) else text.encode(), "f.yaml", problems)
    problems.check()
    return node.value()


def refusal_of(text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        value_of(text)
    return caught.value


def test_scalars_stay_as_written() -> None:
    text = "a: 1.10\nb: 012\nc: yes\nd: 1e3\ne: 0x1f\nf: '1'\ng: 12\n"
    text += "h: 2020-01-01\ni: -0\nj: |\n  x\nk: 123456789012345678901\nl: >-\n  a\n  b"
    texts = ["1.10", "012", "yes", "1e3", "0x1f", "1", 12, "2020-01-01", "-0", "x\n", "123456789012345678901", "a b"]
    assert value_of(text) == dict(zip("abcdefghijkl", texts, strict=True))


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nmore: {<<: [*b, {z: 9, x: 8}]}\nsame: *b"
    assert value_of(text) == {
        "base": {"x": 1, "y": 2},
        "own": {"y": 3, "x": 1},
        "more": {"z": 9, "x": 1, "y": 2},
        "same": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "key 'a' is already on line 1"),
        ("a: {b: 1, b: 2}", 1, "key 'b' is already on line 1"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("b: 1\na: [1\n\n", 2, "this is not YAML: [ is opened here and never closed"),
        ("a:\n\t- b", 2, "this is not YAML: found character '\\t' that cannot start any token"),
        ("a: {{ x }}", 1, "a key must be a word"),
        ("a: 1\n---\nb: 2", 2, "this is not YAML: but found another document"),
        ("a: !!python/object:os.system x\nb: 1", 1, "python/object:os.system' is a YAML tag"),
        ("a: 1\nb: !danger x", 2, "'!danger' is a YAML tag, which means nothing here"),
        ("a: *nowhere", 1, "this is not YAML: found undefined alias 'nowhere'"),
        ("a: &a [*a]", 1, ""),
        ("? [a]\n: b", 1, "a key must be a word"),
        (b"a: 1\nb: \xff", 2, "the file is not UTF-8 text"),
        (b"a: 1\nb: \x00", 2, ""),
        ("[" * 100 + "]" * 100, 1, "values are nested more than 64 deep"),
    ],
)
def test_what_is_refused(text: str | bytes, line: int, message: str) -> None:
    error = refusal_of(text)
    assert error.line in (line, line + 1) if not message else error.line == line
    assert message in error.message


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a:\n\t- b", 2, "Indent with spaces, not with tabs."),
        ("a: {{ x }}", 1, "Put quotes around a value that starts with '{{'."),
        ("a: {{ x }}/y", 1, "Put quotes around a value that starts with '{{'."),
        ("a: 1\n---\nb: 2", 2, "A file holds one document: remove the line ---, or make two files."),
        ("a: *nowhere", 1, "Put quotes around a value that starts with '*', or write the anchor, &name, above it."),
        ("a: {b: c: d}", 1, "Put quotes around a value that holds ': '."),
        ("a: [b\nc: d\n", 2, "Is the [ of line 1 closed?"),
        ("b: 1\na: 'x\nc: 2\n", 2, "Close it."),
        ("a: @b", 1, "Put quotes around a value that starts with %, @ or `."),
        ("a:\n  b: 1\n c: 2\n", 3, "Begin the line in the same column as its neighbours."),
        ("a: \0", 1, "Remove the character."),
        ("a: !!set {b}", 1, "Remove it; put quotes around a value that starts with '!'."),
    ],
)
def test_what_is_refused_comes_with_what_to_do(text: str, line: int, hint: str) -> None:
    error = refusal_of(text)
    assert (error.line, error.hint) == (line, hint)


def test_a_missing_file_names_the_nearest_beside_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: [a]\n")
    with pytest.raises(NotFoundError) as missing:
        read_bytes(tmp_path / "hots.yaml")
    assert missing.value.hint == f"Did you mean '{tmp_path}/hosts.yaml'?"
    with pytest.raises(NotFoundError) as nothing:
        read_bytes(tmp_path / "none" / "hosts.yaml")
    assert nothing.value.hint == ""


def test_a_directory_in_place_of_a_file_names_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: [a]\n")
    with pytest.raises(UsageError, match="is a directory") as refused:
        read_bytes(tmp_path)
    assert refused.value.hint == f"Valid: {tmp_path}/hosts.yaml."


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "more than 500,000 values" in refusal_of("\n".join(lines)).message


@pytest.mark.parametrize("text", ["[" * 1_100, "{a: " * 5_000, "- " * 5_000, "a: &x [" * 3_000])
def test_deep_nesting_is_refused(text: str) -> None:
    assert refusal_of(text).line >= 0


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_bytes(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="directory"):
        read_bytes(tmp_path)
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        read_bytes(tmp_path / "large")


def test_paths_start_at_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    file = tmp_path / "inv.yaml"
    file.write_text(
        "known_hosts: none\nhosts:\n  a: {key: keys/id}\n  b: {key: ~/.ssh/id, known_hosts: /etc/kh}\n  c: {}"
    )
    a, b, c = load_inventory(file).hosts
    assert (a.key, a.known_hosts) == (str(tmp_path / "keys/id"), "none")
    assert (b.key, b.known_hosts) == ("/home/x/.ssh/id", "/etc/kh")
    assert (c.key, c.known_hosts) == (None, "none")


def test_a_mistake_points_at_its_letter(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "name: x\nstage:\n  - run-command: |\n\n      echo hi\n      echo {{ verison }}\n"
        "    when: \"host.name == 'a' &&\"\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_workflow(file)
    assert [(p.line, p.column) for p in caught.value.problems] == [(6, 12), (7, 31)]


WORDS = [
    "hosts",
    "groups",
    "vars",
    "stage",
    "switch",
    "run-command",
    "when",
    "expect",
    "policy",
    "max_parallel",
    "gates",
]
WORDS += [
    "health",
    "path",
    "children",
    "port",
    "address",
    "web[1-3]",
    "{{ x }}",
    "*a",
    "&a ",
    "<<",
    "25%",
    "5s",
    "'",
    '"',
    "|",
    ">",
]
SOUP = st.lists(
    st.sampled_from([*WORDS, ": ", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "!", "#", "a", "\t"]),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | SOUP.map(lambda words: "".join(words).encode()))
@example(b"%YAML 9.9\n---\na")
@example(b"\xef\xbb\xbfhosts: [a]")
@example(b"hosts: {a: {port: 0x}}")
@example(b"name: a\nstage: [{run-command: {command: [{a: b}]}}]")
@example(b"--- !!map\n? !!set {}")
@example(b"a: !!int x")
@example(b"\x85")
def test_any_bytes_give_a_value_or_our_error(content: bytes) -> None:
    for read in (read_inventory, lambda node, problems: read_workflow(node, problems, RegisteredVerbs())):
        problems = Problems()
        with contextlib.suppress(ConfigError, UsageError):
            assert read(parse_yaml(content, "f", problems), problems) is not None
            problems.check()

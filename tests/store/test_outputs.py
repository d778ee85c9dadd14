"""The files of full outputs: where they are, who may read them, how large they get, when they go."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.errors import StoreError, UsageError
from sane.store.outputs import MAX_NAME_CHARS, file_name, open_output, output_path, prune_outputs


def test_an_output_is_kept_where_it_is_said_to_be(tmp_path: Path) -> None:
    with open_output(tmp_path / "state", "web-7", "web1.example", "copy files", 1) as output:
        output.write(b"one\n")
        output.write(b"\x00\xfftwo")
    assert output.path == tmp_path / "state/outputs/web-7/web1.example/copy%20files-1.log"
    assert output.path == output_path(tmp_path / "state", "web-7", "web1.example", "copy files", 1)
    assert output.path.read_bytes() == b"one\n\x00\xfftwo"
    output.close()


def test_an_attempt_that_is_resumed_goes_on_in_its_file(tmp_path: Path) -> None:
    for part in (b"before", b" after"):
        with open_output(tmp_path, "d", "h", "s", 1) as output:
            output.write(part)
    with open_output(tmp_path, "d", "h", "s", 2) as other:
        other.write(b"again")
    assert output.path.read_bytes() == b"before after"
    assert other.path.read_bytes() == b"again"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        output = open_output(tmp_path / "state", "d", "h", "s", 1)
    finally:
        os.umask(old)
    output.close()
    assert stat.S_IMODE(output.path.stat().st_mode) == 0o600
    for parent in list(output.path.parents)[:4]:
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700, parent


def test_it_is_bounded_and_says_what_is_missing(tmp_path: Path) -> None:
    with open_output(tmp_path, "d", "h", "s", 1, limit_bytes=10) as output:
        output.write(b"12345678")
        output.write(b"90abc")
        output.write(b"def")
        assert output.dropped_bytes == 6
    assert output.path.read_bytes() == b"1234567890\n[6 bytes more were not kept]\n"
    with open_output(tmp_path, "d", "h", "s", 1, limit_bytes=10) as output:
        output.write(b"x")
    assert output.path.read_bytes().startswith(b"1234567890\n[6 bytes more were not kept]\n\n[1 bytes more")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "x" * 5000, "\ud800"]
)
def test_no_name_leaves_the_directory(tmp_path: Path, name: str) -> None:
    with open_output(tmp_path, name, name, name, 1) as output:
        output.write(b"x")
    assert output.path.resolve().is_relative_to(tmp_path.resolve() / "outputs")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert len(output.path.relative_to(tmp_path).parts) == 4


@given(st.lists(st.text(max_size=150), min_size=2, max_size=2, unique=True))
def test_different_names_get_different_files(names: list[str]) -> None:
    one, other = map(file_name, names)
    assert one != other
    for coded in (one, other):
        assert 0 < len(coded) <= MAX_NAME_CHARS + 13
        assert not set(coded) & set("/\0")
        assert not coded.startswith(".")


def test_a_link_a_fifo_or_a_second_name_in_its_place_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    path = output_path(tmp_path, "d", "h", "s", 1)
    path.parent.mkdir(parents=True)
    for put in (path.symlink_to, path.hardlink_to, lambda _: os.mkfifo(path)):
        put(secret)
        with pytest.raises(StoreError):
            open_output(tmp_path, "d", "h", "s", 1)
        path.unlink()
    assert secret.read_text() == "mine"
    with pytest.raises(UsageError):
        open_output(tmp_path, "d", "h", "s", 0)


def test_a_directory_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        open_output(Path("/dev/null/state"), "d", "h", "s", 1)


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = open_output(tmp_path, "d", "h", "s", 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"s-1\.log can't be written: File too large"):
            output.write(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        output.close()
    assert output.path.read_bytes() == b"x" * 1000


def make(state_dir: Path, deployment: str, size: int, at_s: float) -> Path:
    with open_output(state_dir, deployment, "h", "s", 1) as output:
        output.write(b"x" * size)
    for path in (output.path, *list(output.path.parents)[:2]):
        os.utime(path, (at_s, at_s))
    return output.path


def test_pruning_takes_the_old_then_the_oldest_and_spares_what_runs(tmp_path: Path) -> None:
    paths = {name: make(tmp_path, name, 100, at_s) for name, at_s in (("a", 10), ("b", 500), ("c", 600), ("run", 5))}
    pruned = prune_outputs(tmp_path, now_s=1000, max_age_s=600, max_bytes=10_000, keep=["run"])
    assert pruned == (1, 100)
    assert {name for name, path in paths.items() if path.exists()} == {"b", "c", "run"}
    assert prune_outputs(tmp_path, now_s=1000, max_age_s=600, max_bytes=250, keep=["run"]) == (1, 100)
    assert {name for name, path in paths.items() if path.exists()} == {"c", "run"}
    assert prune_outputs(tmp_path, now_s=1000, max_age_s=600, max_bytes=250, keep=["run"]) == (0, 0)


def test_pruning_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    old = make(tmp_path / "state", "a", 10, 1)
    (tmp_path / "state/outputs/link").symlink_to(outside)
    (old.parent / "link").symlink_to(outside)
    for path in (old.parent, old.parents[1]):
        os.utime(path, (1, 1))
    pruned = prune_outputs(tmp_path / "state", now_s=1e12, max_age_s=1, max_bytes=0)
    assert pruned.deployments == 1
    assert not old.exists()
    assert (outside / "file").read_text() == "mine"
    assert prune_outputs(tmp_path / "none", now_s=0, max_age_s=0, max_bytes=0) == (0, 0)

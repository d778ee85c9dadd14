"""sane-create-file, sane-read-file and sane-checksum-file on `local:`.

The backups that calls make are removed by the fixture `call`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sane.core.command import Command, CommandResult
from sane.core.valid_json import to_json
from sane.errors import NotFoundError, RemoteError, UsageError
from sane.primitives.create_file import create_file
from sane.primitives.read_file import read_file
from sane.surfaces.context import BlockingContext
from sane.transports.blocking import run_blocking
from sane.transports.local import LocalTransport

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted file system of 64 KB; only root can mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run_blocking(LocalTransport().run(Command(f"mount -t tmpfs -o size=64k tmpfs '{disk}'")))
    if mounted.exit_code != 0:
        yield Path("/dev/full")  # without root: every write to it fails with the same error
        return
    yield disk
    run_blocking(LocalTransport().run(Command(f"umount '{disk}'")))


def test_answers_what_the_file_holds(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    answer = call("create-file", "local:", str(path), "hello")
    assert path.read_bytes() == b"hello\n"
    assert answer == {
        "status": "created",
        "path": str(path),
        "checksum": hashlib.md5(b"hello\n").hexdigest(),
        "sha256": hashlib.sha256(b"hello\n").hexdigest(),
        "size_bytes": 6,
    }


def test_exact_adds_no_newline(call: Call, tmp_path: Path) -> None:
    call("create-file", "local:", str(tmp_path / "t-file"), "hello", exact=True)
    assert (tmp_path / "t-file").read_bytes() == b"hello"


@pytest.mark.parametrize(
    "name",
    [
        "t-a b",
        "t-'q'\"d\"",
        "t-$HOME`id`",
        "t-new\nline",
        "t-ünï☃",
        "t-back\\slash",
        "t-*",
        "t-;rm",
        "t-caf\udce9",
        "t-\n",
    ],
)
def test_takes_any_name(call: Call, tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    call("create-file", "local:", path, "one")
    answer = call("create-file", "local:", path, "two")
    with open(path) as file:
        assert file.read() == "two\n"
    with open(answer["backup_path"]) as file:
        assert file.read() == "one\n"
    assert call("read-file", "local:", path)["content"] == "two\n"
    assert os.listdir(tmp_path) == [name]


def test_takes_a_relative_name_that_begins_with_a_dash(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call("create-file", "local:", "-rf", "x", backup=False)
    assert (tmp_path / "-rf").read_text() == "x\n"


def test_takes_a_name_of_255_bytes(call: Call, tmp_path: Path) -> None:
    path = tmp_path / ("t-" + "x" * 253)
    call("create-file", "local:", str(path), "one")
    assert Path(call("create-file", "local:", str(path), "two")["backup_path"]).read_text() == "one\n"


@pytest.mark.parametrize("name", ["日" * 80, "x" + "é" * 120, "x" * 199 + "\udcff" + "x" * 50])
def test_the_backup_of_a_long_name_can_be_opened(call: Call, tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    call("create-file", "local:", path, "one")
    backup = call("create-file", "local:", path, "two")["backup_path"]
    if name.isprintable():
        assert backup == json.loads(to_json(backup))
    assert Path(backup).read_text() == "one\n"
    assert len(os.fsencode(Path(backup).name)) > 200


def test_expands_the_home_on_the_target(call: Call) -> None:
    answer = call("create-file", "local:", "~/t-file", "x")
    assert answer["path"] == f"{os.environ['HOME']}/t-file"
    assert Path(answer["path"]).read_text() == "x\n"


@pytest.mark.parametrize("size", [0, 1, 10 * 1024 * 1024])
def test_takes_any_size_and_bytes(call: Call, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = str(tmp_path / "t-file")
    answer = call("create-file", "local:", path, data.decode("utf-8", "surrogateescape"), exact=True)
    assert (tmp_path / "t-file").read_bytes() == data
    assert answer["size_bytes"] == size
    sums = call("checksum-file", "local:", path)
    assert (sums["md5"], sums["sha256"], sums["size_bytes"]) == (answer["checksum"], answer["sha256"], size)


def test_takes_base64(call: Call, tmp_path: Path) -> None:
    path = str(tmp_path / "t-file")
    call("create-file", "local:", path, base64.b64encode(b"\0\xff").decode(), exact=True, encoding="base64")
    assert (tmp_path / "t-file").read_bytes() == b"\0\xff"
    with pytest.raises(UsageError, match="content is not base64"):
        call("create-file", "local:", path, "!", encoding="base64")


def test_keeps_mode_and_owner(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    path.write_text("old\n")
    path.chmod(0o4751)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
        path.chmod(0o4751)
    before = path.stat()
    call("create-file", "local:", str(path), "new", backup=False)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino  # replaced, not written over
    assert path.read_text() == "new\n"


def test_a_new_file_gets_what_the_umask_leaves(call: Call, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        call("create-file", "local:", str(tmp_path / "t-file"), "x")
    finally:
        os.umask(before)
    assert (tmp_path / "t-file").stat().st_mode & 0o777 == 0o640


def test_sets_a_mode(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    call("create-file", "local:", str(path), "x", mode="0755")
    assert path.stat().st_mode & 0o777 == 0o755
    answer = call("create-file", "local:", str(path), "x", mode="600")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "unchanged" not in answer
    with pytest.raises(UsageError, match="mode must be three or four octal digits, got 'u\\+x'"):
        call("create-file", "local:", str(path), "x", mode="u+x")


def test_writes_through_a_chain_of_links(call: Call, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "t-link").symlink_to("t-second")
    (tmp_path / "t-second").symlink_to("real/t-file\n")
    call("create-file", "local:", str(tmp_path / "t-link"), "through")
    assert (tmp_path / "t-link").is_symlink()
    assert (tmp_path / "t-second").is_symlink()
    assert (tmp_path / "real" / "t-file\n").read_text() == "through\n"


def test_the_same_content_changes_nothing_and_makes_no_backup(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    call("create-file", "local:", str(path), "same")
    before = path.stat()
    answer = call("create-file", "local:", str(path), "same")
    assert answer["unchanged"] is True
    assert "backup_path" not in answer
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_backups_of_one_second_do_not_replace_each_other(call: Call, tmp_path: Path) -> None:
    path = str(tmp_path / "t-file")
    answers = [call("create-file", "local:", path, str(n)) for n in range(4)]
    backups = [answer["backup_path"] for answer in answers[1:]]
    assert [Path(backup).read_text() for backup in backups] == ["0\n", "1\n", "2\n"]
    assert "backup_path" not in answers[0]
    assert all(Path(backup).name.split("-", 2)[2] == "t-file" for backup in backups)
    assert "backup_path" not in call("create-file", "local:", path, "x", backup=False)


def test_names_the_reason_and_leaves_no_trace(call: Call, tmp_path: Path) -> None:
    def refused(path: str) -> str:
        with pytest.raises(RemoteError) as caught:
            call("create-file", "local:", path, "x")
        assert path in caught.value.message
        return caught.value.message

    (tmp_path / "loop").symlink_to("loop")
    assert "Is a directory" in refused(str(tmp_path))
    assert "Is a directory" in refused(f"{tmp_path}/new/")
    assert "No such directory" in refused(f"{tmp_path}/none/t-file")
    assert "Too many levels of symbolic links" in refused(f"{tmp_path}/loop")
    assert "Not a regular file" in refused("/dev/null")
    assert "File name too long" in refused(f"{tmp_path}/{'t' * 256}")
    assert "can't be written: no file can be made in /proc" in refused("/proc/version")
    assert os.listdir(tmp_path) == ["loop"]
    with pytest.raises(UsageError, match="path is empty"):
        call("create-file", "local:", "", "x")


def test_a_full_disk_leaves_the_file_as_it_was(call: Call, small_disk: Path) -> None:
    if small_disk == Path("/dev/full"):
        with pytest.raises(RemoteError, match="Not a regular file"):
            call("create-file", "local:", "/dev/full", "x")
        return
    path = small_disk / "t-file"
    path.write_text("old\n")
    with pytest.raises(RemoteError, match="No space left on device"):
        call("create-file", "local:", str(path), "x" * 1_000_000)
    assert path.read_text() == "old\n"
    assert os.listdir(small_disk) == ["t-file"]


def test_a_directory_that_can_not_be_written_is_named(short_dir: Path) -> None:
    """Run the script as a user without rights (root has them all)."""
    folder = short_dir / "folder"
    folder.mkdir(mode=0o555)
    (folder / "t-file").write_text("old\n")
    as_nobody = f"chmod a+rx '{short_dir}'; cd /; exec setpriv --reuid=65534 --clear-groups sh -c \"$SANE_SCRIPT\""

    class AsNobody(BlockingContext, LocalTransport):
        def __init__(self) -> None:
            LocalTransport.__init__(self)

        async def transport(self, target: object) -> LocalTransport:  # type: ignore[override]
            return self

        async def run(self, command: Command, on_output: object = None) -> CommandResult:
            return await super().run(Command(as_nobody, env=command.env, stdin=command.stdin))

    try:
        with pytest.raises(RemoteError, match="Permission denied"):
            run_blocking(create_file(AsNobody(), "local:", str(folder / "t-file"), "x"))
    finally:
        folder.chmod(0o755)
    assert (folder / "t-file").read_text() == "old\n"


def test_a_reader_never_sees_a_part(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "t-file"
    path.write_text("a" * 100_000 + "\n")
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for letter in "bcde":
            call("create-file", "local:", str(path), letter * 100_000, backup=False)
    finally:
        stop.set()
        reader.join(timeout=5)
    assert seen <= {letter.encode() * 100_000 + b"\n" for letter in "abcde"}


def test_reads_a_part_and_says_what_is_left(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    path.write_text("äöü" * 10)
    os.utime(path, (0, 1_700_000_000))
    first = call("read-file", "local:", str(path), limit_bytes=5)
    assert (first["content"], first["truncated"], first["next_offset"], first["size_bytes"]) == ("äö", True, 4, 60)
    assert first["modified_time"] == "2023-11-14T22:13:20Z"
    rest = call("read-file", "local:", str(path), offset=first["next_offset"])
    assert first["content"] + rest["content"] == path.read_text()
    assert rest["truncated"] is False
    assert "next_offset" not in rest
    assert rest["checksum"] == hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("limit_bytes", [1, 2, 3, 4])
@pytest.mark.parametrize("content", ["é日x😀".encode(), b"\xffab\xe6\x97"])
def test_a_loop_that_reads_on_comes_to_the_end(call: Call, tmp_path: Path, content: bytes, limit_bytes: int) -> None:
    path = tmp_path / "t-file"
    path.write_bytes(content)
    read, offset = b"", 0
    while offset is not None:
        part = call("read-file", "local:", str(path), limit_bytes=limit_bytes, offset=offset)
        data = part["content"].encode()
        read += base64.b64decode(data) if part["encoding"] == "base64" else data
        assert part.get("next_offset", len(content)) > offset
        offset = part.get("next_offset")
    assert read == content


def test_a_time_beyond_all_dates_is_not_told(call: Call) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:  # other file systems cut it to what they can keep
        os.utime(file.name, (0, 999_999_999_999))
        assert "modified_time" not in call("read-file", "local:", file.name)


def test_reads_what_is_no_text_as_base64(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t-file"
    path.write_bytes(b"\xff\0data")
    answer = call("read-file", "local:", str(path))
    assert (answer["encoding"], base64.b64decode(answer["content"])) == ("base64", b"\xff\0data")
    path.write_bytes(b"text")
    assert call("read-file", "local:", str(path), encoding="base64")["content"] == "dGV4dA=="


@pytest.mark.parametrize("name", ["read-file", "checksum-file"])
def test_says_why_a_file_can_not_be_read(call: Call, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="none can't be read: No such file or directory"):
        call(name, "local:", str(tmp_path / "none"))
    with pytest.raises(RemoteError, match="Is a directory"):
        call(name, "local:", str(tmp_path))
    with pytest.raises(RemoteError, match="Not a regular file"):
        call(name, "local:", "/dev/zero")


FILE_NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=FILE_NAMES, data=st.binary(max_size=2000))
def test_any_content_and_path_round_trips(short_dir: Path, name: bytes, data: bytes) -> None:
    context = BlockingContext()
    path = f"{short_dir}/{os.fsdecode(name)}"
    content = data.decode("utf-8", "surrogateescape")
    run_blocking(create_file(context, "local:", path, content, False, exact=True))
    answer = run_blocking(read_file(context, "local:", path, encoding="base64"))
    assert base64.b64decode(answer.content) == data
    assert (answer.path, answer.size_bytes, answer.truncated) == (path, len(data), False)
    os.unlink(path)

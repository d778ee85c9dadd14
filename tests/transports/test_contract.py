"""The one contract of every transport; a failure here names the transport in its test id."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
import time
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.errors import NotFoundError, RemoteError, UsageError
from tests.transports.contract import (
    BINARY,
    ECHO_STDIN,
    EXIT_7,
    KILLED,
    LINES,
    NO_STDIN,
    SAY,
    SHOW_CWD,
    SHOW_ENV,
    Place,
)

EVERY_BYTE = bytes(range(256)) * 20
NASTY = [
    "",
    'it\'s "quoted"',
    "$(touch /tmp/no) `id` $HOME ${x}",
    "two\nlines\n",
    "back\\slash\\",
    "ünïcode ☃ \U0001f600",
    "tab\there ! # ; & | < > * ? [a] {b,c} ~",
    "-n",
    "caf\udce9",
]
ENDS_WITHIN_S = 4.0  # a time-out or a cancellation of something that ignores TERM


async def until(condition: object, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def test_output_is_exact_to_the_byte(place: Place) -> None:
    path = str(place.root / "bytes")
    await place.transport.put(path, EVERY_BYTE)
    result = await place.transport.run(Command(BINARY, env={"FILE": path}))
    assert result.output == EVERY_BYTE
    assert (result.exit_code, result.timed_out, result.truncated) == (0, False, False)


async def test_exit_code_and_both_streams(place: Place) -> None:
    result = await place.transport.run(Command(EXIT_7))
    assert result.exit_code == 7
    if place.separate_stderr:
        assert (result.output, result.stderr) == (b"out", b"err")
    else:
        assert result.output == b"outerr"
    assert result.command == EXIT_7
    assert result.duration_ms > 0


async def test_end_by_a_signal(place: Place) -> None:
    assert (await place.transport.run(Command(KILLED))).exit_code == 137


async def test_environment_is_data(place: Place) -> None:
    for value in NASTY:
        result = await place.transport.run(Command(SHOW_ENV, env={"VALUE": value}))
        assert result.output == os.fsencode(value)


async def test_working_directory_is_data(place: Place) -> None:
    for name in ("plain", "it's a $(dir)", "ünï\nline", "back\\slash", "-dash"):
        path = place.root / name
        path.mkdir()
        result = await place.transport.run(Command(SHOW_CWD, cwd=str(path)))
        assert result.output == os.fsencode(path)


async def test_standard_input(place: Place) -> None:
    data = EVERY_BYTE * 40
    assert (await place.transport.run(Command(ECHO_STDIN, stdin=data))).output == data
    if not place.has_terminal:  # a pane reads from whoever sits there
        assert (await place.transport.run(Command(NO_STDIN))).output == b"done"


async def test_output_comes_in_pieces_and_whole(place: Place) -> None:
    pieces: list[bytes] = []
    result = await place.transport.run(Command(LINES), pieces.append)
    assert b"".join(pieces) == result.output
    assert result.output.splitlines()[-1] == b"line1999"


@pytest.mark.parametrize("error", [BrokenPipeError, TimeoutError])  # as of a connection lost, of a time that is over
async def test_a_caller_whose_on_output_fails_stops_the_command(place: Place, error: type[OSError]) -> None:
    pids = place.root / "pids"

    def fail(chunk: bytes) -> None:
        deadline = time.monotonic() + 5
        while not hasattr(place.transport, "files") and not place.started(pids) and time.monotonic() < deadline:
            time.sleep(0.005)
        raise error("nobody reads")

    started = time.monotonic()
    with pytest.raises(error, match="nobody reads"):
        await place.transport.run(Command(SAY + place.hang, env={"PIDS": str(pids)}, timeout_s=30), fail)
    assert time.monotonic() - started < 5 + ENDS_WITHIN_S
    await until(lambda: place.still_running(pids) == [])
    assert (await place.transport.run(Command(LINES))).exit_code == 0


@pytest.mark.parametrize("error", [BrokenPipeError, TimeoutError, ConnectionResetError, ValueError])
async def test_what_on_output_raises_is_raised_where_the_command_has_ended_by_itself(
    place: Place, error: type[Exception]
) -> None:
    def fail(chunk: bytes) -> None:
        raise error("nobody reads")

    for script in (EXIT_7, LINES):
        with pytest.raises(error, match="nobody reads"):
            await place.transport.run(Command(script, timeout_s=30), fail)
        assert (await place.transport.run(Command(EXIT_7))).exit_code == 7


async def test_output_limit(place: Place) -> None:
    result = await place.transport.run(Command(LINES, output_limit_bytes=100))
    assert (len(result.output), result.truncated, result.exit_code) == (100, True, 0)


async def test_timeout_leaves_nothing_running(place: Place) -> None:
    pids = place.root / "pids"
    started = time.monotonic()
    result = await place.transport.run(Command(place.hang, env={"PIDS": str(pids)}, timeout_s=0.5))
    assert time.monotonic() - started < 0.5 + ENDS_WITHIN_S
    assert (result.exit_code, result.timed_out) == (124, True)
    await until(lambda: place.still_running(pids) == [])
    assert (await place.transport.run(Command(LINES))).exit_code == 0


async def test_a_time_without_end(place: Place) -> None:
    for timeout_s in (2_147_484, 1e10, float("inf")):  # more than a poll takes, in ms and in s
        assert (await place.transport.run(Command(EXIT_7, timeout_s=timeout_s))).exit_code == 7


async def test_a_folder_that_can_not_be_entered(place: Place) -> None:
    if hasattr(place.transport, "files"):
        return  # it has no folders
    (place.root / "file").touch()
    for name, reason in (("none", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(RemoteError, match=f"{name} can't be entered.*: {reason}"):
            await place.transport.run(Command(LINES, cwd=str(place.root / name)))
    for exit_code in (1, 2):
        result = await place.transport.run(Command(f"(exit {exit_code})", cwd=str(place.root)))
        assert result.exit_code == exit_code


async def test_a_folder_below_the_home(place: Place) -> None:
    if hasattr(place.transport, "files"):
        return
    home = (await place.transport.run(Command('printf %s "$HOME"'))).text
    assert (await place.transport.run(Command(SHOW_CWD, cwd="~"))).text == home
    (Path(home) / "below it").mkdir(exist_ok=True)
    assert (await place.transport.run(Command(SHOW_CWD, cwd="~/below it"))).text == f"{home}/below it"


async def test_paths_and_limits_that_mean_nothing(place: Place) -> None:
    for path in ("", "/tmp/\0", "/tmp/\ud800"):
        with pytest.raises(UsageError):
            await place.transport.put(path, b"x")
        with pytest.raises(UsageError):
            await place.transport.get(path)
    with pytest.raises(UsageError, match="limit_bytes"):
        await place.transport.get(str(place.root / "file"), limit_bytes=-1)


async def test_cancellation_leaves_nothing_running(place: Place) -> None:
    pids = place.root / "pids"
    task = asyncio.create_task(place.transport.run(Command(place.hang, env={"PIDS": str(pids)}, timeout_s=None)))
    await until(lambda: place.started(pids))
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < ENDS_WITHIN_S
    await until(lambda: place.still_running(pids) == [])


async def test_files_come_back_as_they_went(place: Place) -> None:
    files = {
        "plain": b"text\n",
        "empty": b"",
        "binary": EVERY_BYTE,
        "big": EVERY_BYTE * 205,
        'it\'s a "file" $(x) \\ \n -n': b"odd name",
        "ünï ☃": b"\0",
        "-rf": b"no option",
    }
    for name, content in files.items():
        path = str(place.root / name)
        await place.transport.put(path, content)
        assert await place.transport.get(path, limit_bytes=len(content) + 1) == content


async def test_put_replaces_whole_files(place: Place) -> None:
    path = str(place.root / "file")
    await place.transport.put(path, b"first, and longer", mode=0o640)
    await place.transport.put(path, b"second")
    assert await place.transport.get(path) == b"second"


async def test_readers_never_see_half_a_file(place: Place) -> None:
    path = str(place.root / "file")
    versions = [bytes([65 + number]) * 300_000 for number in range(2)]
    await place.transport.put(path, versions[0])

    async def write() -> None:
        for number in (1, 0, 1):
            await place.transport.put(path, versions[number])

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await place.transport.get(path, limit_bytes=1 << 20) in versions
    await writing


async def test_get_of_what_is_not_there(place: Place) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        await place.transport.get(str(place.root / "missing"))


async def test_get_reads_no_more_than_asked(place: Place) -> None:
    path = str(place.root / "file")
    await place.transport.put(path, b"0123456789")
    assert await place.transport.get(path, limit_bytes=4) == b"0123"


async def test_put_where_it_is_not_possible(place: Place) -> None:
    if place.separate_stderr and hasattr(place.transport, "fault"):
        place.transport.fault = "full-disk"
    with pytest.raises(RemoteError) as raised:
        await place.transport.put(str(place.root / "no" / "such" / "directory"), b"x")
    assert hasattr(place.transport, "fault") or re.search(r"[Nn]o such|nonexistent", str(raised.value))
    assert "sane:" not in str(raised.value)  # of the shell that found it out


async def test_only_regular_files_are_written_and_read(place: Place) -> None:
    if hasattr(place.transport, "files"):
        return  # its files are a dictionary
    folder = place.root / "special"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        (folder / "null").symlink_to("/dev/null")
        for name in ("fifo", "socket", "null"):
            with pytest.raises(RemoteError):
                await place.transport.put(str(folder / name), b"x")
            async with asyncio.timeout(10):  # a FIFO must not be waited for
                with pytest.raises(RemoteError):
                    await place.transport.get(str(folder / name))
    assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(folder)) == ["fifo", "null", "socket"]


async def test_close_twice(place: Place) -> None:
    await place.transport.close()
    await place.transport.close()


async def test_kept_mode_and_link(place: Place) -> None:
    if hasattr(place.transport, "files"):
        await place.transport.put("file", b"x", mode=0o600)
        assert place.transport.modes["file"] == 0o600
        return
    file, link = place.root / "file", place.root / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    await place.transport.put(str(link), b"new")
    assert link.is_symlink()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    await place.transport.put(str(file), b"newer", mode=0o755)
    assert file.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in Path(place.root).iterdir() if p.name.startswith(".sane")) == []

"""The transport `local:`, called both ways: without an event loop, and inside one."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sane.core.command import Command, CommandResult
from sane.errors import NotFoundError, RemoteError, TransportError
from sane.transports.blocking import run_blocking
from sane.transports.local import LocalTransport, find_program
from sane.transports.process import KILL_GRACE_S
from tests.processes import is_running

T = TypeVar("T")


class Caller:
    """Call the transport's coroutines one of the two ways."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.transport = LocalTransport()

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine) if self.way == "asyncio" else run_blocking(coroutine)

    def run(self, script: str, **fields: Any) -> CommandResult:
        return self(self.transport.run(Command(script, **fields)))


@pytest.fixture(params=["blocking", "asyncio"])
def local(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def process_is_gone(pid: int, within_s: float = 2.0) -> bool:
    """Say whether a process ends within a bounded time."""
    until = time.monotonic() + within_s
    while is_running(pid):
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)
    return True


def test_keeps_both_streams_and_the_code(local: Caller) -> None:
    result = local.run("printf 'out\\n\\n'; printf err >&2; exit 3")
    assert (result.output, result.stderr, result.exit_code) == (b"out\n\n", b"err", 3)
    assert result.target == "local:"
    assert not result.timed_out


def test_runs_bash_where_there_is_one(local: Caller) -> None:
    assert local.run("[[ ab == a* ]] && echo $0").output.strip().endswith(b"bash")


def test_falls_back_to_sh(tmp_path: Path) -> None:
    transport = LocalTransport(environ={"PATH": str(tmp_path)})
    assert (transport.shell, LocalTransport().shell) == ("sh", "bash")
    assert run_blocking(transport.run(Command('echo "${BASH_VERSION:-none}"'))).output == b"none\n"


@pytest.mark.parametrize(
    "value", ["", "plain", 'it\'s "quoted" $HOME `id` \\', "two\nlines", "ünï ☃", "-n", "caf\udce9"]
)
def test_passes_environment_as_data(local: Caller, value: str) -> None:
    assert local.run('printf %s "$VALUE"', env={"VALUE": value}).output == os.fsencode(value)


def test_feeds_standard_input_and_ends_it(local: Caller) -> None:
    data = bytes(range(256)) * 5000
    assert local.run("cat", stdin=data).output == data


def test_gives_no_standard_input_where_none_was_given(local: Caller) -> None:
    assert local.run("cat; echo end").output == b"end\n"


def test_survives_a_command_that_closes_its_input(local: Caller) -> None:
    assert local.run("exec <&-; echo done", stdin=b"x" * 1_000_000).output == b"done\n"


def test_runs_in_the_working_directory(local: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "it's a -dir"
    folder.mkdir()
    assert local.run("pwd", cwd=str(folder)).text.strip() == str(folder)
    chunks: list[bytes] = []
    with pytest.raises(RemoteError, match="none can't be entered"):
        local(local.transport.run(Command("echo ran", cwd=str(tmp_path / "none")), chunks.append))
    assert chunks == []


def test_takes_a_script_longer_than_one_argument(local: Caller) -> None:
    script = f"value='{'x' * 300_000}'; echo ${{#value}}; exit 5"
    result = local.run(script)
    assert (result.output, result.exit_code) == (b"300000\n", 5)


def test_reports_a_signal_as_shells_do(local: Caller) -> None:
    assert local.run("kill -KILL $$").exit_code == 137


def test_a_timeout_ends_the_whole_group_and_keeps_the_output(local: Caller, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = time.monotonic()
    result = local.run(f"echo before; sleep 600 & echo $! > {pids}; wait", timeout_s=0.3)
    assert time.monotonic() - started < 0.3 + KILL_GRACE_S + 1
    assert (result.exit_code, result.timed_out, result.output) == (124, True, b"before\n")
    assert process_is_gone(int(pids.read_text()))


def test_a_command_that_ignores_the_first_signal_is_killed(local: Caller, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = time.monotonic()
    result = local.run(f"trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done", timeout_s=0.3)
    assert time.monotonic() - started < 0.3 + KILL_GRACE_S + 1
    assert result.timed_out
    assert process_is_gone(int(pids.read_text()))


@pytest.mark.parametrize("raises_at", ["first", "after the timeout"])
def test_one_that_ignores_the_first_signal_is_killed_where_its_listener_fails(tmp_path: Path, raises_at: str) -> None:
    pids = tmp_path / "pids"
    started = time.monotonic()

    def listen(chunk: bytes) -> None:
        if raises_at == "first" or b"told to end" in chunk:
            raise ValueError("no more room")

    # It ends by itself after 10 s, so that a call which never kills it fails and does not hang.
    script = f"trap 'echo told to end' TERM; echo $$ > {pids}; for i in {{1..200}}; do echo; sleep 0.05; done"
    with pytest.raises(ValueError, match="no more room"):
        run_blocking(LocalTransport().run(Command(script, timeout_s=0.3), listen))
    assert time.monotonic() - started < 0.3 + KILL_GRACE_S + 1
    assert process_is_gone(int(pids.read_text()))


def test_a_background_job_that_holds_the_output_does_not_hold_up_the_call(local: Caller, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = time.monotonic()
    result = local.run(f"sleep 30 & echo $! > {pids}; echo done")
    try:
        assert time.monotonic() - started < 2
        assert (result.output, result.exit_code) == (b"done\n", 0)
        assert not process_is_gone(int(pids.read_text()), within_s=0.05)  # it was asked to stay
    finally:
        os.kill(int(pids.read_text()), 9)


OWNER = """import asyncio, sys
from sane.core.command import Command
from sane.transports.blocking import run_blocking
from sane.transports.local import LocalTransport
way, script, outlives, after = sys.argv[1:]
call = LocalTransport().run(Command(script, outlives_caller=outlives == "outlives"))
asyncio.run(call) if way == "asyncio" else run_blocking(call)
print("answered", flush=True)
run_blocking(LocalTransport().run(Command(after)))"""


def start_owner(way: str, script: str, *, outlives: str = "", after: str = "sleep 60") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", OWNER, way, script, outlives, after]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def pids_in(file: Path, count: int) -> list[int]:
    until = time.monotonic() + 10
    while not file.exists() or len(file.read_text().split()) < count:
        assert time.monotonic() < until, "it did not start"
        time.sleep(0.01)
    return [int(word) for word in file.read_text().split()]


def wait_for_lifeline(pid: int) -> None:
    """Wait until the end of a descriptor means a signal to a child: its starter says so once it has started it."""
    until = time.monotonic() + 10
    while not any(is_async(file) for file in Path(f"/proc/{pid}/fdinfo").iterdir()):
        assert time.monotonic() < until, "no descriptor would signal"
        time.sleep(0.01)


def is_async(fdinfo: Path) -> bool:
    try:
        flags = re.search(r"flags:\s*(\d+)", fdinfo.read_text())
    except OSError:  # closed meanwhile
        return False
    return flags is not None and bool(int(flags[1], 8) & os.O_ASYNC)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone signals the end of a pipe")
@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_a_command_ends_with_a_caller_that_is_killed(tmp_path: Path, way: str) -> None:
    owner = start_owner(way, f"sleep 60 & echo $! $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pids; sleep 60; :")
    pids = pids_in(tmp_path / "pids", 2)
    wait_for_lifeline(pids[1])
    owner.kill()
    owner.communicate()
    assert [pid for pid in pids if not process_is_gone(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone signals the end of a pipe")
@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_what_a_command_left_behind_outlives_a_caller_that_is_killed_later(tmp_path: Path, way: str) -> None:
    later = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/later; sleep 60; :"
    owner = start_owner(way, f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pids", after=later)
    (left,) = pids_in(tmp_path / "pids", 1)
    try:
        (running,) = pids_in(tmp_path / "later", 1)
        wait_for_lifeline(running)
        owner.kill()
        owner.communicate()
        assert process_is_gone(running)  # so whatever the end of the caller does has been done
        assert not process_is_gone(left, within_s=0.05)
    finally:
        os.kill(left, 9)


def test_a_command_that_is_to_outlive_its_caller_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    owner = start_owner("blocking", f"echo $$ > {tmp_path}/pids; read x <{tmp_path}/fifo; echo $x", outlives="outlives")
    (pid,) = pids_in(tmp_path / "pids", 1)
    owner.kill()
    owner.communicate()
    assert not process_is_gone(pid, within_s=0.1)
    (tmp_path / "fifo").write_text("go\n")
    assert process_is_gone(pid)


def test_bounds_each_stream_and_says_so(local: Caller) -> None:
    result = local.run("head -c 3000000 /dev/zero; echo err >&2", output_limit_bytes=1000)
    assert (len(result.output), result.stderr, result.truncated, result.exit_code) == (1000, b"err\n", True, 0)
    assert not local.run("printf 1234", output_limit_bytes=4).truncated


WITHOUT_PIDFDS = """
import ctypes, struct, sys
# The system call's number, compared with that of pidfd_open (434 everywhere): ENOSYS, or else allowed.
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 434), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(filter), 0, 0):
    sys.exit(77)
from sane.core.command import Command
from sane.transports.blocking import run_blocking
from sane.transports.local import LocalTransport
result = run_blocking(LocalTransport().run(Command("echo out; exit 3")))
sys.stdout.write(f"{result.text.strip()} {result.exit_code}")
"""


def test_runs_where_the_kernel_refuses_pidfds() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PIDFDS], capture_output=True, text=True, timeout=20)
    if done.returncode == 77:
        pytest.skip("no seccomp filter can be set here")
    assert (done.stdout, done.stderr) == ("out 3", "")


def test_gives_every_chunk_as_it_comes(local: Caller) -> None:
    chunks: list[bytes] = []
    result = local(local.transport.run(Command("echo a; sleep 0.05; echo b"), chunks.append))
    assert b"".join(chunks) == result.output == b"a\nb\n"
    assert len(chunks) == 2


def test_lets_a_closed_pipe_end_a_writer(local: Caller) -> None:
    assert local.run("yes | head -n 1; echo ${PIPESTATUS[0]}").output == b"y\n141\n"


def test_leaves_no_descriptor_open(local: Caller) -> None:
    local.run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        local.run("echo x; echo y >&2", stdin=b"data")
        local.run("sleep 5", timeout_s=0.02)
        local.run("sleep 0.3 & true")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_shell_that_can_not_be_started_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bash").write_text("#!/nonexistent\n")
    (tmp_path / "bash").chmod(0o755)
    with pytest.raises(TransportError, match="can't be started"):
        run_blocking(LocalTransport(environ={"PATH": str(tmp_path)}).run(Command("true")))


async def test_cancelling_ends_the_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    begun = asyncio.Event()
    script = f"sleep 600 & echo $! > {pids}; echo begun; wait"
    task = asyncio.create_task(LocalTransport().run(Command(script), lambda _: begun.set()))
    async with asyncio.timeout(5):
        await begun.wait()
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < KILL_GRACE_S + 1
    assert process_is_gone(int(pids.read_text()))


async def test_many_commands_run_at_once() -> None:
    transport = LocalTransport()
    started = time.monotonic()
    results = await asyncio.gather(*(transport.run(Command(f"sleep 0.5; echo {n}")) for n in range(20)))
    assert time.monotonic() - started < 5  # one after the other they would take 10
    assert [result.text for result in results] == [f"{n}\n" for n in range(20)]


def test_puts_and_gets_a_file(local: Caller, tmp_path: Path) -> None:
    path, data = tmp_path / "a 'b'", bytes(range(256))
    local(local.transport.put(str(path), data, mode=0o640))
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o640
    assert local(local.transport.get(str(path))) == data
    assert local(local.transport.get(str(path), limit_bytes=3)) == data[:3]
    assert os.listdir(tmp_path) == [path.name]


def test_put_keeps_the_mode_and_writes_through_a_link(local: Caller, tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o604)
    link.symlink_to("file")
    local(local.transport.put(str(link), b"new"))
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o604


def test_put_gives_a_new_file_what_the_umask_leaves(local: Caller, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        local(local.transport.put(str(tmp_path / "file"), b""))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_expands_the_home(local: Caller) -> None:
    local(local.transport.put("~/file", b"x"))
    assert (Path(os.environ["HOME"]) / "file").read_bytes() == b"x"
    assert local(local.transport.get("~/file")) == b"x"


def test_put_and_get_say_what_is_wrong(local: Caller, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="No such file or directory"):
        local(local.transport.put(str(tmp_path / "none" / "file"), b""))
    with pytest.raises(RemoteError, match="Is a directory"):
        local(local.transport.put(str(tmp_path), b""))
    with pytest.raises(NotFoundError, match="does not exist"):
        local(local.transport.get(str(tmp_path / "none")))
    with pytest.raises(RemoteError, match="Is a directory"):
        local(local.transport.get(str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_waits_for_no_fifo_and_replaces_none(local: Caller, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RemoteError, match="Not a regular file"):
        local(local.transport.get(str(tmp_path / "fifo")))
    with pytest.raises(RemoteError, match="Not a regular file"):
        local(local.transport.put(str(tmp_path / "fifo"), b"x"))
    assert os.listdir(tmp_path) == ["fifo"]


def test_finds_a_program_on_the_path(tmp_path: Path) -> None:
    assert find_program("sh", "/nonexistent:/bin") == "/bin/sh"
    assert find_program("none-such", os.environ["PATH"]) is None
    (tmp_path / "tool").mkdir()
    assert find_program("tool", str(tmp_path)) is None

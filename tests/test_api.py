"""The Python API: what is exported, that importing it costs nothing, and that it works on every kind of target."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import sane
from sane.errors import NotFoundError, TransportError, UsageError
from tests.e2e.lab import TestLab, lab
from tests.e2e.mcp_fixtures import assert_ends, pid_in, tmux_here, writes_pid
from tests.e2e.pane_fixtures import Tmux
from tests.transports.sshd import free_port

__all__ = ["lab", "tmux_here"]


def public_names(thing: object) -> list[str]:
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def test_the_exported_names_and_signatures_are_pinned():
    assert sorted(sane.__all__) == ["CommandResult", "Connection", "SaneError", "__version__", "connect", "errors"]
    assert public_names(sane) == ["CommandResult", "Connection", "SaneError", "connect", "errors"]
    assert public_names(sane.Connection) == ["get", "put", "run", "target"]
    signatures = {
        "connect": "(target: 'str', *, inventory: 'str | PathLike[str] | None' = None) -> 'Connection'",
        "run": (
            "(self, command: 'str', *, timeout_s: 'float | None' = 30.0, cwd: 'str | PathLike[str] | None' = None,"
            " env: 'Mapping[str, str] | None' = None, stdin: 'bytes | str | None' = None,"
            " on_output: 'Callable[[bytes], object] | None' = None) -> 'CommandResult'"
        ),
        "put": "(self, path: 'str | PathLike[str]', content: 'bytes | str', *, mode: 'int | None' = None) -> 'None'",
        "get": "(self, path: 'str | PathLike[str]', *, limit_bytes: 'int | None' = None) -> 'bytes'",
    }
    assert str(inspect.signature(sane.connect)) == signatures["connect"]
    for name in ("run", "put", "get"):
        assert str(inspect.signature(getattr(sane.Connection, name))) == signatures[name]


def test_importing_sane_imports_nothing_else():
    script = (
        "import sys; before = set(sys.modules); import sane; print(*sorted(set(sys.modules) - before)); sane.SaneError;"
        " print('asyncio' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    modules, asyncio_is_there = printed.splitlines()
    assert set(modules.split()) <= {"sane", "__future__"}
    assert asyncio_is_there == "False"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="conect"):
        sane.conect  # noqa: B018  # pyright: ignore


@pytest.mark.parametrize("kind", ["local", "pane", "ssh"])
async def test_run_put_and_get_on_a_target(kind: str, tmux_here: Tmux, lab: Callable[..., TestLab], tmp_path: Path):
    inventory = lab(1).inventory if kind == "ssh" else None
    target = {"local": "local:", "ssh": "ssh:server1", "pane": tmux_here.new() if kind == "pane" else ""}[kind]
    async with sane.connect(target, inventory=inventory) as host:
        assert host.target == target
        result = await host.run('printf "%s\\n" "$NAME"; pwd; exit 3', cwd="/", env={"NAME": "a 'b' $c"})
        assert isinstance(result, sane.CommandResult)
        assert (result.text, result.exit_code) == ("a 'b' $c\n/\n", 3)
        assert (await host.run("sleep 9", timeout_s=0.2)).timed_out
    async with sane.connect(target, inventory=inventory) as host:
        path = str(tmp_path / "file")
        await host.put(path, b"\x00\xff\n", mode=0o600)
        assert await host.get(path) == b"\x00\xff\n"
        await host.put(path, "text äö")
        assert (await host.get(path, limit_bytes=5)) == b"text "
        with pytest.raises(NotFoundError):
            await host.get(path + ".none")


@pytest.mark.parametrize("kind", ["local", "ssh"])
async def test_a_file_is_read_whole_or_refused_and_cut_only_where_that_was_asked_for(
    kind: str, lab: Callable[..., TestLab], tmp_path: Path
):
    limit = 64 << 20
    inventory = lab(1).inventory if kind == "ssh" else None
    async with sane.connect("ssh:server1" if inventory else "local:", inventory=inventory) as host:
        (tmp_path / "file").touch()
        os.truncate(tmp_path / "file", limit)
        assert len(await host.get(tmp_path / "file")) == limit
        os.truncate(tmp_path / "file", limit + 1)
        with pytest.raises(UsageError, match=f"file is larger than 64 MiB \\({limit} bytes\\)") as caught:
            await host.get(tmp_path / "file")
        assert "limit_bytes" in caught.value.hint
        assert len(await host.get(tmp_path / "file", limit_bytes=limit)) == limit
        assert len(await host.get(tmp_path / "file", limit_bytes=limit * 2)) == limit + 1


async def test_output_comes_as_it_is_printed_and_cancelling_ends_the_command(tmux_here: Tmux, tmp_path: Path):
    async with sane.connect(tmux_here.new()) as host:
        chunks: list[bytes] = []
        await host.run("echo one; echo two", on_output=chunks.append)
        assert b"".join(chunks) == b"one\ntwo\n"
        running = asyncio.create_task(host.run(writes_pid(tmp_path / "pid")))
        pid = await pid_in(tmp_path / "pid")
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        await assert_ends(pid, 1)
        assert (await host.run("echo again")).text == "again\n"


@pytest.mark.parametrize("kind", ["local", "pane", "ssh"])
async def test_what_runs_at_the_end_of_the_connection_is_stopped(
    kind: str, tmux_here: Tmux, lab: Callable[..., TestLab], tmp_path: Path
):
    inventory = lab(1).inventory if kind == "ssh" else None
    target = {"local": "local:", "ssh": "ssh:server1", "pane": tmux_here.new() if kind == "pane" else ""}[kind]
    async with sane.connect(target, inventory=inventory) as host:
        running = asyncio.create_task(host.run(writes_pid(tmp_path / "pid")))
        pid = await pid_in(tmp_path / "pid")
    await assert_ends(pid, 1)
    with pytest.raises(UsageError, match="closed while this ran"):
        await asyncio.wait_for(running, 5)
    with pytest.raises(UsageError, match="not connected"):
        await host.run("true")


@pytest.mark.parametrize("kind", ["local", "pane", "ssh"])
async def test_a_connection_may_be_entered_again(kind: str, tmux_here: Tmux, lab: Callable[..., TestLab]):
    inventory = lab(1).inventory if kind == "ssh" else None
    target = {"local": "local:", "ssh": "ssh:server1", "pane": tmux_here.new() if kind == "pane" else ""}[kind]
    host = sane.connect(target, inventory=inventory)
    for _ in range(2):
        async with host:
            assert (await host.run("echo open")).text == "open\n"


async def test_a_connection_is_entered_once_at_a_time():
    async with sane.connect("local:") as host:
        with pytest.raises(UsageError, match="connected already"):
            async with host:
                pass
        assert (await host.run("echo open still")).text == "open still\n"
    async with host:
        assert (await host.run("echo again")).text == "again\n"


async def test_a_host_that_is_not_there_is_told_on_entering():
    with pytest.raises(TransportError) as caught:
        async with sane.connect(f"ssh:x@127.0.0.1:{free_port()}"):
            raise AssertionError("it was entered")
    assert caught.value.phase == "connect"


async def test_a_connection_belongs_to_the_event_loop_it_was_entered_in(lab: Callable[..., TestLab]):
    async with sane.connect("ssh:server1", inventory=lab(1).inventory) as host:

        def elsewhere(*, leave: bool) -> None:
            with pytest.raises(UsageError, match="another event loop") as caught:
                asyncio.run(host.__aexit__(None, None, None) if leave else host.run("true"))  # pyright: ignore
            assert "run_coroutine_threadsafe" in caught.value.hint

        await asyncio.to_thread(elsewhere, leave=False)
        await asyncio.to_thread(elsewhere, leave=True)
        assert (await host.run("echo still")).text == "still\n"


async def test_a_path_may_be_an_object(tmp_path: Path):
    async with sane.connect("local:") as host:
        await host.put(tmp_path / "file", "x")
        assert await host.get(tmp_path / "file") == b"x"
        assert (await host.run("pwd", cwd=tmp_path)).text == f"{tmp_path}\n"


def test_the_errors_are_there_without_an_import():
    script = "import sane; print(sane.errors.NotFoundError.code)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("not_found\n", "")


async def test_text_that_can_not_be_written_is_a_usage_error(tmp_path: Path):
    async with sane.connect("local:") as host:
        with pytest.raises(UsageError, match="surrogate"):
            await host.put(str(tmp_path / "x"), "\ud800")
        await host.put(str(tmp_path / "x"), "\udcff")  # a byte that is no UTF-8, as Python reads one
        assert await host.get(str(tmp_path / "x")) == b"\xff"


async def test_numbers_that_mean_nothing_are_refused(tmp_path: Path):
    async with sane.connect("local:") as host:
        for timeout_s in (0, -1, float("nan")):
            with pytest.raises(UsageError, match="timeout_s"):
                await host.run("true", timeout_s=timeout_s)
        for mode in (-1, 644_000):
            with pytest.raises(UsageError, match="mode"):
                await host.put(str(tmp_path / "x"), "", mode=mode)
        with pytest.raises(UsageError, match="limit_bytes"):
            await host.get("/etc/hosts", limit_bytes=-1)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["local", "pane", "ssh"])
async def test_text_for_stdin_is_utf_8_and_of_a_wrong_type_nothing_runs(
    kind: str, tmux_here: Tmux, lab: Callable[..., TestLab], tmp_path: Path
):
    inventory = lab(1).inventory if kind == "ssh" else None
    target = {"local": "local:", "ssh": "ssh:server1", "pane": tmux_here.new() if kind == "pane" else ""}[kind]
    touch, file = f"touch {tmp_path}/ran; cat", tmp_path / "file"
    async with sane.connect(target, inventory=inventory) as host:
        assert (await host.run("cat", stdin="text äö\udcff\n")).output == "text äö".encode() + b"\xff\n"
        with pytest.raises(UsageError, match="stdin holds half of a surrogate pair"):
            await host.run(touch, stdin="\ud800")
        wrong: dict[str, Callable[[], Awaitable[object]]] = {
            "command must be text, not list": lambda: host.run(["ls"]),  # type: ignore[arg-type]
            "stdin must be bytes or text, not int": lambda: host.run(touch, stdin=5),  # type: ignore[arg-type]
            "timeout_s must be a number of seconds or None, not str": lambda: host.run(touch, timeout_s="3"),  # type: ignore[arg-type]
            "cwd must be text or a path, not bytes": lambda: host.run(touch, cwd=b"/"),  # type: ignore[arg-type]
            "env must be a mapping of text to text, not list": lambda: host.run(touch, env=["A"]),  # type: ignore[arg-type]
            r"env\['A'\] must be text, not int": lambda: host.run(touch, env={"A": 1}),  # type: ignore[dict-item]
            "a name in env must be text, not int": lambda: host.run(touch, env={1: "A"}),  # type: ignore[dict-item]
            "on_output must be callable, not str": lambda: host.run(touch, on_output="x"),  # type: ignore[arg-type]
            "path must be text or a path, not int": lambda: host.put(1, "x"),  # type: ignore[arg-type]
            "content must be bytes or text, not NoneType": lambda: host.put(file, None),  # type: ignore[arg-type]
            "mode must be a number such as 0o644, or None, not str": lambda: host.put(file, "", mode="640"),  # type: ignore[arg-type]
            "limit_bytes must be a number of bytes or None, not str": lambda: host.get("/etc/hosts", limit_bytes="1"),  # type: ignore[arg-type]
        }
        for said, call in wrong.items():
            with pytest.raises(TypeError, match=f"^{said}$"):
                await call()
        assert list(tmp_path.iterdir()) == []
        assert (await host.run("echo still")).text == "still\n"


def test_a_target_or_inventory_of_a_wrong_type_is_told_at_once():
    with pytest.raises(TypeError, match="target must be text, not NoneType"):
        sane.connect(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="inventory must be text or a path, not int"):
        sane.connect("local:", inventory=5)  # type: ignore[arg-type]


def test_a_strict_type_checker_takes_a_program_that_uses_it(tmp_path: Path):
    here = str(Path(__file__).parents[1])
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "extraPaths": [here]}))
    (tmp_path / "user.py").write_text(
        """import asyncio
import sys

import sane


async def main() -> int | None:
    async with sane.connect("local:") as host:
        await host.put("/tmp/x", await host.get("/etc/hosts"), mode=0o644)
        result: sane.CommandResult = await host.run("true", on_output=sys.stdout.buffer.write)
        return result.exit_code


try:
    asyncio.run(main())
except sane.SaneError as error:
    print(error.code, error.hint)
"""
    )
    argv = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "user.py"]
    checked = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout


async def test_calls_on_one_pane_take_turns(tmux_here: Tmux):
    async with sane.connect(tmux_here.new()) as host:
        answers = await asyncio.gather(*(host.run(f"echo {n}") for n in range(5)))
        assert [answer.text for answer in answers] == [f"{n}\n" for n in range(5)]


async def test_a_target_that_is_not_there_is_told_at_once(tmux_here: Tmux):
    with pytest.raises(UsageError):
        sane.connect("ssh:")
    with pytest.raises(NotFoundError, match="nowhere"):
        async with sane.connect("nowhere:1.0"):
            pass
    with pytest.raises(UsageError, match="not connected"):
        await sane.connect("local:").run("true")

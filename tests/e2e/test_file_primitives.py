"""The file primitives through bin/, on every kind of target: `local:`, a pane, a host over SSH, a pane of its tmux."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.transports.sshd import Sshd

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"local": "local:", "pane": "work", "ssh": "ssh:web1", "remote pane": "ssh:web1/far"}


class Sane:
    """Call primitives with surroundings of their own."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        self.folder = folder
        home = folder / "home"
        (home / ".ssh").mkdir(mode=0o700, parents=True)
        (home / ".ssh" / "config").write_text(sshd.config())
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environ = {
            **keep,
            "HOME": str(home),
            "TMUX_TMPDIR": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "SANE_STATE_DIR": str(folder / "state"),
            "SHELL": "/bin/bash",
            "TERM": "xterm",
            "SANE_HELPER": "0",
        }

    def call(self, name: str, *words: str, stdin: bytes = b"") -> dict[str, Any]:
        done = subprocess.run(
            [ROOT / "bin" / f"sane-{name}", *words],
            input=stdin,
            capture_output=True,
            timeout=60,
            env=self.environ,
            check=False,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def tmux(self, *words: str, tmpdir: Path | None = None) -> None:
        environ = {**self.environ, "TMUX_TMPDIR": str(tmpdir or self.folder)}
        subprocess.run(["tmux", "-f", "/dev/null", *words], env=environ, capture_output=True, timeout=10, check=True)


@pytest.fixture(scope="module")
def sane() -> Iterator[Sane]:
    with tempfile.TemporaryDirectory(prefix="sane", dir="/tmp") as name:
        folder, far = Path(name), Path(name) / "far"
        far.mkdir(mode=0o700)
        sshd = Sshd(options={"SetEnv": f"HOME={folder}/home TMUX_TMPDIR={far}"})
        try:
            sshd.start()
            sane = Sane(folder, sshd)
            sane.tmux("new-session", "-d", "-s", "work", "-x", "80", "-y", "24", "bash --norc")
            sane.tmux("new-session", "-d", "-s", "far", "-x", "80", "-y", "24", "bash --norc", tmpdir=far)
            yield sane
        finally:
            sane.tmux("kill-server")
            sane.tmux("kill-server", tmpdir=far)
            sshd.stop()


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return TARGETS[request.param]


def test_a_file_is_created_read_edited_and_checked(sane: Sane, target: str, short_dir: Path) -> None:
    path = f"{short_dir}/t-it's $HOME\n☃"
    first = sane.call("create-file", target, path, "one\n'two'", "--mode", "0640")
    assert Path(path).read_text() == "one\n'two'\n"
    assert Path(path).stat().st_mode & 0o777 == 0o640
    again = sane.call("create-file", target, path, "one\n'two'")
    assert again["unchanged"] is True
    edited = sane.call("edit-file", target, path, "replace", "one", "$(two)")
    backup = Path(edited["backup_path"])
    assert backup.read_text() == "one\n'two'\n"
    backup.unlink()
    read = sane.call("read-file", target, path)
    assert read["content"] == "$(two)\n'two'\n"
    sums = sane.call("checksum-file", target, path)
    assert (sums["md5"], sums["sha256"]) == (read["checksum"], read["sha256"])
    assert sums["md5"] != first["checksum"]
    assert [name for name in os.listdir(short_dir) if name.startswith(".sane")] == []


def test_a_megabyte_of_any_bytes_arrives_exactly(sane: Sane, target: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    path = str(tmp_path / "t-big")
    answer = sane.call("create-file", target, path, "--stdin", "--exact", stdin=data)
    assert answer["size_bytes"] == len(data)
    assert Path(path).read_bytes() == data
    read = sane.call("read-file", target, path, "--limit-bytes", str(2 << 20))
    assert base64.b64decode(read["content"]) == data


# A child's ru_maxrss holds what its parent's pages were before it became another program; VmHWM does not.
TELL_PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
from sane.surfaces.cli.primitive import main
status = main(sys.argv[2], sys.argv[3:])
sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(status)
"""


def test_ten_megabytes_go_into_a_pane_and_come_back_with_little_memory(sane: Sane, tmp_path: Path) -> None:
    data = os.urandom(10 << 20)
    path = tmp_path / "t-big"
    words = ["create-file", "work", str(path), "--stdin", "--exact"]
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", TELL_PEAK, str(ROOT), *words]
    done = subprocess.run(argv, input=data, env=sane.environ, capture_output=True, timeout=60, check=True)
    assert path.read_bytes() == data
    assert int(done.stderr.split()[1]) < 120 * 1024  # KB; 66 MB, of which the content as bytes and as text are 30
    read = sane.call("read-file", "work", str(path), "--limit-bytes", str(11 << 20))
    assert base64.b64decode(read["content"]) == data


def test_ten_megabytes_of_text_are_edited_in_a_pane(sane: Sane, tmp_path: Path) -> None:
    path = tmp_path / "t-text"
    text = "".join(f"{n:060}\n" for n in range(170_000)) + "the end\n"
    path.write_text(text)
    edited = sane.call("edit-file", "work", str(path), "replace", "the end", "an end")
    Path(edited["backup_path"]).unlink()
    assert path.read_text() == text.replace("the end", "an end")
    assert edited["diff"].splitlines()[-2:] == ["-the end", "+an end"]


def test_a_timeout_is_one_over_the_whole_call(sane: Sane, tmp_path: Path) -> None:
    path = tmp_path / "t-late"
    started = time.monotonic()
    done = subprocess.run(
        [ROOT / "bin" / "sane-create-file", "work", path, "--stdin", "--exact", "--timeout", "1"],
        input=bytes(20 << 20),
        capture_output=True,
        timeout=60,
        env=sane.environ,
        check=False,
    )
    assert time.monotonic() - started < 10
    assert done.returncode == 1
    assert "did not end in time" in json.loads(done.stdout)["error"]
    assert not path.exists()
    assert sane.call("run-command", "work", "echo b")["output"] == "b\n"


@pytest.mark.parametrize("shell", ["bash --norc", "dash", "zsh -f", "fish --no-config"])
def test_a_watcher_of_file_primitives_sees_a_line_for_each(sane: Sane, tmp_path: Path, shell: str) -> None:
    session = "seen-" + shell.split()[0]
    sane.tmux("new-session", "-d", "-s", session, "-x", "80", "-y", "24", shell)
    path = tmp_path / "t-200k"
    sane.call("run-command", session, "cd /; echo MY HISTORY")
    sane.call("create-file", session, str(path), "--stdin", "--exact", stdin=os.urandom(200_000))
    sane.call("read-file", session, str(path))
    sane.call("checksum-file", session, str(path))
    made = sane.call("create-file", session, str(path), "short")
    edited = sane.call("edit-file", session, str(path), "replace", "short", "long")
    for answer in (made, edited):
        Path(answer["backup_path"]).unlink()
    sane.call("detect-platform", session)
    argv = ["tmux", "capture-pane", "-pJ", "-S", "-", "-t", session]
    screen = subprocess.run(argv, env=sane.environ, capture_output=True, text=True, timeout=10, check=True).stdout
    lines = [line for line in screen.partition("MY HISTORY\n")[2].splitlines() if line.strip()]
    shown = [line[line.find("sane-") :].rstrip() for line in lines if "sane-" in line]
    create = f"sane-create-file {path}"
    read = f"sane-read-file {path}"
    edit = f"sane-edit-file {path} replace"
    assert shown == [create, read, f"sane-checksum-file {path}", create, read, edit, "sane-detect-platform"]
    assert len(lines) <= len(shown) + 1  # and the prompt
    sane.tmux("kill-session", "-t", session)


def test_a_file_is_transferred_both_ways(sane: Sane, target: str, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "here").write_bytes(data)
    sane.call("transfer-from-workstation", target, str(tmp_path / "here"), str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == data
    sane.call("transfer-to-workstation", target, str(tmp_path / "there"), "--to", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_the_target_is_asked_about_itself(sane: Sane, target: str) -> None:
    assert sane.call("detect-platform", target)["os"] == os.uname().sysname
    assert sane.call("get-tool", "grep", "--target", target)["found"] is True
    assert sane.call("validate-bash", "if true; then", "--target", target)["valid"] is False
    made = sane.call("context-database", "create", target, "--label", "x")
    assert sane.call("context-database", "read", target)["context"]["label"] == made["context"]["label"] == "x"


def test_a_missing_session_reads_the_same_everywhere(sane: Sane) -> None:
    for place, session in (("none", "none"), ("ssh:web1/none", "none")):
        done = subprocess.run(
            [ROOT / "bin" / "sane-create-file", place, "/tmp/x", "x"],
            capture_output=True,
            timeout=20,
            env=sane.environ,
            check=False,
        )
        sentence = f"Session '{session}' does not exist"
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"] == sentence
        assert done.stderr.decode().startswith(f"Error: {sentence}\n")


def test_ctrl_c_ends_a_call_over_ssh_and_the_command_there(sane: Sane, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    caller = subprocess.Popen(
        [ROOT / "bin" / "sane-run-command", "ssh:web1", f"echo $$ >'{fifo}'; exec sleep 600", "600"], env=sane.environ
    )
    pid = int(fifo.read_text())
    caller.send_signal(signal.SIGINT)
    assert caller.wait(timeout=10) == 130
    ended = subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=10, check=True)
    assert ended.returncode == 0


LIST_IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
from sane.surfaces.cli.primitive import main
status = main(sys.argv[2], sys.argv[3:])
sys.stderr.write(" ".join(sys.modules))
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words", [["run-command", "work", "true"], ["list-panes", "work"], ["create-file", "work", "/tmp/t-x", "x"]]
)
def test_a_call_on_a_local_pane_imports_nothing_slow(sane: Sane, words: list[str], tmp_path: Path) -> None:
    words = [word.replace("/tmp/t-x", str(tmp_path / "t-x")) for word in words]
    argv = [sys.executable, "-I", "-S", "-c", LIST_IMPORTS, str(ROOT), *words]
    done = subprocess.run(argv, env=sane.environ, capture_output=True, text=True, timeout=20, check=True)
    slow = {"asyncio", "subprocess", "libtmux", "rich", "asyncssh", "pydantic", "click", "argparse", "site", "logging"}
    assert set(done.stderr.split()) & slow == set()

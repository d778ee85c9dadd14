"""The warm helper: the same answers as without it, and a life that ends by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sane.surfaces.cli import warm
from tests.e2e.pane_fixtures import Tmux
from tests.processes import is_running
from tests.surfaces.cli.test_primitive import LIST_IMPORTS, SLOW

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / "bin"
DEADLINE_S = 10.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def socket_in(folder: Path) -> Path | None:
    return next((folder / "sane").glob("*.helper"), None) if (folder / "sane").exists() else None


def helper_at(folder: Path) -> int:
    """Return the process that listens, 0 without one."""
    file = socket_in(folder)
    if file is None:
        return 0
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(str(file))
        except OSError:
            return 0
        return int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)


class Calls:
    """Call primitives with a helper allowed, on a tmux server of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tmux = Tmux(folder)
        self.environ = {k: v for k, v in self.tmux.environ.items() if k != "SANE_HELPER"}
        self.environ |= {"SANE_STATE_DIR": str(folder / "state"), "SANE_HELPER_IDLE_S": "60"}
        self.pane = self.tmux.new()
        self.bin = BIN

    def call(self, name: str, *words: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        argv = [self.bin / f"sane-{name}", *words]
        return subprocess.run(argv, input=stdin, env=self.environ | env, capture_output=True, timeout=30, check=False)

    @property
    def socket_file(self) -> Path | None:
        return socket_in(self.folder)

    def pid(self) -> int:
        """Return the process that listens, 0 without one."""
        return helper_at(self.folder)

    def warm_up(self) -> int:
        """Make the first call, and return the helper's process once it listens."""
        assert self.call("run-command", self.pane, "true").returncode == 0
        wait_until(self.pid, "no helper started")
        return self.pid()

    def end(self) -> None:
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_running(pid), "the helper did not end")
        self.tmux.kill()


@pytest.fixture
def calls(short_dir: Path) -> Iterator[Calls]:
    made = Calls(short_dir / "run")
    yield made
    made.end()


def test_a_call_whose_standard_input_is_closed_is_refused_as_without_a_helper(calls: Calls) -> None:
    """Its connection to the helper would be descriptor 0, and would be read for what the helper asks for."""
    calls.warm_up()
    words = f'"{calls.bin}/sane-create-file" "{calls.pane}" "{calls.folder}/new" --stdin <&-'
    argv = ["sh", "-c", words]
    done = subprocess.run(argv, env=calls.environ, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (1, "error")
    assert "standard input" in done.stderr
    assert not (calls.folder / "new").exists()


TABLE: list[tuple[list[str], bytes]] = [
    (["run-command", "{pane}", "printf 'a b\\n\\n c'; exit_code() { return 7; }; exit_code"], b""),
    (["run-command", "{pane}", "false", "--exit-status"], b""),
    (["run-command", "{pane}", "if"], b""),
    (["run-command", "{pane}", "seq 1 300000"], b""),
    (["run-command", "{pane}", "printf '\\377\\300'"], b""),
    (["run-command", "{pane}", "sleep 30", "0.3"], b""),
    (["run-command", "{pane}", "(exit 75)", "5", "1"], b""),
    (["run-command", "{pane}", "echo hi", "x"], b""),
    (["run-command", "{pane}", "echo hi", "--output", "table"], b""),
    (["run-command", "{pane}", "echo hi", "--query", "output"], b""),
    (["run-command", "{pane}", "echo hi", "--query", "a["], b""),
    (["run-command", "{pane}", "echo hi", "--nonsense"], b""),
    (["run-command", "{pane}", "--help"], b""),
    (["run-command", "{pane}"], b""),
    (["run-command", "nowhere", "true"], b""),
    (["run-command", "{pane}:9", "true"], b""),
    (["run-command", "{pane}:x.y", "true"], b""),
    (["list-panes", "{pane}"], b""),
    (["list-panes", "nowhere"], b""),
    (["list-windows", "{pane}"], b""),
    (["create-file", "{pane}", "{folder}/file", "--stdin", "--exact", "false"], bytes(range(256)) * 300),
    (["create-file", "{pane}", "{folder}/file", "--stdin", "--exact", "maybe"], b"x"),
    (["create-file", "{pane}", "{folder}/caf\udce9", "x", "false"], b""),
    (["read-file", "{pane}", "{folder}/file"], b""),
    (["read-file", "{pane}", "{folder}/none"], b""),
    (["get-label", "nowhere"], b""),
    (["send-keys", "nowhere", "x"], b""),
    (["detect-mode", "{pane}"], b""),
]
CHANGING = re.compile(rb'"(total_)?duration_ms":[0-9.]+|"(timestamp|modified_time)":"[^"]*"|duration_ms +[0-9.]+')


def assert_same_without_it(
    call: Callable[..., subprocess.CompletedProcess[bytes]], argv: list[str], stdin: bytes
) -> None:
    """Make a call without a helper and with it, and compare all that they say."""
    cold = call(*argv, stdin=stdin, SANE_HELPER="0")
    if argv[0] == "create-file":
        Path(argv[2]).unlink(missing_ok=True)
    hot = call(*argv, stdin=stdin)
    said = [(done.returncode, CHANGING.sub(b"", done.stdout), CHANGING.sub(b"", done.stderr)) for done in (hot, cold)]
    assert said[0] == said[1], argv


def test_every_call_says_the_same_with_and_without_a_helper(calls: Calls) -> None:
    pid = calls.warm_up()
    for words, stdin in TABLE:
        argv = [word.replace("{pane}", calls.pane).replace("{folder}", str(calls.folder)) for word in words]
        assert_same_without_it(calls.call, argv, stdin)
    assert calls.pid() == pid, "the helper did not live through all of them"


def test_it_is_private_and_holds_nothing_of_its_first_caller(calls: Calls) -> None:
    pid = calls.warm_up()
    file = calls.socket_file
    assert file is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) not in (os.getsid(0), pid)  # it can't get a terminal
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {os.devnull}


def test_it_inherits_no_descriptor(calls: Calls, short_dir: Path) -> None:
    with open(short_dir / "held", "w") as held:
        fd = os.dup(held.fileno())
        argv = [BIN / "sane-run-command", calls.pane, "true"]
        subprocess.run(argv, env=calls.environ, capture_output=True, check=True, pass_fds=(fd,))
        os.close(fd)
    wait_until(calls.pid, "no helper started")
    links = [os.readlink(entry) for entry in Path(f"/proc/{calls.pid()}/fd").iterdir() if entry.is_symlink()]
    assert str(short_dir / "held") not in links


def test_there_is_one_however_many_start_it(calls: Calls) -> None:
    panes = [calls.pane, *(calls.tmux.new() for _ in range(3))]
    argv = [[str(BIN / "sane-run-command"), pane, "true"] for pane in panes]
    started = [subprocess.Popen(words, env=calls.environ, stdout=subprocess.DEVNULL) for words in argv]
    assert [process.wait(20) for process in started] == [0] * 4
    wait_until(calls.pid, "no helper started")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom sane.surfaces.cli.warm_start import start_helper\nprint(start_helper(ssh=False))"
    again = subprocess.run([sys.executable, "-I", "-c", code], env=calls.environ, capture_output=True, check=True)
    assert again.stdout == b"False\n"


def test_two_callers_of_one_pane_take_turns(calls: Calls) -> None:
    calls.warm_up()
    script = "for i in 1 2 3 4 5; do echo {0}; sleep 0.02; done"
    argv = [[str(BIN / "sane-run-command"), calls.pane, script.format(letter)] for letter in "ab"]
    running = [subprocess.Popen(words, env=calls.environ, stdout=subprocess.PIPE) for words in argv]
    answers = [json.loads(process.communicate(timeout=20)[0])["output"] for process in running]
    assert answers == ["a\n" * 5, "b\n" * 5]


def test_it_ends_when_idle(calls: Calls) -> None:
    calls.environ["SANE_HELPER_IDLE_S"] = "0.5"
    pid = calls.warm_up()
    wait_until(lambda: not is_running(pid), "it did not end within 10 s of 0.5 s idle")
    assert calls.socket_file is None


def test_it_ends_with_the_tmux_server(calls: Calls) -> None:
    pid = calls.warm_up()
    calls.tmux.kill()
    wait_until(lambda: not is_running(pid), "it outlived the tmux server by 10 s")


def test_it_ends_when_its_socket_is_taken_away(calls: Calls) -> None:
    pid = calls.warm_up()
    file = calls.socket_file
    assert file is not None
    file.unlink()
    wait_until(lambda: not is_running(pid), "it outlived its socket by 10 s")


def test_other_code_on_disk_is_served_by_another_helper(calls: Calls, short_dir: Path) -> None:
    import shutil

    root = short_dir / "copy"
    shutil.copytree(ROOT / "bin", root / "bin")
    shutil.copytree(ROOT / "sane", root / "sane", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    calls.bin = root / "bin"
    pid = calls.warm_up()
    assert calls.call("run-command", calls.pane, "true").returncode == 0
    assert calls.pid() == pid
    edited = root / "sane" / "primitives" / "run_command.py"
    edited.write_text(edited.read_text().replace("attempts=attempts,", "attempts=attempts + 40,"))
    assert json.loads(calls.call("run-command", calls.pane, "true").stdout)["attempts"] == 41
    wait_until(lambda: not is_running(pid), "the old one did not end")
    wait_until(lambda: calls.call("run-command", calls.pane, "true").returncode == 0 and calls.pid(), "no new one")
    assert json.loads(calls.call("run-command", calls.pane, "true").stdout)["attempts"] == 41


def test_another_environment_gets_no_answer_from_it(calls: Calls, short_dir: Path) -> None:
    calls.warm_up()
    other = short_dir / "run2"
    other.mkdir()
    done = calls.call("run-command", calls.pane, "true", TMUX_TMPDIR=str(other), SANE_HELPER="0")
    assert (done.returncode, b"does not exist" in done.stderr) == (1, True)
    assert calls.call("run-command", calls.pane, "true", TMUX_TMPDIR=str(other)).stderr == done.stderr
    assert len(list((calls.folder / "sane").glob("*.lock"))) == 1  # and none was started for a call that failed


def test_a_helper_that_dies_within_a_call_is_told_and_nothing_is_run_again(calls: Calls, short_dir: Path) -> None:
    pid = calls.warm_up()
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    argv = [BIN / "sane-run-command", calls.pane, f"echo x >>{short_dir}/ran; echo >{fifo}; sleep 0.2"]
    caller = subprocess.Popen(argv, env=calls.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    fifo.read_text()
    os.kill(pid, signal.SIGKILL)
    out, err = caller.communicate(timeout=10)
    assert (caller.returncode, out, err) == (1, b"", warm.LOST.encode())
    assert (short_dir / "ran").read_text() == "x\n"
    assert calls.call("run-command", calls.pane, "true").returncode == 0  # without it, and starts another one
    wait_until(lambda: calls.pid() not in (0, pid), "no other helper started")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ending_the_caller_stops_the_command(calls: Calls, short_dir: Path, number: int, status: int) -> None:
    calls.warm_up()
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    argv = [BIN / "sane-run-command", calls.pane, f"echo >{fifo}; sleep 60", "60"]
    caller = subprocess.Popen(argv, env=calls.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    fifo.read_text()
    caller.send_signal(number)
    out, err = caller.communicate(timeout=10)
    assert (caller.returncode, out, err) == (status, b"", b"")
    answer = json.loads(calls.call("run-command", calls.pane, "echo back").stdout)
    assert answer["output"] == "back\n"


def test_a_killed_caller_stops_its_command(calls: Calls, short_dir: Path) -> None:
    calls.warm_up()
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    argv = [BIN / "sane-run-command", calls.pane, f"echo >{fifo}; sleep 60", "60"]
    caller = subprocess.Popen(argv, env=calls.environ)
    fifo.read_text()
    caller.kill()
    caller.wait()
    answer = json.loads(calls.call("run-command", calls.pane, "echo back").stdout)
    assert answer["output"] == "back\n"


def test_none_is_started_where_it_is_not_wanted(calls: Calls) -> None:
    assert calls.call("run-command", calls.pane, "true", SANE_HELPER="0").returncode == 0
    assert calls.call("run-command", "local:", "true").returncode == 0
    assert calls.call("validate-json", "{}").returncode == 0
    assert not list((calls.folder / "sane").glob("*.helper*"))


def test_a_folder_of_somebody_else_is_not_used(calls: Calls, short_dir: Path) -> None:
    if os.geteuid() == 0:
        (calls.folder / "sane").mkdir()
        os.chown(calls.folder / "sane", 65534, 65534)
    else:
        (calls.folder / "sane").symlink_to(short_dir)
    asked = calls.call("list-panes", calls.pane)
    assert asked.returncode == 0
    assert not list((calls.folder / "sane").glob("*.helper*"))


def test_a_socket_of_somebody_else_is_not_spoken_to(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process behind the name gets nothing, not even the words."""
    pid = calls.warm_up()
    for name, value in calls.environ.items():
        monkeypatch.setitem(warm.posix.environ, name.encode(), value.encode())
    monkeypatch.setattr(warm.posix, "geteuid", lambda: 12345)
    monkeypatch.setattr(warm, "is_private", lambda folder: True)
    monkeypatch.setattr(warm, "socket_path", lambda seen: os.fsencode(str(calls.socket_file)))
    said: list[bytes] = []
    monkeypatch.setattr(warm, "send_all", lambda connection, data: said.append(data))
    assert warm.ask("list-panes", [calls.pane]) is None
    assert said == []
    assert calls.pid() == pid


def test_what_is_no_request_is_ignored(calls: Calls) -> None:
    pid = calls.warm_up()
    for junk in (b"", b"\xff\xff\xff\xff", b"\0\0\0\5hello", b"\0\0\0\3999", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(DEADLINE_S)
            peer.connect(str(calls.socket_file))
            peer.sendall(junk)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(10) in (b"", warm.REFUSED)
    assert calls.call("run-command", calls.pane, "true").returncode == 0
    assert calls.pid() == pid


def test_a_warm_call_imports_built_in_modules_only(calls: Calls) -> None:
    calls.warm_up()
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-v",
        "-c",
        f"""import sys
sys.path.insert(0, {str(ROOT)!r}); sys.argv = ["sane-run-command", {calls.pane!r}, "true"]
from sane.surfaces.cli.start import start; start("sane-run-command")""",
    ]
    done = subprocess.run(argv, env=calls.environ, capture_output=True, text=True, timeout=20, check=True)
    loaded = set(re.findall(r"^import '?([\w.]+)'? #", done.stderr, re.MULTILINE))
    assert "sane.surfaces.cli.warm" in loaded
    assert loaded & {"os", "socket", "signal", "typing", "collections", "json", "sane.errors"} == set()


@pytest.mark.parametrize(
    "words", [["run-command", "{pane}", "echo hi"], ["list-panes", "{pane}"], ["list-windows", "{pane}"]]
)
def test_a_call_without_a_helper_imports_nothing_slow_either(calls: Calls, words: list[str]) -> None:
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        LIST_IMPORTS,
        str(ROOT),
        *(w.replace("{pane}", calls.pane) for w in words),
    ]
    done = subprocess.run(argv, env=calls.environ, capture_output=True, text=True, timeout=20, check=True)
    loaded = set(done.stderr.split())
    assert "sane.transports.tmux" in loaded
    assert loaded & (SLOW | {"pathlib", "sane.surfaces.cli.warm"}) == set()

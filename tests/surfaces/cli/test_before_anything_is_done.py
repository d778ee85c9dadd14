"""What a command line refuses before it touches a host, and how it ends when nobody reads it."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminals import read_terminal

ROOT = Path(__file__).parents[3]
BOUND_S = 20
WORKFLOW = ROOT / "workflows" / "multi-server-deploy.yaml"


def sane(*args: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sane.surfaces.cli.main", *args]
    env = os.environ | (environ or {})
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=BOUND_S, check=False, env=env)


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "hosts.yaml"
    path.write_text("hosts: {web1: {address: 127.0.0.1, port: 1, vars: {zone: a}}}\n")
    return str(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--query", "[[["), "query '[[[' is wrong"),
        (("--key", ""), "Invalid value for '--key': it is empty"),
        (("--idempotency-key", ""), "Invalid value for '--idempotency-key': it is empty"),
        (("--key", "a/b c"), "deployment key 'a/b c' can't be used"),
        (("--var", "rot=/srv"), "has a variable 'rot'\n  Did you mean 'root'?"),
        (("--strategy", "roling"), "got 'roling'\n  Did you mean 'rolling'?"),
        (("--on-failure", "revert"), "got 'revert'\n  Did you mean 'revert_all'?"),
        (("--output", "jsn"), "'jsn' is not one of 'table', 'json', 'ndjson'. Did you mean 'json'?"),
        (("--via", "tmx"), "Did you mean 'tmux'?"),
        (("--var", "zon=b"), "has a variable 'zon'\n  Did you mean 'zone'?"),
    ],
)
def test_a_deployment_with_a_mistake_is_not_begun(hosts: str, options: tuple[str, ...], said: str) -> None:
    done = sane("deploy", str(WORKFLOW), "-i", hosts, "--version", "1", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "no deployments yet" in sane("deployment", "list").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--query", "[[[", "all", "--", "touch {}"), "query '[[[' is wrong"),
        (("all", "--timeout", "5s", "--", "touch {}"), "'--timeout' is no command\n  Options go before PATTERN"),
        (("all", "--"), "there is no command to run"),
    ],
)
def test_run_refuses_what_can_be_no_command(hosts: str, words: tuple[str, ...], said: str) -> None:
    done = sane("run", "-i", hosts, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_primitive_refuses_a_query_before_it_does_anything(tmp_path: Path) -> None:
    path = tmp_path / "made"
    done = subprocess.run(
        [ROOT / "bin" / "sane-create-file", "local:", path, "x", "--query", "[[["],
        capture_output=True, text=True, timeout=BOUND_S, check=False,
    )  # fmt: skip
    assert (done.returncode, path.exists()) == (1, False)
    assert "query '[[[' is wrong" in done.stderr


@pytest.mark.parametrize(("command", "package", "extra"), [("mcp", "mcp", "mcp"), ("server", "fastapi", "server")])
def test_a_missing_extra_is_named_with_how_to_install_it(command: str, package: str, extra: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from sane.surfaces.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, command], capture_output=True, text=True, cwd=ROOT, timeout=BOUND_S, check=False
    )
    assert done.returncode == 2
    assert "needs a package that is not installed" in done.stderr
    assert f"pip install -e '.[{extra}]'" in done.stderr


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_went_away_is_no_defect(both: bool) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sane.surfaces.cli.main", "tools"]
    stderr = write if both else subprocess.PIPE
    done = subprocess.run(command, stdout=write, stderr=stderr, cwd=ROOT, timeout=BOUND_S, check=False)
    os.close(write)
    assert done.returncode == 141  # as a program that SIGPIPE ended
    assert not done.stderr


def test_no_color_means_neither_colour_nor_motion(hosts: str) -> None:
    words = [sys.executable, "-m", "sane.surfaces.cli.main", "run", "-i", hosts, "all", "--", "true"]
    terminal, other = pty.openpty()
    environ = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(words, stdout=other, stderr=other, cwd=ROOT, env=environ, timeout=BOUND_S, check=False)
    os.close(other)
    shown = read_terminal(terminal)
    os.close(terminal)
    assert done.returncode == 4
    assert b"web1" in shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize("place", ["/proc/self", "/dev/null"])
def test_a_machine_that_can_not_write_is_told_not_traced(place: str) -> None:
    tmux = ["tmux", "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "-s", "w", "sh"], check=True, timeout=BOUND_S)
    try:
        done = subprocess.run(
            [ROOT / "bin" / "sane-run-command", "w", "true"],
            capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": place}, timeout=BOUND_S, check=False,
        )  # fmt: skip
    finally:
        subprocess.run([*tmux, "kill-server"], check=True, timeout=BOUND_S)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: this machine can't do that")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("[?a", "query '[?a' is wrong at column 4: it ends too early\n"),
        ("a = `1`", "query 'a = `1`' is wrong at column 3: Unknown token '='\n  Compare with ==."),
        ("lenght(@)", "query 'lenght(@)' is wrong: there is no function 'lenght'"),
    ],
)
def test_a_wrong_query_is_told_in_one_line_with_its_place(query: str, said: str) -> None:
    done = sane("doctor", "--query", query)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(("term", "counted"), [("xterm", True), ("dumb", False)])
def test_run_counts_the_hosts_before_the_first_answers(tmp_path: Path, term: str, counted: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        inventory = tmp_path / "hosts.yaml"
        inventory.write_text(f"hosts: {{web1: {{address: 127.0.0.1, port: {port}, connect_timeout: 2s}}}}\n")
        terminal, other = pty.openpty()
        environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": term}
        words = [sys.executable, "-m", "sane.surfaces.cli.main", "run", "-i", str(inventory), "all", "--", "true"]
        with subprocess.Popen(words, stdout=other, stderr=other, cwd=ROOT, env=environ) as process:
            os.close(other)
            shown = _read_all(terminal)
        assert process.returncode == 4
    assert (b"\r0/1 hosts, " in shown) is counted
    assert (b"\x1b[K" in shown) is counted


def _read_all(terminal: int) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := read_terminal(terminal):
            shown += piece
    os.close(terminal)
    return shown


def test_a_state_directory_that_can_not_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where it would be."""
    (tmp_path / "file").write_text("")
    done = sane("server", "credential", "add", "x", environ={"SANE_STATE_DIR": f"{tmp_path}/file/state"})
    said = f"Error: this machine can't do that: Not a directory ({tmp_path}/file/state)\n"
    assert (done.returncode, done.stdout, done.stderr) == (4, "", said)


def test_each_mistake_in_a_file_is_told_with_a_hint_of_its_own(hosts: str, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text("nmae: app\npolicy: {max_paralel: 1}\nstage: [{run-command: 'true', tiemout: 1s}]\n")
    done = sane("deploy", str(file), "-i", hosts, "--version", "1")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith(("Error", str(file), "  "))]
    for wrong, right in (("nmae", "name"), ("max_paralel", "max_parallel"), ("tiemout", "timeout")):
        (at,) = [number for number, line in enumerate(lines) if f"'{wrong}'" in line]
        assert f"'{right}'" in lines[at + 1], lines


def test_a_workflow_and_an_inventory_that_are_swapped_are_told_apart(hosts: str) -> None:
    done = sane("deploy", hosts, "-i", str(WORKFLOW), "--version", "1")
    assert done.returncode == 2
    assert "this is an inventory, and a workflow is needed here\n  Are the two swapped?" in done.stderr
    done = sane("health", "check", "-i", str(WORKFLOW))
    assert "this is a workflow, and an inventory is needed here" in done.stderr


def test_a_host_that_there_is_not_is_named_once(tmp_path: Path) -> None:
    done = sane("whatis", "no-such-host-here.invalid", environ={"HOME": str(tmp_path)})
    assert done.returncode == 4
    assert done.stdout.count("no-such-host-here.invalid") == 1

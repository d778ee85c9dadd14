"""The executables in bin/, as shells call them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from sane.verbs.registry import VERB_NAMES
from tests.processes import is_running

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / "bin"


def run(*argv: str, cwd: Path | None = None, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, cwd=cwd, input=stdin, capture_output=True, timeout=20, env={**os.environ, **env}, check=False
    )


def test_names_launchers_files_and_console_scripts_agree() -> None:
    names = {f"sane-{name}" for name in VERB_NAMES}
    assert {path.name for path in BIN.glob("sane-*")} == names
    assert len({path.read_bytes() for path in BIN.iterdir()}) == 1  # one program serves every name
    assert all(os.access(path, os.X_OK) for path in BIN.iterdir())
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert dict.fromkeys(names, "sane.surfaces.cli.start:main") == {k: v for k, v in scripts.items() if k != "sane"}
    files = {path.stem.replace("_", "-") for path in (ROOT / "sane" / "primitives").glob("[a-z]*.py")}
    assert files == set(VERB_NAMES)


def test_runs_from_anywhere_linked_and_by_relative_path(short_dir: Path) -> None:
    links, deep = short_dir / "links", short_dir / "a" / "b"
    links.mkdir()
    deep.mkdir(parents=True)
    for path in BIN.iterdir():
        (links / path.name).symlink_to(path)
    (links / "again").symlink_to("sane-validate-json")
    (short_dir / "relative").symlink_to(os.path.relpath(links / "again", short_dir))
    for argv0, cwd in (
        (str(BIN / "sane-validate-json"), deep),
        (str(links / "sane-validate-json"), deep),
        ("../../links/sane-validate-json", deep),
        ("./sane-validate-json", links),
        ("../../relative", deep),
    ):
        done = run(argv0, "[1]", cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, b'{"valid":true}\n', b"")
    by_path = run("sh", "-c", "sane-validate-json []", cwd=deep, PATH=f"{links}:{os.environ['PATH']}")
    assert by_path.stdout == b'{"valid":true}\n'
    by_shell = run("sh", "sane-validate-json", "[]", cwd=links)
    assert by_shell.stdout == b'{"valid":true}\n'


def test_runs_from_a_folder_with_blanks_without_a_venv(short_dir: Path) -> None:
    root = short_dir / "it's a copy"
    shutil.copytree(BIN, root / "bin")
    shutil.copytree(ROOT / "sane", root / "sane", ignore=shutil.ignore_patterns("__pycache__"))
    python = Path(os.path.realpath(ROOT / ".venv" / "bin" / "python"))
    (short_dir / "tools").mkdir()
    (short_dir / "tools" / "python3.11").symlink_to(python)
    done = run(str(root / "bin" / "sane-validate-json"), "[", PATH=f"{short_dir}/tools:{os.environ['PATH']}")
    assert (done.returncode, json.loads(done.stdout)["valid"]) == (0, False)


def test_says_so_where_there_is_no_python(short_dir: Path) -> None:
    shutil.copytree(BIN, short_dir / "bin")
    done = run("/bin/sh", str(short_dir / "bin" / "sane-validate-json"), "[]", PATH="/nonexistent")
    assert done.returncode == 1
    assert b"Python 3.11 or later is needed" in done.stderr


def test_is_not_led_astray_by_the_surroundings(short_dir: Path) -> None:
    (short_dir / "json.py").write_text("raise SystemExit('wrong json')")
    done = run(
        str(BIN / "sane-validate-json"), "[]", cwd=short_dir, PYTHONPATH=str(short_dir), PYTHONSTARTUP="x", LC_ALL="C"
    )
    assert done.stdout == b'{"valid":true}\n'


def test_bytes_go_through_standard_input_and_arguments(short_dir: Path) -> None:
    path = f"{short_dir}/t-caf".encode() + b"\xe9"
    data = bytes(range(256)) * 400
    done = subprocess.run(
        [BIN / "sane-create-file", "local:", path, "--stdin", "--exact"],
        input=data,
        capture_output=True,
        timeout=20,
        env={**os.environ, "LC_ALL": "C"},
        check=True,
    )
    assert json.loads(done.stdout)["size_bytes"] == len(data)
    with open(path, "rb") as file:
        assert file.read() == data


def test_a_late_import_finds_the_venvs_packages() -> None:
    done = run(str(BIN / "sane-detect-platform"), "local:", "--query", "os")
    assert (done.returncode, done.stdout) == (0, f'"{os.uname().sysname}"\n'.encode())


def test_a_target_over_ssh_that_can_not_be_reached_is_an_error() -> None:
    done = run(str(BIN / "sane-run-command"), "ssh:nobody@127.0.0.1:9", "true")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Error: ")


@pytest.mark.parametrize(
    ("config", "target"),
    [
        ("Host *.corp\n  ProxyCommand cat %h %p\n", "ssh:$(id>made).corp"),
        ('Match exec "test %h = bastion"\n  User x\n', "ssh:a;touch${IFS}made"),
        ('Match exec "test %r = nobody"\n  User x\n', "ssh:`id>made`@web1"),
    ],
)
def test_the_name_of_a_host_is_no_code_for_a_shell_of_this_machine(short_dir: Path, config: str, target: str) -> None:
    file = short_dir / "home" / ".ssh" / "config"
    file.parent.mkdir(mode=0o700)
    file.write_text(config)
    tool = [str(BIN / "sane"), "tools", "--call", "detect_platform", json.dumps({"target": target})]
    for argv in ([str(BIN / "sane-detect-platform"), target], tool):
        done = run(*argv, cwd=short_dir)
        assert done.returncode != 0
        assert b"id>made" in done.stdout + done.stderr or b"touch" in done.stdout + done.stderr
        assert not (short_dir / "made").exists()


def test_ending_the_program_ends_what_it_started(short_dir: Path) -> None:
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    script = f"echo $$ >'{fifo}'; sleep 600"
    caller = subprocess.Popen([BIN / "sane-run-command", "local:", script, "600"], stdout=subprocess.PIPE)
    pid = int(fifo.read_text())
    caller.terminate()
    out, _ = caller.communicate(timeout=10)
    assert (caller.returncode, out) == (143, b"")
    assert not is_running(pid)


def test_a_reader_that_goes_away_is_no_defect() -> None:
    done = run("sh", "-c", f"'{BIN}/sane-detect-platform' local: | true")
    assert done.stderr == b""


def test_compiled_code_is_kept_where_the_code_itself_can_not_be_written(short_dir: Path) -> None:
    root = short_dir / "copy"
    shutil.copytree(ROOT / "bin", root / "bin")
    shutil.copytree(ROOT / "sane", root / "sane", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [root / "sane", *(path for path in (root / "sane").rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()  # not even root can make a folder of that name
    cache = short_dir / "cache"
    for _ in range(2):
        done = run(str(root / "bin" / "sane-validate-json"), "[]", XDG_CACHE_HOME=str(cache))
        assert (done.returncode, done.stdout, done.stderr) == (0, b'{"valid":true}\n', b"")
    assert list(cache.rglob("primitive.*.pyc"))
    assert not list((cache / "sane").rglob("start.*.pyc"))  # the one that finds out is compiled each time

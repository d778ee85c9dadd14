"""The probe's command is data; here it also runs for real, in every shell that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.health import Facts, judge
from sane.core.host.health_probe import PROBE_SCRIPT, ProbeReading, health_probe_script, parse_probe

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "fish") if shutil.which(shell)]


def run(path: str, shell: str = "sh", *, max_bytes: int = 1024, search: str | None = None) -> ProbeReading:
    command = health_probe_script(path, max_bytes)
    environ = {**os.environ, **command.env}
    if search is not None:
        environ["PATH"] = search
    done = subprocess.run(
        [shutil.which(shell) or shell, "-c", command.script], env=environ, capture_output=True, timeout=5
    )
    assert done.stderr == b""
    return parse_probe(done.stdout)


def test_the_command_holds_no_path_and_nothing_that_ends_its_quotes() -> None:
    command = health_probe_script("/srv/it's; rm -rf $(x)/health.json")
    assert "/srv" not in command.script
    assert command.script == f"sh -c '{PROBE_SCRIPT}'"
    assert not set(PROBE_SCRIPT) & set("'\\")
    assert command.env["SANE_HEALTH_PATH"] == "/srv/it's; rm -rf $(x)/health.json"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_is_read_with_its_evidence(shell: str, tmp_path: Path) -> None:
    file = tmp_path / '-it\'s a $(name) \\ "x"'
    content = b'{"status": "healthy"}\nsize 1\ncontent\n\x00\xff'
    file.write_bytes(content)
    os.utime(file, ns=(0, 1_700_000_000_123_456_789))
    before = time.time_ns() // 1_000_000
    seen = run(str(file), shell)
    assert seen.content == content
    assert seen.size_bytes == len(content)
    assert seen.mtime_ms == 1_700_000_000_123
    assert seen.mtime_resolution_ms == 1
    assert seen.host_now_ms is not None
    assert before - 1 <= seen.host_now_ms <= time.time_ns() // 1_000_000 + 1


@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_a_file_of_one_gigabyte_costs_no_more_than_a_small_one(shell: str, tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 30)
    start = time.monotonic()
    seen = run(str(file), shell)
    assert time.monotonic() - start < 2.0
    assert seen.size_bytes == 1 << 30
    assert seen.content is not None
    assert len(seen.content) == 1025
    assert judge(seen.content, Facts(size_bytes=seen.size_bytes, max_bytes=1024)).rule == "small"


def test_a_home_directory_is_the_hosts_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "health.json").write_text("{}")
    assert run("~/health.json").content == b"{}"


def test_what_is_not_there_or_no_file_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert run(str(tmp_path / "none")).content is None
    assert run(str(tmp_path / "none")).problem == ""
    assert run(str(tmp_path / "none")).host_now_ms is not None
    assert run(str(tmp_path / "fifo")).problem == "the health file is not a regular file"
    assert run(str(tmp_path)).problem == "the health file is not a regular file"


def test_a_leading_dash_is_no_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-health.json").write_text("{}")
    assert run("-health.json").content == b"{}"


@pytest.mark.parametrize(
    ("stat", "mtime_ms", "resolution_ms"),
    [
        ('[ "$3" = "%s %Y" ] && echo "2 1700000000" || { echo "2 %.Y"; }', 1_700_000_000_000, 1_000),
        ('[ "$2" = -f ] && echo "2 1700000000.987654321" || exit 1', 1_700_000_000_987, 1),
        ("exit 1", None, 1_000),
    ],
)
def test_the_stat_of_busybox_of_bsd_and_none_at_all(
    stat: str, mtime_ms: int | None, resolution_ms: int, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in {"stat": stat, "date": '[ "$1" = +%s ] && echo 1700000001 || echo "1700000001.%N"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    file = tmp_path / "health.json"
    file.write_text("{}")
    seen = run(str(file), search=f"{tools}:{os.environ['PATH']}")
    assert (seen.mtime_ms, seen.mtime_resolution_ms) == (mtime_ms, resolution_ms)
    assert seen.host_now_ms == 1_700_000_001_000
    assert seen.content == b"{}"


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_an_answer_that_was_cut_is_a_problem(cut: int) -> None:
    whole = b"sane-health 1\nnow 5.5\nsize 2\nmtime 4.25\ncontent\n{}"
    assert parse_probe(whole) == ProbeReading(b"{}", 2, 4_250, 1, 5_500)
    seen = parse_probe(whole[:cut])
    assert seen.problem or seen.content is not None


def test_a_greeting_before_the_answer_is_passed_over() -> None:
    assert parse_probe(b"Welcome!\nsane-health 1\nnow 1\nabsent\n") == ProbeReading(None, host_now_ms=1_000)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda b: b"sane-health 1\n" + b))
def test_no_answer_makes_it_raise(output: bytes) -> None:
    seen = parse_probe(output)
    assert seen.content is None or b"content\n" in output

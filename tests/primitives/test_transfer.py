"""sane-transfer-to-workstation and sane-transfer-from-workstation.

The wormhole here is a program of the test's own with the command line and the sentences of magic-wormhole's: the real
one talks to a server in the Internet.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sane.core.target import Target
from sane.errors import NotFoundError, RemoteError, UsageError
from sane.primitives.transfer_from_workstation import transfer_from_workstation
from sane.surfaces.context import BlockingContext
from sane.transports.base import Transport
from sane.transports.blocking import run_blocking
from sane.transports.local import LocalTransport

Call = Callable[..., dict[str, Any]]
WORMHOLE = """#!/bin/sh
verb=$1; shift; out= code=
while [ $# -gt 0 ]; do
    case $1 in --code) code=$2; shift ;; -o) out=$2; shift ;; --) shift; break ;; esac
    shift
done
if [ "$verb" = send ]; then
    echo "Sending 4 Bytes file named 'x'"
    echo "Wormhole code is: ${code:-7-crossover-clockwork}"
    echo $$ >"$WORMHOLE_DIR/pid"
    exec sleep 60
fi
[ "$1" = 7-crossover-clockwork ] || { echo "wormhole error: code not known" >&2; exit 1; }
echo "Receiving file (4 Bytes) into: 'report.txt'"
printf data >"$out"
"""


@pytest.fixture
def wormhole(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a wormhole on PATH and return its directory."""
    folder = short_dir / "wormhole"
    folder.mkdir()
    (folder / "wormhole").write_text(WORMHOLE)
    (folder / "wormhole").chmod(0o755)
    monkeypatch.setenv("WORMHOLE_DIR", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def no_wormhole(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only what the scripts need on PATH."""
    folder = short_dir / "tools"
    folder.mkdir()
    for directory in ("/bin", "/usr/bin"):
        for name in os.listdir(directory):
            if name != "wormhole" and not (folder / name).is_symlink():
                (folder / name).symlink_to(f"{directory}/{name}")
    monkeypatch.setenv("PATH", str(folder))


def test_brings_a_file_here(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = tmp_path / "there" / "t-a b", os.urandom(3_000_000)
    source.parent.mkdir()
    source.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    answer = call("transfer-to-workstation", "local:", str(source))
    assert (tmp_path / "t-a b").read_bytes() == data
    assert answer == {
        "status": "transferred",
        "path": str(tmp_path / "t-a b"),
        "size": len(data),
        "checksum": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "method": "transport",
    }
    assert call("transfer-to-workstation", "local:", str(source), to=str(tmp_path / "t-c"))["path"] == str(
        tmp_path / "t-c"
    )
    assert (tmp_path / "t-c").read_bytes() == data
    assert call("transfer-to-workstation", "local:", str(source), to="~/t-d")["path"] == str(Path.home() / "t-d")
    assert call("transfer-to-workstation", "local:", str(source), to="there/../t-e")["path"] == str(tmp_path / "t-e")
    assert (Path.home() / "t-d").read_bytes() == (tmp_path / "t-e").read_bytes() == data


def test_puts_a_file_there(call: Call, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"\0data")
    answer = call("transfer-from-workstation", "local:", str(tmp_path / "here"), str(tmp_path / "t-there"))
    assert (tmp_path / "t-there").read_bytes() == b"\0data"
    assert (answer["status"], answer["size"], answer["path"]) == ("transferred", 5, str(tmp_path / "t-there"))


def test_says_what_is_wrong(call: Call, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        call("transfer-to-workstation", "local:", str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match="does not exist"):
        call("transfer-from-workstation", "local:", str(tmp_path / "none"))
    with pytest.raises(RemoteError, match="can't be written"):
        call("transfer-from-workstation", "local:", "/etc/hostname", str(tmp_path / "none" / "x"))
    with pytest.raises(UsageError, match="'seven' is no wormhole code"):
        call("transfer-to-workstation", "local:", "/etc/hostname", "seven")


def test_a_copy_that_is_not_the_same_is_no_success(tmp_path: Path) -> None:
    class Lossy(BlockingContext):
        async def transport(self, target: Target) -> Transport:
            return LossyTransport()

    class LossyTransport(LocalTransport):
        async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
            await super().put(path, content[:-1] + b"?", mode=mode)

    with pytest.raises(RemoteError, match="did not arrive as it was sent"):
        run_blocking(transfer_from_workstation(Lossy(), "local:", "/etc/hostname", str(tmp_path / "t-x")))


@pytest.mark.parametrize("code", [None, "9-own-code"])
def test_offers_a_file_by_a_code_and_stays_behind(call: Call, wormhole: Path, code: str | None) -> None:
    answer = call("transfer-to-workstation", "local:", "/etc/hostname", code, wormhole=code is None)
    pid = int((wormhole / "pid").read_text())
    try:
        assert (answer["status"], answer["method"]) == ("waiting", "wormhole")
        assert answer["code"] == (code or "7-crossover-clockwork")
        assert answer["sha256"] == hashlib.sha256(Path("/etc/hostname").read_bytes()).hexdigest()
    finally:
        os.kill(pid, 9)


def test_receives_by_a_code(call: Call, wormhole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call("transfer-from-workstation", "local:", "7-crossover-clockwork", str(tmp_path / "t-x"))
    assert (tmp_path / "t-x").read_text() == "data"
    assert (answer["status"], answer["code"], answer["size"]) == ("transferred", "7-crossover-clockwork", 4)
    monkeypatch.chdir(tmp_path)
    assert call("transfer-from-workstation", "local:", "7-crossover-clockwork")["path"] == "report.txt"
    assert (tmp_path / "report.txt").read_text() == "data"
    with pytest.raises(RemoteError, match="code not known"):
        call("transfer-from-workstation", "local:", "8-other-code", str(tmp_path / "t-y"))


def test_without_wormhole_it_says_so(call: Call, no_wormhole: None) -> None:
    started = time.monotonic()
    with pytest.raises(RemoteError, match="magic-wormhole is not installed"):
        call("transfer-to-workstation", "local:", "/etc/hostname", wormhole=True)
    with pytest.raises(RemoteError, match="magic-wormhole is not installed"):
        call("transfer-from-workstation", "local:", "7-a-b", "/tmp/x")
    assert time.monotonic() - started < 5

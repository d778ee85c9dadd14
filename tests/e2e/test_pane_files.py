"""Files moved through panes of each shell."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from sane.errors import NotFoundError, RemoteError
from sane.transports.blocking import run_blocking
from tests.e2e.pane_fixtures import SHELLS, Pane, Tmux, bash, shell_pane, tmux

__all__ = ["bash", "shell_pane", "tmux"]
pytestmark = pytest.mark.e2e

CONTENTS = {
    "empty": b"",
    "a line": b"one\n",
    "no newline": b"x",
    "every byte": bytes(range(256)) * 50,
    "exactly one line of base64": b"y" * 675,
}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_put_is_got(shell_pane: Pane, short_dir: Path, content: str) -> None:
    path = str(short_dir / "a 'name' with \"$(quotes)\" \\ ü")
    run_blocking(shell_pane.transport.put(path, CONTENTS[content]))
    assert Path(path).read_bytes() == CONTENTS[content]
    assert run_blocking(shell_pane.transport.get(path)) == CONTENTS[content]
    assert os.listdir(short_dir).count(Path(path).name) == 1
    assert not [name for name in os.listdir(short_dir) if name.startswith(".sane")]


def test_ten_megabytes(bash: Pane, short_dir: Path) -> None:
    content = random.Random(7).randbytes(10_000_000)
    started = time.monotonic()
    run_blocking(bash.transport.put(str(short_dir / "big"), content))
    assert (short_dir / "big").read_bytes() == content
    assert run_blocking(bash.transport.get(str(short_dir / "big"), limit_bytes=20_000_000)) == content
    assert run_blocking(bash.transport.get(str(short_dir / "big"), limit_bytes=1000)) == content[:1000]
    assert time.monotonic() - started < 20


def test_mode_is_kept_or_set_and_links_are_written_through(bash: Pane, short_dir: Path) -> None:
    real, link = short_dir / "real", short_dir / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    run_blocking(bash.transport.put(str(link), b"new"))
    assert (link.is_symlink(), real.read_bytes(), real.stat().st_mode & 0o777) == (True, b"new", 0o640)
    run_blocking(bash.transport.put(str(real), b"new", mode=0o755))
    assert real.stat().st_mode & 0o777 == 0o755
    run_blocking(bash.transport.put(str(short_dir / "fresh"), b"new"))
    assert (short_dir / "fresh").stat().st_mode & 0o777 == 0o644


def test_refusals_name_the_path_and_the_reason(bash: Pane, short_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        run_blocking(bash.transport.get(str(short_dir / "nowhere")))
    with pytest.raises(RemoteError, match="can't be read"):
        run_blocking(bash.transport.get(str(short_dir)))
    with pytest.raises(RemoteError, match="Not a regular file"):
        run_blocking(bash.transport.put(str(short_dir), b"x"))
    with pytest.raises(RemoteError, match="(?i)no such file|nonexistent"):
        run_blocking(bash.transport.put(str(short_dir / "no" / "such"), b"x"))
    (short_dir / "kept").write_bytes(b"old")
    bash.run("ulimit -f 1; trap '' XFSZ")
    with pytest.raises(RemoteError, match="(?i)too large"):
        run_blocking(bash.transport.put(str(short_dir / "kept"), b"x" * 5000))
    assert (short_dir / "kept").read_bytes() == b"old"
    assert bash.run("echo fine").output == b"fine\n"


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_watcher_sees_one_line(tmux: Tmux, shell: str, short_dir: Path) -> None:
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    run_blocking(pane.transport.put("~/file", b"z" * 5000))
    run_blocking(pane.transport.get("~/file"))
    screen = tmux.screen(name)
    assert "# sane: 5000 bytes into ~/file" in screen
    assert "# sane: read ~/file" in screen
    assert "enp6" not in screen
    assert "stty" not in screen
    assert (tmux.folder / "home" / "file").read_bytes() == b"z" * 5000
    pane.close()

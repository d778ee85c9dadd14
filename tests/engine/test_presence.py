"""Whether a controller that shared this state directory still lives."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sane.engine.presence import forget, is_dead, present

OWNER = "store:host-1-abc"


@pytest.fixture
def child(tmp_path: Path) -> int:
    """Return the pid of a process that is present as OWNER."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with present(tmp_path, OWNER, lambda: False):
            os.write(writing, b"x")
            signal.pause()
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    return pid


def test_one_that_lives_is_not_dead_and_one_that_was_killed_is(tmp_path: Path, child: int) -> None:
    assert not is_dead(tmp_path, OWNER)
    os.kill(child, signal.SIGSTOP)
    assert not is_dead(tmp_path, OWNER)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert is_dead(tmp_path, OWNER)
    assert is_dead(tmp_path, OWNER)  # asking does not change it
    forget(tmp_path, OWNER)
    assert not is_dead(tmp_path, OWNER)


def test_many_may_ask_at_once_of_a_dead_one(tmp_path: Path) -> None:
    (tmp_path / "controllers").mkdir()
    (tmp_path / "controllers" / OWNER).touch()
    with ThreadPoolExecutor(4) as askers:
        assert all(askers.map(lambda _: is_dead(tmp_path, OWNER), range(10_000), timeout=20))


def test_one_that_ended_in_order_leaves_nothing(tmp_path: Path) -> None:
    with present(tmp_path, OWNER, lambda: False):
        assert [path.name for path in (tmp_path / "controllers").iterdir()] == [OWNER]
    assert list((tmp_path / "controllers").iterdir()) == []


def test_one_that_ended_and_left_its_lease_behind_is_dead(tmp_path: Path) -> None:
    with present(tmp_path, OWNER, lambda: True):
        assert not is_dead(tmp_path, OWNER)
    assert is_dead(tmp_path, OWNER)
    forget(tmp_path, OWNER)
    assert list((tmp_path / "controllers").iterdir()) == []


@pytest.mark.parametrize("owner", ["store:elsewhere-1-abc", "../controllers", "a/b", "."])
def test_of_one_that_was_never_here_nothing_is_known(tmp_path: Path, owner: str) -> None:
    assert not is_dead(tmp_path, owner)
    forget(tmp_path, "store:elsewhere-1-abc")

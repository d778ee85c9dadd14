"""A controller killed at fifty random moments, on real sshd hosts; and in tmux, where it may leave a half typed line."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.kill_points import run_rounds
from tests.e2e.lab import TestLab, lab

__all__ = ["lab"]
SEED = 20_250_101


@pytest.fixture(autouse=True)
def _no_tmux_left() -> Iterator[None]:
    yield
    subprocess.run(["tmux", "kill-server"], capture_output=True)  # this test's own: TMUX_TMPDIR says which


@pytest.mark.e2e
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("via", "count", "seed"), [*(("ssh", 10, SEED + part) for part in range(5)), ("tmux", 8, SEED)]
)
def test_no_step_runs_twice_and_none_is_lost_wherever_the_controller_is_killed(
    lab: Callable[..., TestLab], tmp_path: Path, via: str, count: int, seed: int
) -> None:
    began = time.monotonic()
    rounds = run_rounds(lab(2), tmp_path, count, seed, via)
    assert not [round_ for round_ in rounds if round_.problem]
    interrupted = sum(round_.left == "interrupted" for round_ in rounds)
    assert interrupted >= count // 5  # the others were killed before the first event, or behind the last
    assert time.monotonic() - began < 80

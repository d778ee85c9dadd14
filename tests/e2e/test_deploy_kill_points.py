"""A controller killed at fifty random moments, on real sshd hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kill_points import run_rounds
from tests.e2e.lab import TestLab, lab

__all__ = ["lab"]
ROUNDS = 50
SEED = 20_250_101


@pytest.mark.e2e
@pytest.mark.timeout(150)
def test_no_step_runs_twice_and_none_is_lost_wherever_the_controller_is_killed(
    lab: Callable[..., TestLab], tmp_path: Path
) -> None:
    began = time.monotonic()
    rounds = run_rounds(lab(2), tmp_path, ROUNDS, SEED)
    assert not [round_ for round_ in rounds if round_.problem]
    interrupted = sum(round_.left == "interrupted" for round_ in rounds)
    assert interrupted >= ROUNDS // 2  # the others were killed before the first event, or behind the last
    assert time.monotonic() - began < 140

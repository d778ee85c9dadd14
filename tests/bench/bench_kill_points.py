"""Kill the controller of a deployment at random moments, and count the steps that ran twice or never.

    .venv/bin/python -m tests.bench.bench_kill_points [ROUNDS [SEED [ssh|tmux|host-tmux]]]

Exits with 1 when there is one. The hosts are two real sshd processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sane.operations import lab as labs
from tests.e2e.kill_points import run_rounds
from tests.e2e.lab import TestLab


def main(rounds: int, seed: int, via: str) -> int:
    """Run the rounds, print what came of them, and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="sane", dir="/tmp") as name:
        directory = Path(name)
        os.environ |= {"SANE_STATE_DIR": str(directory / "state"), "TMUX_TMPDIR": name}
        lab = TestLab(labs.start(directory / "lab", 2))
        began = time.monotonic()
        try:
            done = run_rounds(lab, directory, rounds, seed, via)
        finally:
            lab.down()
            subprocess.run(["tmux", "kill-server"], capture_output=True)  # that of TMUX_TMPDIR, which only we know
    bad = [round_ for round_ in done if round_.problem]
    kills = sum(len(round_.kills_s) for round_ in done)
    left = ", ".join(f"{count} {word}" for word, count in Counter(round_.left for round_ in done).most_common())
    print(
        f"{len(done)} rounds, {kills} kills, {time.monotonic() - began:.0f} s, seed {seed}, over {via}; left behind: {left}"
    )
    for round_ in bad:
        print(f"{round_.key}, killed after {round_.kills_s}: {round_.problem}")
    print(f"rounds with a step that ran twice or never: {len(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    rounds, seed, via, *_ = [*sys.argv[1:], *("500", "1", "ssh")[len(sys.argv) - 1 :]]
    sys.exit(main(int(rounds), int(seed), via))

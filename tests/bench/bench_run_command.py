"""Time sane-run-command in a local pane against tmux by hand, in one run, interleaved.

    .venv/bin/python tests/bench/bench_run_command.py [ROUNDS]

Prints one JSON line a case: the median wall time of a call in ms, and its ratio to `tmux send-keys` + `wait-for` from bash.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.e2e.pane_fixtures import Tmux, make_server  # noqa: E402


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def cases(server: Tmux) -> dict[str, Callable[[], object]]:
    """Return each way to run a command, in a pane of its own."""
    names = [server.new() for _ in range(4)]
    by_hand = f'tmux send-keys -t {names[0]} "true; tmux wait-for -S done" Enter; tmux wait-for done'
    run = str(ROOT / "bin" / "sane-run-command")
    panes = [server.open(name) for name in names]

    def process(*argv: str) -> Callable[[], object]:
        return lambda: subprocess.run(argv, env=server.environ, capture_output=True, check=True)

    return {
        "tmux send-keys + wait-for, no output": process("bash", "-c", by_hand),
        "sane-run-command true": process(run, names[1], "true"),
        "sane-run-command seq 1 1000": process(run, names[2], "seq 1 1000"),
        "in process, true": lambda: panes[3].run("true"),
        "in process, seq 1 1000": lambda: panes[3].run("seq 1 1000"),
        "python -I -S -c pass": process(sys.executable, "-I", "-S", "-c", "pass"),
    }


def main(rounds: int) -> None:
    for server in make_server():
        ways = cases(server)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds + 2):
            for name, call in ways.items():
                times[name].append(timed(call))
        base = statistics.median(next(iter(times.values()))[2:])
        for name, values in times.items():
            median = statistics.median(values[2:])
            print(json.dumps({"case": name, "median_ms": round(median, 1), "ratio": round(median / base, 2)}))
        long_pane = server.open(server.new())
        took = timed(partial(long_pane.run, "seq 1 2000000", timeout_s=60))
        print(json.dumps({"case": "2,000,000 lines, exact", "median_ms": round(took), "rounds": 1}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

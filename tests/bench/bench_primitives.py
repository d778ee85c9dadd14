"""Time the ways to run a command, against the tools people use for it, in one run, taken in turns.

    .venv/bin/python tests/bench/bench_primitives.py [ROUNDS]

Prints a Markdown table: median wall time of a call in ms, and its ratio to the peer it is measured against. Each way has a
pane of its own. `libtmux-mcp` is called as its tool function, in process; `ssh` connects to a real sshd on loopback.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sane.engine.context import AsyncContext  # noqa: E402
from sane.verbs.registry import load_verb  # noqa: E402
from tests.e2e.pane_fixtures import Tmux, make_server  # noqa: E402
from tests.transports.sshd import Sshd  # noqa: E402

RUN = str(ROOT / "bin" / "sane-run-command")
LONG_LINES = 2_000_000
WARM_UP_ROUNDS = 3


class Way(NamedTuple):
    """Describe one way to run a command: its group's first way is the peer the others are measured against."""

    group: str
    name: str
    call: Callable[[], Awaitable[object]]


def process(argv: list[str], env: dict[str, str]) -> Callable[[], Awaitable[object]]:
    async def call() -> None:
        done = subprocess.run(argv, env=env, capture_output=True, check=True)
        assert b'"timed_out":true' not in done.stdout

    return call


def shell_ways(server: Tmux, warm: dict[str, str]) -> list[Way]:
    group, pane = "shell call", [server.new() for _ in range(5)]
    by_hand = f'tmux send-keys -t {pane[0]} "true; tmux wait-for -S done" Enter; tmux wait-for done'
    return [
        Way(group, "tmux send-keys + wait-for by hand, no output", process(["bash", "-c", by_hand], server.environ)),
        Way(group, "sane-run-command true, one-shot", process([RUN, pane[1], "true"], server.environ)),
        Way(group, "sane-run-command seq 1 1000, one-shot", process([RUN, pane[2], "seq 1 1000"], server.environ)),
        Way(group, "sane-run-command true, warm", process([RUN, pane[3], "true"], warm)),
        Way(group, "sane-run-command seq 1 1000, warm", process([RUN, pane[4], "seq 1 1000"], warm)),
        Way(group, "python -I -S -c pass", process([sys.executable, "-I", "-S", "-c", "pass"], server.environ)),
    ]


def in_process_ways(server: Tmux, context: AsyncContext) -> list[Way]:
    from libtmux_mcp.tools.pane_tools.io import run_command as run_by_libtmux

    verb, ways = load_verb("run-command"), []

    async def ours(pane: str, command: str) -> None:
        async with context.call() as call:
            answer = await verb.function(call, pane, command)
            assert getattr(answer, "exit_code") == 0  # noqa: B009  (its type is the verb's own)

    async def theirs(pane: str, command: str) -> None:
        answer = await run_by_libtmux(command, session_name=pane)
        assert answer.exit_status == 0

    for command in ("true", "seq 1 1000"):
        group, pane, other = f"in process, {command}", server.new(), server.new()
        ways += [
            Way(group, f"libtmux-mcp run_command {command}", lambda p=pane, c=command: theirs(p, c)),
            Way(group, f"sane, open connection, {command}", lambda p=other, c=command: ours(p, c)),
        ]
    return ways


def ssh_ways(folder: Path, sshd: Sshd, server: Tmux, warm: dict[str, str]) -> list[Way]:
    config = folder / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text(sshd.config())
    env = server.environ | {"HOME": str(folder)}
    ssh = ["ssh", "-F", str(config)]
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/master", "-o", "ControlPersist=15"]
    group = "over ssh"
    return [
        Way(group, "ssh HOST true", process([*ssh, "web1", "true"], env)),
        Way(group, "sane-run-command ssh:HOST true, one-shot", process([RUN, "ssh:web1", "true"], env)),
        Way(group, "ssh HOST true, ControlPersist", process([*ssh, *shared, "web1", "true"], env)),
        Way(
            group,
            "sane-run-command ssh:HOST true, warm",
            process([RUN, "ssh:web1", "true"], {**warm, "HOME": str(folder)}),
        ),
    ]


async def measure(ways: list[Way], rounds: int) -> dict[Way, float]:
    times: dict[Way, list[float]] = {way: [] for way in ways}
    for number in range(rounds + WARM_UP_ROUNDS):
        for way in ways:
            started = time.perf_counter()
            await way.call()
            if number >= WARM_UP_ROUNDS:
                times[way].append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.02)  # the prompt is drawn, as it is for a person or a script that reads the answer
    return {way: statistics.median(taken) for way, taken in times.items()}


def show(medians: dict[Way, float]) -> None:
    peers: dict[str, float] = {}
    print("| | median ms | ratio to the first of its group |\n|---|---|---|")
    for way, median_ms in medians.items():
        peer = peers.setdefault(way.group, median_ms)
        print(f"| {way.name} | {median_ms:.1f} | {median_ms / peer:.2f} |")


async def measure_long(server: Tmux, context: AsyncContext) -> None:
    started = time.perf_counter()
    async with context.call() as call:
        answer = await load_verb("run-command").function(call, server.new(), f"seq 1 {LONG_LINES}", 60.0)
    took_s = time.perf_counter() - started
    exact = getattr(answer, "output") == "".join(f"{n}\n" for n in range(1, LONG_LINES + 1))  # noqa: B009
    print(f"| {LONG_LINES:,} lines, {'exact' if exact else 'NOT EXACT'} | {took_s * 1000:.0f} | |")


async def run_all(server: Tmux, folder: Path, sshd: Sshd, rounds: int) -> None:
    os.environ.clear()
    os.environ.update(server.environ)
    warm = {name: value for name, value in server.environ.items() if name != "SANE_HELPER"}
    context = AsyncContext(None)
    ways = [*shell_ways(server, warm), *in_process_ways(server, context), *ssh_ways(folder, sshd, server, warm)]
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {rounds} rounds\n")
    show(await measure(ways, rounds))
    await measure_long(server, context)
    await context.close()
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


def main(rounds: int) -> None:
    sshd = Sshd().start()
    try:
        for server in make_server():
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(run_all(server, Path(folder), sshd, rounds))
    finally:
        sshd.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)

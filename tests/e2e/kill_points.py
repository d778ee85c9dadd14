"""Kill controllers at random moments and let the next one go on: no step may run twice, none may be lost.

The controllers are forks of this process, so that a kill falls into the work and not into the start of Python. Each
round has a deployment key of its own. Its steps leave a line each in a file that only grows.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.deploy_fixtures import call
from tests.e2e.lab import TestLab

WORKFLOW = """\
name: kill
vars: {root: ~}
policy: {min_healthy: 0ms, healthy_deadline: 20s, progress_deadline: 60s, max_parallel: 2}
health: {path: "{{ root }}/{{ key }}.health.json", poll_interval: 30s}
stage:
  - name: put
    run-command: echo put >>{{ root }}/{{ key }}.marks; sleep 0.03
switch:
  - name: turn
    run-command: echo turn >>{{ root }}/{{ key }}.marks; sleep 0.03
  - name: say
    run-command: |
      echo say >>{{ root }}/{{ key }}.marks
      printf '{"status":"ok","version":"%s","nonce":"%s"}' "$SANE_VERSION" "$SANE_NONCE" >{{ health_path }}.new
      mv -f {{ health_path }}.new {{ health_path }}
"""
MARKS = ["put", "turn", "say"]


@dataclass(frozen=True)
class Round:
    """Hold what came of one round: when each controller was killed, what it left, and what was wrong, if anything."""

    key: str
    kills_s: tuple[float, ...]
    left: str
    problem: str


def write_files(lab: TestLab, directory: Path) -> tuple[Path, Path]:
    """Return a workflow, and an inventory in which the host does not fix where its health file is."""
    workflow, inventory = directory / "kill.yaml", directory / "hosts.yaml"
    workflow.write_text(WORKFLOW)
    text = lab.inventory.read_text()
    inventory.write_text("".join(line for line in text.splitlines(True) if not line.startswith("health_path")))
    return workflow, inventory


def run_rounds(lab: TestLab, directory: Path, rounds: int, seed: int, via: str = "ssh") -> list[Round]:
    """Return what came of so many rounds; the same seed makes the same kills, as far as time allows."""
    chance = random.Random(seed)
    workflow, inventory = write_files(lab, directory)
    words = ("deploy", str(workflow), "-i", str(inventory), "--version", "1.0.0", "--via", via, "--key")
    assert call(*words, "first").exit_code == 0  # pays for the imports
    whole_s = call(*words, "second").duration_s
    return [_round(lab, [*words, f"k{number}"], f"k{number}", chance, whole_s) for number in range(rounds)]


def _round(lab: TestLab, deploy: list[str], key: str, chance: random.Random, whole_s: float) -> Round:
    kills = [chance.uniform(0, whole_s) for _ in range(chance.choice((1, 1, 2)))]
    words = deploy
    for delay_s in kills:
        _run_and_kill(words, delay_s)
        words = ["resume", key]
    left = call("deployment", "status", key, "--query", "status").stdout.strip().strip('"') or "nothing"
    last = call("resume", key)
    if last.exit_code == 2 and "there is no deployment" in last.stderr:
        last = call(*deploy)  # killed before it had written anything down: nothing may have been touched
    if last.exit_code == 7 and "has ended" in last.stderr:
        last = call("deployment", "status", key)  # killed behind the end
    problems = [last.stderr] if last.exit_code != 0 else []
    for host in lab.hosts:
        path = lab.root(host) / f"{key}.marks"
        marks = path.read_text().split() if path.exists() else []
        if marks != MARKS:
            problems.append(f"{host} has {marks}")
    return Round(key, tuple(kills), left, "\n".join(problems))


def _run_and_kill(words: list[str], delay_s: float) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            call(*words)
        finally:
            os._exit(0)
    try:
        time.sleep(delay_s)  # the moment of the kill is what is tried
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

"""`sane run`, stopped in the middle: what had come by then is not lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SANE = Path(__file__).parents[3] / "bin" / "sane"
BOUND_S = 20


@pytest.mark.e2e
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_answers_that_came_and_names_the_hosts_that_gave_none(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("hosts: {web1: {target: 'local:'}, web2: {target: 'local:'}, slow: {target: 'local:'}}\n")
    # One host after the other, and all are this machine: the third one finds nothing left to make.
    script = f"mkdir {tmp_path}/a || mkdir {tmp_path}/b || {{ touch {tmp_path}/waits; exec sleep 60; }}; echo done"
    argv = [SANE, "run", "-i", hosts, "--parallel", "1", "--output", "json", "all", "--", f"({script}) 2>/dev/null"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + BOUND_S
        while not (tmp_path / "waits").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, _ = process.communicate(timeout=BOUND_S)
    finally:
        process.kill()
    assert process.returncode == status
    answers = json.loads(out)["hosts"]
    assert [(answer["host"], answer.get("error", answer["output"])) for answer in answers] == [
        ("web1", "done\n"),
        ("web2", "done\n"),
        ("slow", "stopped before it answered"),
    ]


def test_the_inventory_of_the_environment_counts_where_none_is_named(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("hosts: {web1: {target: 'local:'}}\n")
    for words in (["run", "all", "--", "true"], ["whatis", "web1"], ["adopt"], ["health", "check", "--path", "/none"]):
        environment = {**os.environ, "SANE_INVENTORY": str(hosts)}
        done = subprocess.run([SANE, *words], capture_output=True, text=True, env=environment, timeout=BOUND_S)
        assert done.returncode != 2, (words, done.stderr)
        assert "name nobody knows" not in done.stdout + done.stderr

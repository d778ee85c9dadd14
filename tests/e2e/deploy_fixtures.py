"""What the tests of deployments share: a lab, a small workflow that counts what it does, and `sane` in and out of process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import TestLab, lab

__all__ = ["Answer", "Site", "lab", "open_site"]

REPOSITORY = Path(__file__).resolve().parents[2]
SANE = str(REPOSITORY / "bin" / "sane")

# Every step leaves a mark in a file that only grows, so that a step that ran twice can be told from one that ran once.
# What the host says of itself is in `say-VERSION`; without that file it is healthy.
WORKFLOW = """\
name: app
vars: {{root: ~, pause: "0"}}
policy: {{min_healthy: 0ms, healthy_deadline: {deadline}, progress_deadline: {progress}{policy}}}
health: {{path: "{{{{ root }}}}/health.json", poll_interval: {poll}}}
stage:
  - name: put
    run-command: |
      printf 'put %s\\n' "$SANE_VERSION" >>{{{{ root }}}}/marks
      mkdir -p {{{{ root }}}}/releases/{{{{ version }}}}
      {put}
    timeout: 20s
switch:
  - name: turn
    run-command: |
      printf 'turn %s\\n' "$SANE_VERSION" >>{{{{ root }}}}/marks
      {turn}
      ln -sfn releases/{{{{ version }}}} {{{{ root }}}}/current
  - name: say
    run-command: |
      {say}
revert:
  - name: back
    run-command: |
      printf 'back %s\\n' "$SANE_PREVIOUS_VERSION" >>{{{{ root }}}}/marks
      test -n {{{{ previous_version }}}} && ln -sfn releases/{{{{ previous_version }}}} {{{{ root }}}}/current
      printf '{{"status":"healthy","version":"%s","nonce":"%s"}}\\n' {{{{ previous_version }}}} "$SANE_NONCE" >{{{{ health_path }}}}.new
      mv -f {{{{ health_path }}}}.new {{{{ health_path }}}}
"""


SAY = """word=$(cat {{ root }}/say-{{ version }} 2>/dev/null || echo healthy)
      printf '{"status":"%s","version":"%s","nonce":"%s"}\\n' "$word" "$SANE_VERSION" "$SANE_NONCE" >{{ health_path }}.new
      mv -f {{ health_path }}.new {{ health_path }}"""


@dataclass(frozen=True)
class Answer:
    """Hold how a command ended."""

    exit_code: int
    stdout: str
    stderr: str
    duration_s: float

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    def hosts(self, field_name: str = "status") -> dict[str, Any]:
        return {host["name"]: host[field_name] for host in self.report["hosts"]}


def call(*arguments: str) -> Answer:
    """Run a `sane` command in this process."""
    from sane.surfaces.cli.main import main

    out, err, argv, began = io.StringIO(), io.StringIO(), sys.argv, time.monotonic()
    sys.argv = ["sane", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = argv
    return Answer(code, out.getvalue(), err.getvalue(), time.monotonic() - began)


def write_workflow(path: Path, *, policy: str = "", **texts: str) -> None:
    """Write the workflow: `put` and `turn` are commands in those steps, `poll`, `deadline`, `progress` durations.

    `say` is what writes the health file.
    """
    given = {"poll": "5s", "deadline": "8s", "progress": "60s", "put": "true", "turn": "true", "say": SAY, **texts}
    path.write_text(WORKFLOW.format(policy=f", {policy}" if policy else "", **given))


def start_sane(*words: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `sane` in a process of its own, not in the process group of the tests."""
    return subprocess.Popen(
        [SANE, *words],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_process(process: subprocess.Popen[str]) -> None:
    """Kill a process, even a stopped one, and take what it left."""
    process.kill()
    process.communicate()


@contextlib.contextmanager
def sane_process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start `sane`; it is gone behind the block."""
    process = start_sane(*words)
    try:
        yield process
    finally:
        end_process(process)


def events_of(key: str, *kinds: str) -> list[dict[str, Any]]:
    """Return the events of a deployment key, of these kinds."""
    lines = call("events", "--key", key, "--output", "ndjson").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [event for event in events if not kinds or event["kind"] in kinds]


def notice_dead_connections_soon() -> None:
    """Let a dead connection be noticed after 2 s, not 20."""
    config = Path.home() / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text("Host *\n  ServerAliveInterval 1\n  ServerAliveCountMax 1\n")


@dataclass
class Site:
    """Hold a lab, a workflow for it, and a directory of the test's own."""

    lab: TestLab
    directory: Path
    workflow: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def inventory(self) -> Path:
        return self.lab.inventory

    def write_workflow(self, **texts: str) -> None:
        write_workflow(self.workflow, **texts)

    def deploy_words(self, version: str, *options: str) -> list[str]:
        return ["deploy", str(self.workflow), "-i", str(self.inventory), "--version", version, *options]

    def deploy(self, version: str, *options: str) -> Answer:
        """Deploy in this process; the answer's report is the JSON one."""
        return call(*self.deploy_words(version, "--output", "json", *options))

    def start(self, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `sane` in a process of its own, which ends with the test."""
        process = start_sane(*words, environ=environ)
        self.started.append(process)
        return process

    def set_connect_timeout(self, timeout: str) -> None:
        """Let every host of the inventory be given up when it does not answer for so long."""
        text = self.inventory.read_text()
        self.inventory.write_text(text.replace("address:", f"connect_timeout: {timeout}, address:"))

    def root(self, host: str) -> Path:
        return self.lab.root(host)

    def marks(self, host: str) -> list[str]:
        path = self.root(host) / "marks"
        return path.read_text().splitlines() if path.exists() else []

    def say(self, host: str, version: str, word: str) -> None:
        (self.root(host) / f"say-{version}").write_text(word + "\n")

    def snapshot(self, host: str, *, leases: bool = True) -> dict[str, Any]:
        """Return every file of a host with its content, mode and time; without `leases` not those of leases."""
        found: dict[str, Any] = {}
        root = self.root(host)
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if not leases and name.startswith(".sane/leases"):
                continue
            seen = path.lstat()
            content = os.readlink(path) if path.is_symlink() else _digest(path) if path.is_file() else ""
            changed = 0 if path.is_dir() and not leases else seen.st_mtime_ns
            found[name] = (seen.st_mode, changed, content)
        return found

    def end(self) -> None:
        for process in self.started:
            end_process(process)


def wait_for(ready: Callable[[], Any], timeout_s: float = 10.0, what: str = "the condition") -> Any:
    """Return what `ready` returns as soon as that is true; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
        time.sleep(0.02)  # files and processes of others: there is no event to wait for
    return found


@pytest.fixture
def open_site(lab: Callable[..., TestLab], tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Yield `open_site(hosts=3, **workflow)`; what it started ends with the test."""
    opened: list[Site] = []

    def start(hosts: int = 3, **workflow: str) -> Site:
        site = Site(lab(hosts), tmp_path, tmp_path / "app.yaml")
        site.write_workflow(**workflow)
        opened.append(site)
        return site

    yield start
    for site in opened:
        site.end()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

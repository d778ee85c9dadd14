"""The engine's own CPU a host-step, beside the SSH work: a deployment against bare asyncssh, in one process and one run.

    .venv/bin/python tests/bench/bench_engine.py [HOSTS] [ROUNDS] [--profile N]

For workflows of 1 and of 5 run-command steps (each `true`), medians of rounds taken in turns:

engine      create the deployment and drive it to its end, store, leases, records and receipts and all
same        bare asyncssh sends the same commands that this deployment sent, byte for byte but for its id, the brief
            ones to one sh
bare        bare asyncssh sends the steps alone: one connection a host, one session a step

CPU is user and system of this process with all its threads; the hosts are processes of their own. `engine - same` is what
the engine does beside the SSH work; `engine - bare` holds also the work of what makes a step safe: look, lease, receipt.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import asyncssh  # noqa: E402

from sane.core.fleet.inventory import Host  # noqa: E402
from sane.operations.deployments import DeployRequest, create_deployment, load_plan, opened_store  # noqa: E402
from sane.operations.drive import drive  # noqa: E402
from sane.operations.files import load_inventory  # noqa: E402
from sane.transports import ssh  # noqa: E402
from sane.transports.ssh_connect import CIPHERS, tuned_options  # noqa: E402

STEPS = (1, 5)
T = TypeVar("T")
END = "end of the answer"


class Sent(NamedTuple):
    """Hold one command as it was sent; `brief`: to the shell that stays open."""

    script: str
    stdin: bytes = b""
    brief: bool = False


def cpu_s() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Recorder:
    """Keep what the engine sends, by the name of the host, in order."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Sent]] = defaultdict(list)
        self.sessions = 0
        self._originals = ssh.RemoteCommand, ssh.HostShell

    def __enter__(self) -> Recorder:
        recorder = self

        class Recorded(ssh.RemoteCommand):
            def __init__(self, connection: Any, script: str, host: str, **options: Any) -> None:
                super().__init__(connection, script, host, **options)
                recorder.sessions += 1
                recorder.sent[host].append(Sent(self._script, options.get("stdin") or b""))

        class RecordedShell(ssh.HostShell):
            def __init__(self, connection: Any, host: str) -> None:
                super().__init__(connection, host)
                recorder.sessions += 1

            async def ask(self, question: str, stdin: bytes, timeout_s: float | None) -> Any:
                recorder.sent[self._host].append(Sent(question, stdin, brief=True))
                return await super().ask(question, stdin, timeout_s)

        ssh.RemoteCommand, ssh.HostShell = Recorded, RecordedShell  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        ssh.RemoteCommand, ssh.HostShell = self._originals  # type: ignore[misc]


async def deploy(workflow: Path, inventory: Path, key: str) -> str:
    """Deploy to all hosts at once and return the id of the deployment; whatever is not well ends the benchmark."""
    request = DeployRequest(workflow, inventory, "1", key=key)
    async with opened_store() as store:
        event = await create_deployment(store, load_plan(request), request)
        state = await drive(store, event.deployment, say=print)
    if state.status != "successful":
        raise SystemExit(
            f"the deployment ended {state.status}: {[(h.spec.name, h.status, h.error) for h in state.hosts][:3]}"
        )
    return event.deployment


async def send_bare(hosts: list[Host], commands: Mapping[str, list[Sent]]) -> None:
    """Send each host its commands, one after the other, over one connection."""
    key = asyncssh.read_private_key(hosts[0].key or "")
    known = asyncssh.read_known_hosts(hosts[0].known_hosts or "")

    async def one(host: Host) -> None:
        way = {"port": host.port, "username": host.user, "client_keys": [key], "known_hosts": known}
        async with asyncssh.connect(
            host.address, options=tuned_options(), encryption_algs=CIPHERS, **way
        ) as connection:
            shell = None
            for sent in commands[host.name]:
                if sent.brief:
                    shell = shell or await connection.create_process("exec sh", encoding=None)
                    shell.stdin.write(as_line(sent))
                    await shell.stdout.readuntil(f"{END} 0\n".encode())
                    continue
                answer = await connection.run(sent.script, input=sent.stdin, encoding=None)
                if answer.exit_status != 0:
                    raise SystemExit(f"{host.name}: {answer.stderr!r}")

    await asyncio.gather(*(one(host) for host in hosts))


def as_line(sent: Sent) -> bytes:
    """Return a brief command as a shell reads it."""
    return f"printf %s {shlex.quote(sent.stdin.decode())} | ({sent.script}\n); echo '{END}' $?\n".encode()


def measure(work: Coroutine[Any, Any, T]) -> tuple[float, T]:
    """Return the CPU seconds of some work in an event loop of its own, and what it returned."""
    began = cpu_s()
    done = asyncio.run(work)
    return cpu_s() - began, done


def write_workflow(path: Path, steps: int, hosts: int) -> None:
    """Write a workflow of so many steps, without a health file."""
    lines = [f'  - name: step{number}\n    run-command: "true"\n' for number in range(1, steps + 1)]
    path.write_text(f"name: bench\nhealth: none\npolicy: {{max_parallel: {hosts}}}\nstage:\n" + "".join(lines))


def run(work: Path, inventory: Path, rounds: int, profiled_steps: int) -> None:
    """Measure in turns and print a table."""
    hosts = list(load_inventory(str(inventory)).hosts)
    taken: dict[tuple[int, str], list[float]] = defaultdict(list)
    trips: dict[int, float] = {}
    for steps in STEPS:
        write_workflow(work / f"{steps}.yaml", steps, len(hosts))
    for number in range(-1, rounds):  # the first round warms up, and records what is sent
        for steps in STEPS:
            path, key = work / f"{steps}.yaml", f"s{steps}r{number + 1}"
            with Recorder() as recorder:
                engine, name = measure(deploy(path, inventory, key))
            sent = {
                host: [s._replace(script=s.script.replace(name, f"{name}x").replace(key, f"{key}x")) for s in all_sent]
                for host, all_sent in recorder.sent.items()
            }
            trips[steps] = recorder.sessions / len(hosts)
            same, _ = measure(send_bare(hosts, sent))
            bare, _ = measure(send_bare(hosts, {h.name: [Sent("true")] * steps for h in hosts}))
            if number >= 0:
                for what, value in (("engine", engine), ("same", same), ("bare", bare)):
                    taken[steps, what].append(value / len(hosts) * 1000)
    report(taken, trips, len(hosts), rounds)
    if profiled_steps:
        profile = cProfile.Profile(time.thread_time)  # CPU, not waiting
        profile.enable()
        asyncio.run(deploy(work / f"{profiled_steps}.yaml", inventory, "profiled"))
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        pstats.Stats(profile).sort_stats("cumulative").print_stats(r"sane/", 60)


def report(taken: Mapping[tuple[int, str], list[float]], trips: Mapping[int, float], hosts: int, rounds: int) -> None:
    """Print medians in ms of CPU a host, and what the engine costs beside the others a host-step."""
    print(f"{hosts} hosts, medians of {rounds} rounds, ms of CPU a host, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'steps':>5}{'sessions':>10}{'engine':>9}{'same':>8}{'bare':>8}{'own/step':>10}{'all/step':>10}{'ratio':>8}"
    )
    mid = {place: statistics.median(values) for place, values in taken.items()}
    for steps in STEPS:
        engine, same, bare = (mid[steps, what] for what in ("engine", "same", "bare"))
        own, everything = (engine - same) / steps, (engine - bare) / steps
        print(
            f"{steps:5}{trips[steps]:10.1f}{engine:9.1f}{same:8.1f}{bare:8.1f}{own:10.2f}{everything:10.2f}"
            f"{engine / bare:8.2f}"
        )
    first, last = STEPS
    slopes = {what: (mid[last, what] - mid[first, what]) / (last - first) for what in ("engine", "same", "bare")}
    print("one step more: " + ", ".join(f"{what} {value:.2f} ms" for what, value in slopes.items()))


def main() -> None:
    """Start a lab, measure, end the lab."""
    words = [word for word in sys.argv[1:] if word != "--profile"]
    profiled_steps = int(words.pop()) if "--profile" in sys.argv else 0
    hosts, rounds = int(words[0] if words else 50), int(words[1] if len(words) > 1 else 5)
    with tempfile.TemporaryDirectory(prefix="sane-bench") as name:
        work = Path(name)
        os.environ |= {"SANE_STATE_DIR": str(work / "state"), "HOME": str(work)}
        sane = str(ROOT / "bin" / "sane")
        lab = [sane, "lab", "up", str(hosts), "--dir", str(work / "lab")]
        inventory = subprocess.run(lab, capture_output=True, text=True, check=True).stdout.strip()
        try:
            run(work, Path(inventory), rounds, profiled_steps)
        finally:
            subprocess.run([sane, "lab", "down", "--dir", str(work / "lab")], capture_output=True, check=False)


if __name__ == "__main__":
    main()

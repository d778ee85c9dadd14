"""Fan-out over SSH: `true` on 50 loopback hosts, ours against `xargs -P 50 ssh`, in one run.

    .venv/bin/python -m tests.bench.bench_fanout [ROUNDS]

The hosts are real sshd processes, an address each. CPU is that of the client's processes (rusage), whole processes from
start to end; `ours, in the loop` leaves out the start of Python and the imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.transports.sshd import Sshd, free_port

HOSTS = 50
SILENT = 5
ADDRESSES_PER_SSHD = 10  # sshd listens on 16 at most
TIMEOUT_S = 3
TUNED = """Host *
  KexAlgorithms curve25519-sha256
  Ciphers aes128-gcm@openssh.com
  HostKeyAlgorithms ssh-ed25519
  PreferredAuthentications publickey
  GSSAPIAuthentication no
  IdentitiesOnly yes
  Compression no
"""


def start_hosts(folder: Path) -> tuple[list[Sshd], str]:
    """Start the sshd processes; return them and an ssh configuration for h0 … h49 on 127.0.7.x."""
    servers: list[Sshd] = []
    text = ""
    known = folder / "known_hosts"
    for first in range(0, HOSTS, ADDRESSES_PER_SSHD):
        names = range(first, first + ADDRESSES_PER_SSHD)
        port = free_port()
        listen = "\nListenAddress ".join(f"{address}:{port}" for address in ["127.0.0.1", *map(address_of, names)])
        server = Sshd(port=port, options={"ListenAddress": listen}).start()
        servers.append(server)
        kind, key = Path(f"{server.host_key}.pub").read_text().split()[:2]
        with known.open("a") as file:
            file.writelines(f"[{address_of(number)}]:{port} {kind} {key}\n" for number in names)
        for number in names:
            block = server.config(f"h{number}").replace("127.0.0.1", address_of(number))
            text += block.replace(str(server.known_hosts), str(known))
    return servers, text


def address_of(number: int) -> str:
    """Return the loopback address of a host."""
    return f"127.0.7.{number + 1}"


async def fan_out(config: str, names: list[str]) -> dict[str, float]:
    """Run `true` on every host with our transport; return wall, CPU and the time of the slowest good host."""
    from sane.core.command import Command
    from sane.errors import TransportError
    from sane.transports.ssh_config import SshConfig
    from sane.transports.ssh_pool import SshPool

    started, cpu = time.perf_counter(), time.process_time()
    finished: list[float] = []
    phases: list[str] = []
    async with SshPool(SshConfig(config=config)) as pool:

        async def one(name: str) -> None:
            try:
                result = await pool.transport(name).run(Command("true"))
                assert result.exit_code == 0
                finished.append(time.perf_counter() - started)
            except TransportError as error:
                phases.append(error.phase)

        await asyncio.gather(*(one(name) for name in names))
    return {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "last_good": max(finished),
        "good": len(finished),
        "banner": phases.count("banner"),
    }


def measure(argv: list[str], stdin: str = "") -> tuple[float, float, str]:
    """Return wall and client CPU seconds of a command with all its children, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main(rounds: int) -> None:
    """Measure in turns, and print medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="sane", dir="/tmp") as temporary:
        folder = Path(temporary)
        servers, text = start_hosts(folder)
        silent = [socket.create_server((address_of(HOSTS + n), 0)) for n in range(SILENT)]
        try:
            plain, tuned = folder / "plain", folder / "tuned"
            plain.write_text(text)
            tuned.write_text(TUNED + text)
            faulty = folder / "faulty"
            faulty.write_text(
                text
                + "".join(
                    f"Host s{n}\n HostName {sock.getsockname()[0]}\n Port {sock.getsockname()[1]}\n"
                    f" UserKnownHostsFile none\n ConnectTimeout {TIMEOUT_S}\n"
                    for n, sock in enumerate(silent)
                )
            )
            rows = run_rounds(rounds, plain, tuned, faulty)
        finally:
            for sock in silent:
                sock.close()
            for server in servers:
                server.stop()
    print_table(rows)


def run_rounds(rounds: int, plain: Path, tuned: Path, faulty: Path) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU of each contestant, round by round; the first round warms up and is dropped."""
    names = [f"h{n}" for n in range(HOSTS)]
    with_silent = names[: HOSTS - SILENT] + [f"s{n}" for n in range(SILENT)]
    ours = [sys.executable, "-m", "tests.bench.bench_fanout", "--ours"]
    xargs = ["xargs", "-P", str(HOSTS), "-I{}", "ssh", "-F"]
    rows: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        found: dict[str, tuple[float, float]] = {}
        wall, cpu, said = measure([*ours, str(plain), *names])
        inner = json.loads(said)
        assert inner["good"] == HOSTS
        found["ours, whole process"] = (wall, cpu)
        found["ours, in the loop"] = (inner["wall"], inner["cpu"])
        found["xargs -P ssh, tuned"] = measure([*xargs, str(tuned), "{}", "true"], "\n".join(names))[:2]
        found["xargs -P ssh, as installed"] = measure([*xargs, str(plain), "{}", "true"], "\n".join(names))[:2]
        inner = json.loads(measure([*ours, str(faulty), *with_silent])[2])
        assert (inner["good"], inner["banner"]) == (HOSTS - SILENT, SILENT), inner
        found[f"ours, {SILENT} silent: all good shown"] = (inner["last_good"], inner["cpu"])
        found[f"ours, {SILENT} silent: the end (timeout {TIMEOUT_S} s)"] = (inner["wall"], inner["cpu"])
        if turn:
            for name, pair in found.items():
                rows.setdefault(name, []).append(pair)
    return rows


def print_table(rows: dict[str, list[tuple[float, float]]]) -> None:
    """Print medians; ratios are against tuned xargs."""
    medians = {name: [statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in rows.items()}
    wall_base, cpu_base = medians["xargs -P ssh, tuned"]
    print(f"{HOSTS} hosts, `true`, cold; medians of {len(next(iter(rows.values())))}; {os.cpu_count()} cores\n")
    print(f"{'':44}{'wall s':>8}{'ratio':>8}{'CPU ms/host':>13}{'ratio':>8}")
    for name, (wall, cpu) in medians.items():
        per_host = cpu * 1000 / HOSTS
        print(f"{name:44}{wall:8.2f}{wall / wall_base:8.2f}{per_host:13.1f}{cpu / cpu_base:8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        print(json.dumps(asyncio.run(fan_out(sys.argv[2], sys.argv[3:]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""Deploy of one step to 50 lab hosts against `xargs -P 50 ssh` of the same command, in one run.

    .venv/bin/python tests/bench/bench_deploy.py [HOSTS] [ROUNDS]

Wall time and the CPU of the client side (user + system of the process and its children; the lab's sshd processes are not
its children), medians of the rounds, taken in turns. `xargs` runs ssh as installed and with a tuned ssh_config.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = 'name: bench\nhealth: none\nstage:\n  - name: only\n    run-command: "true"\n'
TUNED = (
    "Compression no\nGSSAPIAuthentication no\nPreferredAuthentications publickey\nKexAlgorithms curve25519-sha256\n"
    "Ciphers aes128-gcm@openssh.com\nControlPath none\nLogLevel ERROR\n"
)


def measure(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a command; its output is dropped, its failure ends the benchmark."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=300)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ssh_config(inventory: str, extra: str) -> str:
    """Return an ssh_config with one alias a host of the lab."""
    sys.path.insert(0, str(ROOT))
    from sane.operations.files import load_inventory

    blocks = [
        f"Host {h.name}\n HostName {h.address}\n Port {h.port}\n User {h.user}\n IdentityFile {h.key}\n"
        f" UserKnownHostsFile {h.known_hosts}\n BatchMode yes\n"
        for h in load_inventory(inventory).hosts
    ]
    return "".join(blocks) + "Host *\n" + extra


def main() -> None:
    """Run the contestants in turns and print a table."""
    hosts, rounds = int(([*sys.argv, "50"])[1]), int(([*sys.argv, "", "5"])[2])
    with tempfile.TemporaryDirectory(prefix="sane-bench") as name:
        work = Path(name)
        env = {**os.environ, "SANE_STATE_DIR": str(work / "state"), "HOME": str(work)}
        sane = str(ROOT / "bin" / "sane")
        lab = [sane, "lab", "up", str(hosts), "--dir", str(work / "lab")]
        inventory = subprocess.run(lab, env=env, capture_output=True, text=True, check=True).stdout.strip()
        try:
            run(work, env, sane, inventory, hosts, rounds)
        finally:
            subprocess.run([sane, "lab", "down", "--dir", str(work / "lab")], env=env, capture_output=True, check=False)


def run(work: Path, env: dict[str, str], sane: str, inventory: str, hosts: int, rounds: int) -> None:
    """Measure each contestant `rounds` times, in turns."""
    (work / "bench.yaml").write_text(WORKFLOW)
    (work / "plain").write_text(ssh_config(inventory, ""))
    (work / "tuned").write_text(ssh_config(inventory, TUNED))
    names = " ".join(f"server{n}" for n in range(1, hosts + 1))
    xargs = "echo {} | xargs -n 1 -P 50 sh -c 'ssh -F {} \"$0\" true'"
    deploy = [sane, "deploy", str(work / "bench.yaml"), "-i", inventory, "--version", "1", "--max-parallel", "50"]
    contestants = {
        "sane deploy": lambda n: [*deploy, "--key", f"bench{n}"],
        "sane run": lambda n: [sane, "run", "-i", inventory, "--parallel", "50", "all", "--", "true"],
        "xargs ssh, tuned": lambda n: ["sh", "-c", xargs.format(names, work / "tuned")],
        "xargs ssh, as installed": lambda n: ["sh", "-c", xargs.format(names, work / "plain")],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, argv in contestants.items():
            taken[name].append(measure(argv(number), env))
    peer = median(taken["xargs ssh, tuned"])
    print(f"{hosts} hosts, medians of {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<26}{'wall s':>8}{'CPU s':>8}{'ms CPU/host':>13}{'wall ratio':>12}{'CPU ratio':>11}")
    for name, values in taken.items():
        wall_s, cpu_s = median(values)
        per_host = cpu_s / hosts * 1000
        print(f"{name:<26}{wall_s:8.2f}{cpu_s:8.2f}{per_host:13.1f}{wall_s / peer[0]:12.2f}{cpu_s / peer[1]:11.2f}")


def median(values: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of wall and CPU seconds."""
    return statistics.median(w for w, _ in values), statistics.median(c for _, c in values)


if __name__ == "__main__":
    main()

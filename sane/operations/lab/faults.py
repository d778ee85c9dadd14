"""Break one host of a lab in a chosen way, and heal it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sane.core.nearest import nearest_hint
from sane.errors import SaneError, UnavailableError, UsageError
from sane.operations.lab import disk, health, processes, relay
from sane.operations.lab.processes import ProcessId
from sane.operations.lab.servers import (
    bind,
    free_port,
    prepare_server,
    require_ports,
    spawn,
    start_server,
    wait_listening,
)
from sane.operations.lab.session import set_failing_step
from sane.operations.lab.state import Lab, LabHost

# name -> what the host does then. The one list that help, errors and completion read.
FAULTS: dict[str, str] = {
    "refuse": "nothing listens on its port; open sessions go on",
    "silent": "it accepts connections and never says a word",
    "stop": "sshd and all that runs on the host is stopped (SIGSTOP)",
    "slow:MS": "each direction of a new connection is late by MS milliseconds",
    "full-disk": "writes in its root fail: no space left on device",
    "fail-step:STEP": "the workflow's step of that name exits with 1",
    "unhealthy": "its health.json says unhealthy",
    "stale": "its health.json has an old time and an old nonce",
    "torn": "its health.json ends in the middle",
    "kill": "sshd and its sessions die now (SIGKILL)",
    "heal": "as new: same port, same key",
}
_MAX_DELAY_MS = 60_000


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Name a fault and its argument: milliseconds, a step's name, or nothing."""

    kind: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


def parse_fault(text: str) -> Fault:
    """Return the fault that a text such as `refuse` or `slow:200` names. Raises UsageError naming the nearest one."""
    kind, _, argument = text.partition(":")
    forms = {form.partition(":")[0]: form for form in FAULTS}
    if kind not in forms:
        raise UsageError(f"there is no fault '{text}'", hint=nearest_hint(kind, FAULTS))
    wants = forms[kind].partition(":")[2]
    if bool(argument) != bool(wants):
        raise UsageError(
            f"fault '{text}' is not complete" if wants else f"fault '{kind}' takes nothing after it",
            hint=f"Write {forms[kind]}.",
        )
    if wants == "MS" and not (argument.isascii() and argument.isdigit() and 0 < int(argument) <= _MAX_DELAY_MS):
        raise UsageError(f"slow takes milliseconds from 1 to {_MAX_DELAY_MS}, got '{argument}'", hint="Write slow:200.")
    return Fault(kind, argument)


def host_processes(lab: Lab, host: LabHost, *, detached: bool) -> set[ProcessId]:
    """Return the processes of a host: its server, its sessions, and with `detached` what left its session."""
    found = {host.server.pid} if host.server and processes.is_alive(host.server) else set[int]()
    found |= processes.with_argument(f"{lab.works(host.name)}/", "sshd")
    found |= processes.with_port({host.port, host.server_port}, "sshd")
    if detached:
        found |= processes.with_environment("SANE_LAB_ROOT", under=lab.root(host.name), exactly=True)
    return processes.identify_all(processes.descendants(found) - processes.own_lineage())


def break_host(lab: Lab, host: LabHost, fault: Fault) -> LabHost:
    """Return a healthy host with the fault in force. Raises UnavailableError where the fault can't be had."""
    broken = _BREAK[fault.kind](lab, host, fault.argument)
    return dataclasses.replace(broken, fault=str(fault))


def heal_host(lab: Lab, host: LabHost) -> LabHost:
    """Return the host without any fault, its server on its port. Raises UnavailableError when it won't start."""
    kind = (host.fault or "").partition(":")[0]
    works, root = lab.works(host.name), lab.root(host.name)
    if kind == "stop":
        _signal_all(lab, host, signal.SIGCONT)
    if host.relay is not None:
        processes.end([host.relay])
    if kind == "full-disk":
        _release_disk(lab, host)
    set_failing_step(works, None)
    health.stop(works)
    healed = dataclasses.replace(host, server_port=host.port, relay=None, fault=None)
    if (
        processes.is_alive(host.server)
        and host.server_port == host.port
        and not (kind == "full-disk" and os.geteuid() != 0)
    ):
        return healed
    if host.server is not None:
        processes.end([host.server])
    root.mkdir(exist_ok=True)
    return _start(lab, healed)


def _start(lab: Lab, host: LabHost, *, within: tuple[str, ...] = ()) -> LabHost:
    prepare_server(lab, host.name)
    started = dataclasses.replace(host, server=start_server(lab, host, within=within))
    require_ports(wait_listening(lab, [started]))
    return started


def _end_server(host: LabHost) -> LabHost:
    if host.server is not None:
        processes.end([host.server])
    return dataclasses.replace(host, server=None)


def _refuse(lab: Lab, host: LabHost, argument: str) -> LabHost:
    return _end_server(host)


def _silence(lab: Lab, host: LabHost, argument: str) -> LabHost:
    return _stand_before(lab, _end_server(host), ["silent"])


def _slow(lab: Lab, host: LabHost, argument: str) -> LabHost:
    inner = dataclasses.replace(_end_server(host), server_port=free_port({h.port for h in lab.hosts.values()}))
    inner = _start(lab, inner)
    return _stand_before(lab, inner, ["slow", argument, str(inner.server_port)])


def _stand_before(lab: Lab, host: LabHost, arguments: list[str]) -> LabHost:
    variables = {**os.environ, "SANE_LAB_ROOT": str(lab.root(host.name))}
    argv = [sys.executable, "-I", "-S", relay.__file__, "3", *arguments]
    with bind(host.port) as listener:
        process = spawn(argv, variables, lab.works(host.name) / "relay.log", give=listener)
    return dataclasses.replace(host, relay=process)


def _stop(lab: Lab, host: LabHost, argument: str) -> LabHost:
    _signal_all(lab, host, signal.SIGSTOP)
    return host


def _signal_all(lab: Lab, host: LabHost, number: signal.Signals) -> None:
    done: set[ProcessId] = set()
    while new := host_processes(lab, host, detached=True) - done:  # one not yet stopped may have had children meanwhile
        for process in new:
            processes.send(process, number)
        done |= new


def _kill(lab: Lab, host: LabHost, argument: str) -> LabHost:
    end_all(lambda: host_processes(lab, host, detached=False))
    return dataclasses.replace(host, server=None)


def end_all(find: Callable[[], set[ProcessId]]) -> None:
    """Kill what `find` finds until it finds nothing: a process may have children between look and kill."""
    found = find()
    for _ in range(20):
        if not found:
            return
        processes.end(found)
        found = find()
    raise UnavailableError(f"processes {', '.join(str(p.pid) for p in found)} do not end", hint="Try: sane lab down.")


def _fill_disk(lab: Lab, host: LabHost, argument: str) -> LabHost:
    root, full = lab.root(host.name), lab.works(host.name) / "disk"
    hint = "It needs the right to mount: root, or user namespaces (sysctl kernel.unprivileged_userns_clone=1)."
    try:
        if os.geteuid() == 0:
            disk.mount_full(root, full)
            return host
        full.mkdir(exist_ok=True)
        within = (sys.executable, "-I", "-S", disk.__file__, str(root), str(full))
        return _start(lab, _end_server(host), within=within)
    except (OSError, SaneError) as error:
        raise UnavailableError(f"{host.name} can't have a full disk here: {error}", hint=hint) from error


def _release_disk(lab: Lab, host: LabHost) -> None:
    root, full = lab.root(host.name), lab.works(host.name) / "disk"
    if full in disk.mounts_under(lab.directory):
        disk.unmount_full(root, full)
    elif host.server is not None and processes.is_alive(host.server):
        inside = Path(f"/proc/{host.server.pid}/root{full}")  # the namespace's view of the same path
        if inside.is_mount():
            disk.mirror(inside, root)


def _fail_step(lab: Lab, host: LabHost, argument: str) -> LabHost:
    set_failing_step(lab.works(host.name), argument)
    return host


def _lie(kind: str) -> Callable[[Lab, LabHost, str], LabHost]:
    def start(lab: Lab, host: LabHost, argument: str) -> LabHost:
        health.start(lab.root(host.name), lab.works(host.name), kind)
        return host

    return start


_BREAK: dict[str, Callable[[Lab, LabHost, str], LabHost]] = {
    "refuse": _refuse,
    "silent": _silence,
    "stop": _stop,
    "slow": _slow,
    "full-disk": _fill_disk,
    "fail-step": _fail_step,
    **{kind: _lie(kind) for kind in health.LIES},
    "kill": _kill,
}

"""Start the hosts of a lab, look at them, break them, and end them without a trace."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from sane.core.nearest import nearest_hint
from sane.errors import ConfigError, NotFoundError, SaneError, UnavailableError, UsageError
from sane.operations.lab import disk, processes
from sane.operations.lab.faults import break_host, end_all, heal_host, host_processes, parse_fault
from sane.operations.lab.servers import (
    choose_server,
    free_port,
    prepare_server,
    require_ports,
    start_server,
    wait_listening,
)
from sane.operations.lab.session import write_session_files
from sane.operations.lab.state import Lab, LabHost, load, locked, save, state_file

MAX_HOSTS = 1000
_HOST_KEY = "ssh_host_ed25519_key"


@dataclasses.dataclass(frozen=True, slots=True)
class HostView:
    """Show one host: `state` is up, silent, stopped or down; `pid` is its server's, None without one."""

    name: str
    address: str
    port: int
    pid: int | None
    state: str
    fault: str | None
    root: str


def start(directory: Path, count: int = 3, *, server: str = "auto") -> Lab:
    """Return a lab in which at least `count` hosts run: new ones, those that run already, and dead ones started again.

    `server` is sshd, asyncssh, or auto for sshd where there is one. A fault that is in force stays. Raises UsageError
    for a directory with other things in it, UnavailableError when a server does not start.
    """
    if not 1 <= count <= MAX_HOSTS:
        raise UsageError(f"a lab has 1 to {MAX_HOSTS} hosts, got {count}")
    directory = Path(os.path.abspath(directory))
    try:
        _check_directory(directory)
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory} can't be used: {error.strerror}", hint="Name another with --dir.") from error
    with locked(directory):
        lab = load(directory) or _new_lab(directory, server)
        known = set(lab.hosts)
        lab = _add_hosts(lab, count)
        save(lab)  # before anything starts: whatever happens from here on, `end` knows what to look for
        lab = _start_missing(lab, known)
        _write_access_files(lab)
        save(lab)
        return lab


def set_fault(directory: Path, host: str, fault: str) -> LabHost:
    """Break a host as FAULTS says, or heal it; a fault in force before ends.

    Raises NotFoundError for a host or lab, UsageError for a fault that is none, UnavailableError where it can't be had.
    """
    directory = Path(os.path.abspath(directory))
    parsed = parse_fault(fault)
    _require(directory)
    with locked(directory):
        lab = _require(directory)
        if host not in lab.hosts:
            raise NotFoundError(f"there is no host '{host}' in the lab", hint=nearest_hint(host, lab.hosts))
        healed = heal_host(lab, lab.hosts[host])
        lab = lab.replace_host(healed)
        save(lab)
        if parsed.kind == "heal":
            return healed
        lab = lab.replace_host(dataclasses.replace(healed, fault=str(parsed)))
        save(lab)  # first the intent: a fault that is cut short can still be healed
        try:
            lab = lab.replace_host(break_host(lab, healed, parsed))
        except SaneError:
            lab = lab.replace_host(heal_host(lab, healed))
            raise
        finally:
            save(lab)
        return lab.hosts[host]


def look(directory: Path) -> list[HostView]:
    """Return the hosts of a lab as they are now. Raises NotFoundError when there is no lab."""
    lab = _require(Path(os.path.abspath(directory)))
    return [_view(lab, host) for host in lab.hosts.values()]


def end(directory: Path) -> list[str]:
    """End a lab and return its hosts' names: every process, mount and file goes, even when part of it has gone before.

    Nothing happens where there is no lab, and files that a lab did not make stay. Raises UnavailableError when a
    process can't be ended.
    """
    directory = Path(os.path.abspath(directory))
    with locked(directory) if directory.is_dir() else contextlib.nullcontext():
        try:
            lab = load(directory)
        except ConfigError:
            lab = None
        end_all(lambda: _all_processes(directory, lab))
        for point in disk.mounts_under(directory):
            if point.parent == directory or directory / ".lab" in point.parents:
                disk.unmount(point)
        names = sorted({*_names_on_disk(directory), *(lab.hosts if lab else ())}, key=_number)
        _remove_files(directory, lab, names)
    return names


def _check_directory(directory: Path) -> None:
    if state_file(directory).exists() or not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", hint="Name a new directory with --dir.")
    if (directory / ".lab").exists():
        raise UsageError(f"{directory} has the rest of a lab in it", hint=f"Clear it: sane lab down --dir {directory}")
    if any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty and no lab", hint="Name a new or empty directory with --dir.")


def _require(directory: Path) -> Lab:
    lab = load(directory)
    if lab is None:
        raise NotFoundError(f"there is no lab in {directory}", hint="Start one with: sane lab up.")
    return lab


def _new_lab(directory: Path, server: str) -> Lab:
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    return Lab(directory, user, choose_server(server, os.environ), _socket_dir(directory), {})


def _socket_dir(directory: Path) -> Path:
    """Return where a lab's tmux sockets are: short, as a path has room for about 100 bytes."""
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path(f"/tmp/sane-lab-{os.geteuid()}-{digest}")


def _add_hosts(lab: Lab, count: int) -> Lab:
    with contextlib.suppress(FileExistsError):
        lab.socket_dir.mkdir(mode=0o700)
    if not _is_ours(lab.socket_dir):
        raise UnavailableError(f"{lab.socket_dir} belongs to somebody else", hint="Name another directory with --dir.")
    taken = {host.port for host in lab.hosts.values()}
    for number in range(len(lab.hosts) + 1, count + 1):
        port = free_port(taken)
        taken.add(port)
        lab = lab.replace_host(LabHost(f"server{number}", port, port))
    return lab


def _is_ours(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode)


def _start_missing(lab: Lab, known: set[str]) -> Lab:
    missing = [host for host in lab.hosts.values() if not _stands(lab, host)]
    for host in missing:
        if host.name in known:
            lab = lab.replace_host(_clear_remains(lab, host))
    _make_keys(lab, missing)
    pending = [lab.hosts[host.name] for host in missing]
    for host in pending:
        _prepare(lab, host)
    for _ in range(5):
        pending = [dataclasses.replace(host, server=start_server(lab, host)) for host in pending]
        for host in pending:
            lab = lab.replace_host(host)
        refused = wait_listening(lab, pending)
        require_ports([host for host in refused if host.name in known])
        taken = {host.port for host in lab.hosts.values()}
        ports = [free_port(taken) for _ in refused]
        pending = [dataclasses.replace(host, port=p, server_port=p) for host, p in zip(refused, ports, strict=True)]
        if not pending:
            return lab
    raise UnavailableError("the ports chosen were taken by others five times over", hint="Try again.")


def _stands(lab: Lab, host: LabHost) -> bool:
    """Return whether a host is as it should be: whole and running, or broken on purpose."""
    kind = (host.fault or "").partition(":")[0]
    whole = (lab.works(host.name) / _HOST_KEY).exists() and lab.root(host.name).exists()
    runs = processes.is_alive(host.server) or kind in ("refuse", "silent")
    relayed = processes.is_alive(host.relay) or kind not in ("silent", "slow")
    return whole and runs and relayed


def _clear_remains(lab: Lab, host: LabHost) -> LabHost:
    """Return a host that died, ready to start: whatever is left of its server, relay and full disk has gone."""
    end_all(lambda: host_processes(lab, host, detached=False))
    if host.relay is not None:
        processes.end([host.relay])
    lasting = (
        host.fault if (host.fault or "").partition(":")[0] in ("fail-step", "unhealthy", "stale", "torn") else None
    )
    for point in disk.mounts_under(lab.directory):
        if point == lab.root(host.name) or lab.works(host.name) in point.parents:
            disk.unmount(point)
    return dataclasses.replace(host, server=None, relay=None, server_port=host.port, fault=lasting)


def _make_keys(lab: Lab, hosts: Iterable[LabHost]) -> None:
    from sane.operations.lab.keys import make_key  # 40 ms, for `start` alone

    make_key(lab.user_key, "sane-lab")
    for host in hosts:
        lab.works(host.name).mkdir(parents=True, exist_ok=True)
        make_key(lab.works(host.name) / _HOST_KEY, host.name)


def _prepare(lab: Lab, host: LabHost) -> None:
    lab.root(host.name).mkdir(exist_ok=True)
    lab.sockets(host.name).mkdir(mode=0o700, exist_ok=True)
    write_session_files(lab, host.name)
    prepare_server(lab, host.name)


def _write_access_files(lab: Lab) -> None:
    from sane.operations.lab.keys import public_key

    known, lines = list[str](), ["hosts:"]
    for host in lab.hosts.values():
        known.append(f"[127.0.0.1]:{host.port} {public_key(lab.works(host.name) / _HOST_KEY)}\n")
        key, known_hosts, root = (json.dumps(str(p)) for p in (lab.user_key, lab.known_hosts, lab.root(host.name)))
        lines.append(
            f"  {host.name}: {{address: 127.0.0.1, port: {host.port}, user: {json.dumps(lab.user)}, key: {key},"
            f" known_hosts: {known_hosts}, vars: {{root: {root}}}}}"
        )
    lab.known_hosts.write_text("".join(known))
    lab.inventory.write_text("\n".join(lines) + "\n")


def _view(lab: Lab, host: LabHost) -> HostView:
    server = host.server if processes.is_alive(host.server) else None
    if server is not None:
        state = "stopped" if processes.is_stopped(server) else "up"
    else:
        state = "silent" if processes.is_alive(host.relay) else "down"
    pid = server.pid if server else None
    return HostView(host.name, "127.0.0.1", host.port, pid, state, host.fault, str(lab.root(host.name)))


def _all_processes(directory: Path, lab: Lab | None) -> set[processes.ProcessId]:
    found = processes.with_environment("SANE_LAB_ROOT", under=directory, exactly=False)
    found |= processes.with_argument(f"{directory}/.lab/", "sshd")
    hosts = lab.hosts.values() if lab else ()
    known = {p.pid for host in hosts for p in (host.server, host.relay) if p is not None and processes.is_alive(p)}
    ports = {port for host in hosts for port in (host.port, host.server_port)}
    found |= known | processes.with_port(ports, "sshd")
    return processes.identify_all(processes.descendants(found) - processes.own_lineage())


def _names_on_disk(directory: Path) -> list[str]:
    try:
        return os.listdir(directory / ".lab")
    except OSError:
        return []


def _number(name: str) -> tuple[int, str]:
    digits = name.removeprefix("server")
    return (int(digits) if digits.isdigit() else 0, name)


def _remove_files(directory: Path, lab: Lab | None, names: Iterable[str]) -> None:
    if _is_ours(_socket_dir(directory)):
        shutil.rmtree(_socket_dir(directory), ignore_errors=True)
    for name in names:
        shutil.rmtree(directory / name, ignore_errors=True)
    shutil.rmtree(directory / ".lab", ignore_errors=True)
    for file in ("lab.json", "lab.new", "inventory.yaml", "known_hosts", "id_ed25519", "id_ed25519.pub"):
        if lab is not None or names:
            (directory / file).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()  # stays where it holds something that is not the lab's

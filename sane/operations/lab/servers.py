"""The SSH server of each lab host: a real sshd, or asyncssh's where sshd can't be had."""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sane.errors import UnavailableError, UsageError
from sane.operations.lab import processes
from sane.operations.lab.keys import public_key
from sane.operations.lab.processes import ProcessId
from sane.operations.lab.session import BASH, environment
from sane.operations.lab.state import Lab, LabHost

START_TIMEOUT_S = 20.0
PORTS = range(20000, 32000)  # below what the kernel hands out to clients (32768 up), so no client takes one in passing
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


def find_sshd(environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of sshd (it starts itself again for each connection, so it must be absolute)."""
    return shutil.which("sshd", path=f"{environ.get('PATH', '')}:{_SBIN}")


def choose_server(wanted: str, environ: Mapping[str, str]) -> str:
    """Return sshd or asyncssh for `auto`, sshd or asyncssh. Raises UsageError where sshd is wanted and missing."""
    found = find_sshd(environ)
    if wanted == "sshd" and found is None:
        raise UsageError(
            "sshd is not installed on this machine",
            hint="Install it (apt-get install openssh-server), or use --server asyncssh.",
        )
    return wanted if wanted != "auto" else "sshd" if found else "asyncssh"


def free_port(taken: set[int]) -> int:
    """Return a loopback port that nothing listens on now and that is not in `taken`."""
    for _ in range(1000):
        port = random.choice(PORTS)
        if port not in taken and _can_bind(port):
            return port
    raise UnavailableError(
        f"no free port in {PORTS.start}-{PORTS.stop}", hint="End labs you no longer need: sane lab down."
    )


def bind(port: int) -> socket.socket:
    """Return a socket that listens on a loopback port. Raises UnavailableError when somebody else has the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise _port_taken(port) from error
    listener.listen(1024)
    return listener


def prepare_server(lab: Lab, name: str) -> None:
    """Write a host's server configuration."""
    works = lab.works(name)
    if lab.server == "sshd":
        (works / "sshd_config").write_text(_sshd_config(lab, name))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own, outside any lab, so it stays
        return
    configuration = {
        "host_key": str(works / "ssh_host_ed25519_key"),
        "user": lab.user,
        "user_key": public_key(lab.user_key),
        "shell": BASH,
        "home": str(lab.root(name)),
        "env": environment(lab, name),
    }
    (works / "server.json").write_text(json.dumps(configuration))


def start_server(lab: Lab, host: LabHost, *, within: Sequence[str] = ()) -> ProcessId:
    """Start a host's server on its `server_port`; `within` is a program and its arguments that run it in turn."""
    works = lab.works(host.name)
    (works / "server.pid").unlink(missing_ok=True)
    variables = {**os.environ, "SANE_LAB_ROOT": str(lab.root(host.name))}
    if lab.server == "sshd":
        argv = [
            *(find_sshd(os.environ) or "/usr/sbin/sshd", "-D", "-f", str(works / "sshd_config")),
            *("-E", str(works / "server.log"), "-p", str(host.server_port)),
        ]
    else:
        script = str(Path(__file__).with_name("asyncssh_server.py"))
        argv = [sys.executable, "-I", script, str(works), str(host.server_port)]
    return spawn([*within, *argv], variables, works / "server.log")


def spawn(
    argv: Sequence[str], variables: Mapping[str, str], log: Path, *, give: socket.socket | None = None
) -> ProcessId:
    """Start a background process in a session of its own; it gets the socket `give` as descriptor 3."""
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if give is not None:
        actions.append((os.POSIX_SPAWN_DUP2, give.fileno(), 3))
    pid = os.posix_spawn(argv[0], list(argv), dict(variables), file_actions=actions, setsid=True)  # pyright: ignore[reportArgumentType]
    return processes.identify(pid) or ProcessId(pid, "ended")


def wait_listening(lab: Lab, hosts: Sequence[LabHost]) -> list[LabHost]:
    """Wait until the servers of `hosts` listen. Return those that ended instead, because their port was taken.

    Raises UnavailableError when a server ended for another reason, or after START_TIMEOUT_S.
    """
    pending, refused = {host.name: host for host in hosts}, list[LabHost]()
    deadline = time.monotonic() + START_TIMEOUT_S
    while pending:
        for host in list(pending.values()):
            if _has_written_pid(lab.works(host.name)):
                del pending[host.name]
            elif not processes.is_alive(host.server):
                _raise_unless_port_taken(lab, host)
                refused.append(pending.pop(host.name))
        if pending and time.monotonic() > deadline:
            raise UnavailableError(f"no answer from the servers of {', '.join(pending)} in {START_TIMEOUT_S:.0f} s")
        if pending:
            time.sleep(0.003)  # sshd tells nobody that it listens: it writes its pid file right after
    return refused


def _has_written_pid(works: Path) -> bool:
    try:
        return (works / "server.pid").read_bytes().endswith(b"\n")
    except FileNotFoundError:
        return False


def _raise_unless_port_taken(lab: Lab, host: LabHost) -> None:
    log = (lab.works(host.name) / "server.log").read_text(errors="replace").strip().splitlines()[-5:]
    if "ddress already in use" not in "\n".join(log):
        raise UnavailableError(f"the server of {host.name} ended at once: {' | '.join(log) or 'it said nothing'}")


def _port_taken(port: int) -> UnavailableError:
    return UnavailableError(
        f"port {port} was taken by another program meanwhile", hint="Begin again: sane lab down, then sane lab up."
    )


def require_ports(refused: Sequence[LabHost]) -> None:
    """Raise UnavailableError when a host that had a port before can't have it any more."""
    if refused:
        raise _port_taken(refused[0].server_port)


def _can_bind(port: int) -> bool:
    try:
        bind(port).close()
    except UnavailableError:
        return False
    return True


def _sshd_config(lab: Lab, name: str) -> str:
    works = lab.works(name)
    variables = " ".join(f'"{key}={value}"' for key, value in environment(lab, name).items())
    lines = [
        "ListenAddress 127.0.0.1",
        f"HostKey {_path(works / 'ssh_host_ed25519_key')}",
        f"PidFile {_path(works / 'server.pid')}",
        f"AuthorizedKeysFile {_path(lab.user_key.with_suffix('.pub'))}",
        f"AllowUsers {lab.user}",
        "PermitRootLogin yes",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "StrictModes no",
        f"UsePAM {'yes' if _is_locked(lab.user) else 'no'}",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "AcceptEnv LANG LC_* COLORTERM",
        "MaxStartups 1000",
        "MaxSessions 1000",
        "MaxAuthTries 20",
        f"Subsystem sftp {_sftp_server()}",
        f"SetEnv {variables}",
    ]
    if _sshd_version() >= (9, 8):
        lines.append("PerSourcePenalties no")  # every host's clients share one address here
    if _login_shell() != "bash":
        lines.append(f"ForceCommand {_path(works / 'forced')}")
    return "\n".join(lines) + "\n"


def _path(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def _sftp_server() -> str:
    return next((path for path in _SFTP_SERVERS if Path(path).exists()), "internal-sftp")


def _login_shell() -> str:
    import pwd

    return Path(pwd.getpwuid(os.geteuid()).pw_shell).name


def _is_locked(user: str) -> bool:
    """Return whether sshd without PAM refuses the user for a locked password: only root can read it, and needs to."""
    try:
        shadow = Path("/etc/shadow").read_text()
    except OSError:
        return False
    return any(line.startswith(f"{user}:!") for line in shadow.splitlines())


@functools.cache  # one process start, 5 ms, for all hosts
def _sshd_version() -> tuple[int, int]:
    told = subprocess.run([find_sshd(os.environ) or "sshd", "-V"], capture_output=True, timeout=10, check=False)
    match = re.search(rb"OpenSSH_(\d+)\.(\d+)", told.stderr + told.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)

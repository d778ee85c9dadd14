"""sane-detect-ssh: whether a pane shows another host, and which."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

from sane.core.command import Command
from sane.core.ssh.foreground import LIST_PROCESSES, foreground_processes, parse_processes
from sane.core.ssh.line import parse_resolved, parse_ssh_line
from sane.errors import SaneError
from sane.primitives._contexts import find_subject, record, refuse_label
from sane.primitives._pane import elapsed_ms, open_tmux_pane, timestamp_now
from sane.transports.base import Machine
from sane.transports.context import Context
from sane.transports.tmux import text_of
from sane.verbs.registry import verb

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport

CLIENTS = frozenset({"ssh", "slogin"})
PROGRAMS = CLIENTS | {"autossh", "mosh-client"}
ASK_TIMEOUT_S = 5.0
RESOLVE_TIMEOUT_S = 2.0  # `ssh -G` takes 10 ms, or what a `Match exec` of its configuration takes

# For one process: whether it is ours, its folder, where its input and its output are, and its words; each ends in NUL.
# Where there is no /proc: its command line as ps has it.
DESCRIBE = """\
d=/proc/$1
[ -r $d/cmdline ]||exec ps -ww -o args= -p "$1"
o=;[ -O $d ]&&o=own
printf '%s\\0' "$o" "$(readlink $d/cwd)" "$(readlink $d/fd/0)" "$(readlink $d/fd/1)"
exec cat $d/cmdline
"""


class Client(NamedTuple):
    """Describe an ssh that runs: its words, and `folder`, where they are known to be its own and may be asked about."""

    words: list[str]
    folder: str


@dataclasses.dataclass(frozen=True)
class PaneHost:
    """Answer which host a pane's ssh goes to; `os` is what `uname -s` says there, where a prompt waits."""

    pane: str
    ssh_detected: bool
    hostname: str | None
    user: str | None
    os: str | None
    port: int | None
    label: str | None
    timestamp: str
    duration_ms: float
    context_updated: bool


@verb(access="write", example="sane-detect-ssh work:0.1 --update-context")
async def detect_ssh(
    ctx: Context,
    target: Annotated[str, "the pane"],
    *,
    update_context: Annotated[bool, "write what was found to the context database"] = False,
    label: Annotated[str | None, "a name to give the pane, as sane-label-pane does"] = None,
) -> PaneHost:
    """Tell which host the foreground ssh of a pane goes to: the name as typed, user and port as that ssh resolves them.

    A script that calls ssh counts too. Raises NotFoundError, UsageError.
    """
    started = time.monotonic()
    if label:
        refuse_label(label)
    pane = await open_tmux_pane(ctx, target)
    client = await _find_client(pane)
    detected = client is not None
    name, user, port = await _resolve(pane.server.machine, client) if client is not None else (None, None, None)
    system = await _ask_system(pane) if detected else None
    if update_context or label:
        fields: dict[str, object] = {"ssh_detected": detected, "hostname": name, "user": user, "port": port}
        fields |= ({"platform": system} if system else {}) | ({"label": label} if label else {})
        await record(ctx, await find_subject(ctx, target), fields)
    changed = bool(update_context or label)
    shown = label or pane.pane.label or None
    took_ms = elapsed_ms(started)
    return PaneHost(target, detected, name, user, system, port, shown, timestamp_now(), took_ms, changed)


async def _find_client(pane: PaneTransport) -> Client | None:
    """Return the ssh in the foreground of the pane's terminal, or behind the script that is; None where there is none.

    One that only carries bytes for another program (git, rsync, a jump) has no terminal.
    """
    machine = pane.server.machine
    listed = await machine.execute(["sh", "-c", LIST_PROCESSES], timeout_s=ASK_TIMEOUT_S)
    processes = foreground_processes(parse_processes(text_of(listed.stdout)), (await pane.look()).pid)
    named = [process for process in processes if process.name in PROGRAMS]
    for process in sorted(named, key=lambda process: process.name not in CLIENTS):
        argv = ["sh", "-c", DESCRIBE, "sh", str(process.pid)]
        client = _client_of(text_of((await machine.execute(argv, timeout_s=ASK_TIMEOUT_S)).stdout))
        if client is not None and client.words and client.words[0].rpartition("/")[2] in PROGRAMS:
            return client
    return None


def _client_of(told: str) -> Client | None:
    if "\0" not in told:
        try:
            return Client(shlex.split(told), "")
        except ValueError:
            return Client(told.split(), "")
    own, folder, *streams = (fields := told.split("\0"))[:4]
    if all(streams) and not any(stream.startswith(("/dev/pts/", "/dev/tty", "/dev/console")) for stream in streams):
        return None
    return Client(fields[4:-1], folder if own else "")


async def _resolve(machine: Machine, client: Client) -> tuple[str | None, str | None, int | None]:
    """Return the host as it was typed, and the user and port that its ssh itself finds, else those typed."""
    typed = parse_ssh_line(client.words)
    if typed is None:
        return None, None, None
    user, port = typed.user, typed.port
    if client.folder and client.words[0].rpartition("/")[2] in CLIENTS:
        argv = ["sh", "-c", 'cd "$1"&&shift&&exec ssh -G "$@"', "sh", client.folder, *client.words[1:]]
        with contextlib.suppress(TimeoutError):
            done = await machine.execute(argv, timeout_s=RESOLVE_TIMEOUT_S)
            if done.exit_code == 0:
                user, port = parse_resolved(text_of(done.stdout))
    return typed.hostname, user, port


async def _ask_system(pane: PaneTransport) -> str | None:
    try:
        await pane.wait_idle(0.2)
        result = await pane.run(Command("uname -s", timeout_s=ASK_TIMEOUT_S))
    except SaneError:
        return None
    return result.text.strip() if result.exit_code == 0 else None

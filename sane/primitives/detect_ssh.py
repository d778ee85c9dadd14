"""sane-detect-ssh: whether a pane shows another host, and which."""

from __future__ import annotations

import dataclasses
import shlex
import time
from typing import TYPE_CHECKING, Annotated

from sane.core.command import Command
from sane.core.ssh.line import SshDestination, parse_ssh_line
from sane.errors import SaneError
from sane.primitives._contexts import find_subject, record, refuse_label
from sane.primitives._pane import elapsed_ms, open_tmux_pane, timestamp_now
from sane.transports.context import Context
from sane.transports.tmux import text_of
from sane.verbs.registry import verb

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport

PROGRAMS = frozenset({"ssh", "mosh-client", "autossh", "slogin"})
ASK_TIMEOUT_S = 5.0


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
    """Tell which host the foreground ssh of a pane goes to, from its command line.

    Raises NotFoundError, UsageError.
    """
    started = time.monotonic()
    if label:
        refuse_label(label)
    pane = await open_tmux_pane(ctx, target)
    found = await _find_ssh(pane)
    system = await _ask_system(pane) if found is not None else None
    port = (found.port or 22) if found is not None else None
    name, user = (found.hostname, found.user) if found is not None else (None, None)
    if update_context or label:
        facts = {"ssh_detected": found is not None, "hostname": name, "user": user, "port": port, "label": label}
        facts |= {"platform": system}
        fields = {key: value for key, value in facts.items() if value is not None}
        await record(ctx, await find_subject(ctx, target), fields)
    changed = bool(update_context or label)
    shown = label or pane.pane.label or None
    took_ms = elapsed_ms(started)
    return PaneHost(target, found is not None, name, user, system, port, shown, timestamp_now(), took_ms, changed)


async def _find_ssh(pane: PaneTransport) -> SshDestination | None:
    """Return where the ssh in the foreground of the pane's terminal goes, from the process list of its machine."""
    screen = await pane.look()
    if screen.program not in PROGRAMS and screen.program not in ("sshpass", "expect", "script"):
        return None
    tty = screen.tty.removeprefix("/dev/")
    done = await pane.server.machine.execute(
        ["ps", "-ww", "-t", tty, "-o", "pgid=,tpgid=,args="], timeout_s=ASK_TIMEOUT_S
    )
    for line in text_of(done.stdout).splitlines():
        pgid, tpgid, args = (*line.split(None, 2), "", "", "")[:3]
        try:
            words = shlex.split(args)
        except ValueError:
            words = args.split()
        if pgid == tpgid and words and words[0].rpartition("/")[2] in PROGRAMS:
            destination = parse_ssh_line(words)
            if destination is not None:
                return destination
    return SshDestination("", None, None)


async def _ask_system(pane: PaneTransport) -> str | None:
    try:
        await pane.wait_idle(0.2)
        result = await pane.run(Command("uname -s", timeout_s=ASK_TIMEOUT_S))
    except SaneError:
        return None
    return result.text.strip() if result.exit_code == 0 else None

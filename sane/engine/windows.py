"""Windows that people can watch: one tmux session a deployment key, one window a host.

The window holds a login shell of the host: by ssh from this machine's tmux, or a window of the tmux on the host itself.
Steps are typed there, so whoever attaches sees each command and its output, and can take over when one fails.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from sane.core.names import distinct_name
from sane.core.ssh.settings import HostSettings
from sane.errors import TransportError
from sane.transports.base import Machine
from sane.transports.tmux import TmuxServer, text_of

WIDTH, HEIGHT = 200, 50  # of a window nobody has looked at yet
_OWNER = "@sane-host"


def session_name(key: str) -> str:
    """Return the name of a deployment key's own tmux session: tmux allows neither `.` nor `:` in it."""
    return "sane-" + distinct_name(key, r"[^A-Za-z0-9_-]", "_")


def ssh_argv(settings: HostSettings) -> list[str]:
    """Return the ssh command that opens a login shell with exactly these settings, whatever ~/.ssh/config says."""
    jump = settings.jump
    options = {
        "HostName": _literal(settings.address),
        "Port": str(settings.port),
        "User": settings.user,
        "UserKnownHostsFile": " ".join(_literal(_quoted(path)) for path in settings.known_hosts) or "none",
        "GlobalKnownHostsFile": " ".join(_quoted(path) for path in settings.global_known_hosts) or "none",
        "StrictHostKeyChecking": settings.strict,
        "ConnectTimeout": str(max(1, round(settings.connect_timeout_s))),
        "ServerAliveInterval": str(max(1, round(settings.keepalive_s))),
        "ServerAliveCountMax": str(settings.keepalive_count),
        "IdentityAgent": _literal(_quoted(settings.agent or "none")),
        "IdentitiesOnly": "yes" if settings.identities_only else "no",
        "BatchMode": "yes",  # a question nobody answers would hold the host up until its deadline
        "HostKeyAlias": settings.host_key_alias,
        "ProxyCommand": _literal(settings.proxy_command or "" if jump is None else _way_through(jump, settings))
        or None,
    }
    words = ["ssh", "-F", "none", "-tt"]
    for name, value in options.items():
        if value is not None:
            words += ["-o", f"{name}={value}"]
    for key in settings.keys if settings.keys_given else ():
        words += ["-o", f"IdentityFile={_literal(_quoted(key))}"]  # -i looks for the file before it expands the name
    return [*words, "--", settings.name if "@" not in settings.name else settings.address]


def _way_through(jump: HostSettings, settings: HostSettings) -> str:
    """Return the command that carries the bytes: our own -F none argv again, so that an inventory name can be a jump.

    Address and port are written in: each ssh expands the %h of all that it is given, also of the ssh inside that one.
    """
    inner = [word for word in ssh_argv(jump) if word != "-tt"]
    return shlex.join([*inner[:1], "-W", f"[{settings.address}]:{settings.port}", *inner[1:]])


def _literal(text: str) -> str:
    """Return the text as ssh has to read it in the options whose %h and the like it expands; ours are expanded."""
    return text.replace("%", "%%")


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


async def open_window(machine: Machine, session: str, host: str, argv: Sequence[str], *, anew: bool = False) -> str:
    """Return the pane id of a host's window, opened with `argv` (empty: a login shell) unless it is there already.

    With `anew` it is another one in any case. Raises TransportError with what tmux said when it can't be opened.
    """
    server = TmuxServer(machine)
    for pane, owner, _ in [] if anew else await _panes(server, session):
        if owner == host:
            return await _revive(server, pane, argv)
    words = ["-P", "-F", "#{pane_id}", "-n", host, *argv]
    async with server.attach_lock(alone=True):  # tmux tells its clients of a new session
        made = await server.run("new-session", "-d", "-s", session, "-x", str(WIDTH), "-y", str(HEIGHT), *words)
    if made.exit_code != 0:
        # It is there already, or another host's task made it a moment ago.
        made = await server.run("new-window", "-d", "-t", f"={session}:", *words)
    if made.exit_code != 0:
        raise TransportError(f"tmux can't open a window for {host}: {text_of(made.stderr).strip()}", host=host)
    pane = text_of(made.stdout).strip()
    await server.ask("set-option", "-p", "-t", pane, _OWNER, host)
    await server.ask("set-option", "-w", "-t", pane, "remain-on-exit", "on")  # so that why ssh failed can be read
    await server.run("set-option", "-w", "-t", pane, "automatic-rename", "off")
    return pane


async def _revive(server: TmuxServer, pane: str, argv: Sequence[str]) -> str:
    dead = (await server.ask("display-message", "-p", "-t", pane, "#{pane_dead}")).strip()
    if dead == "1":
        await server.ask("respawn-pane", "-k", "-t", pane, *argv)
    return pane


async def close_windows(machine: Machine, session: str, host: str) -> None:
    """Close the windows of a host; nothing happens where there is none. The last one takes its session with it."""
    server = TmuxServer(machine)
    for pane, owner, window in await _panes(server, session):
        if host in (owner, window):  # a controller that was killed as it opened it had not yet said whose it is
            async with server.attach_lock(alone=False):  # the session may go with it, of which tmux tells its clients
                await server.run("kill-pane", "-t", pane)


async def _panes(server: TmuxServer, session: str) -> list[tuple[str, str, str]]:
    """Return pane, owner and window name of each pane of a session; none where there is no such session."""
    form = "#{pane_id} #{" + _OWNER + "} #{window_name}"
    # Without the colon it is a window's target, and the start of another session's name would do.
    listed = (await server.run("list-panes", "-s", "-t", f"={session}:", "-F", form)).stdout
    found: list[tuple[str, str, str]] = []
    for line in listed.splitlines():
        pane, owner, window = (*text_of(line).split(" ", 2), "", "")[:3]
        found.append((pane, owner, window))
    return found

"""The pane that the server runs in: an agent that ends it ends itself.

Nothing is typed there, and a command that plainly kills it is refused. That guards against mistakes: what a command
does in the end only its shell knows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sane.core.target import parse_target
from sane.engine.call import own_pane_error
from sane.engine.context import AsyncContext
from sane.errors import AccessError, TransportError
from sane.surfaces.mcp.tmux_endings import Ending, endings_in, typed_text
from sane.transports.tmux import TMUX_TIMEOUT_S, TmuxServer, text_of

_PLACE = "#{session_id} #{window_id} #{pane_id}"
_UNKNOWN = re.compile(r"[$](?!\d+$)|`|^[-+!{]")  # a variable, or a place relative to where tmux is then
_SELF = ("$TMUX_PANE", "${TMUX_PANE}")


def names_local_pane(arguments: Mapping[str, Any]) -> bool:
    """Return whether a call is about a pane of this machine. Raises UsageError for a target that is none."""
    targets = [parse_target(arguments[name]) for name in ("target", "session") if arguments.get(name)]
    return any(target.host is None and target.pane is not None for target in targets)


class OwnPane:
    """Know the pane that this process runs in, also where whoever started it passed no TMUX_PANE on, as the SDK does.

    Then it is the pane whose process this one descends from.
    """

    def __init__(self, context: AsyncContext) -> None:
        self._context = context
        self._pane_id = os.environ.get("TMUX_PANE") or None
        self._asked = self._pane_id is not None
        self._ancestors = ancestors()  # now: when the client goes away first, the line of parents breaks

    async def find(self) -> str | None:
        """Return its id; None where it is in no pane of the tmux server that can be reached."""
        if not self._asked:
            server = TmuxServer(await self._context.machine(None))
            try:
                listed = await server.run("list-panes", "-a", "-F", "#{pane_pid} #{pane_id}")
            except TransportError:
                return None  # no tmux here, or it is stuck: asked again at the next call
            panes = dict(line.split() for line in text_of(listed.stdout).splitlines())
            self._pane_id = next((panes[str(pid)] for pid in self._ancestors if str(pid) in panes), None)
            self._asked = True
        return self._pane_id

    async def refuse(self, arguments: Mapping[str, Any]) -> None:
        """Refuse the arguments of a call that would type into the own pane, or end it.

        Raises AccessError; NotFoundError and UsageError for a pane that is none.
        """
        keys: Sequence[str] = arguments.get("keys", ())
        script = f"{arguments.get('command', '')}\n{typed_text(keys)}"
        for name in ("target", "session"):
            target = parse_target(arguments[name]) if arguments.get(name) else None
            if target is None or target.host is not None or (target.pane is None and not _may_call_tmux(script)):
                continue
            own_pane = await self.find()
            if own_pane is None:
                continue
            pane = await self._context.panes.find(target) if target.pane is not None else None
            if pane is not None and pane.pane_id == own_pane:
                raise own_pane_error(target)
            if pane is None or pane.program != "ssh":  # there the tmux is another host's
                await self._refuse_endings(script, own_pane, pane.pane_id if pane else None)

    async def _refuse_endings(self, script: str, own_pane: str, runs_in: str | None) -> None:
        if not _may_call_tmux(script):
            return
        own = (await self._where(own_pane, "#{socket_path} " + _PLACE)) or ["", "", "", ""]
        for ending in endings_in(script, own[0]):
            if ending.scope == "server" or await self._reaches(ending, own[1:], runs_in):
                does = "type into" if ending.verb.startswith(("send", "paste", "pipe")) else "end"
                raise AccessError(
                    f"tmux {ending.verb} would {does} the pane that this program runs in, or may",
                    hint="Name another pane, window or session with -t, by its id; list_targets marks the own pane.",
                )

    async def _reaches(self, ending: Ending, own: Sequence[str], runs_in: str | None) -> bool:
        named = ending.target
        if named in _SELF:
            named = None
        if named is None and runs_in is None:
            return True  # tmux takes the pane that TMUX_PANE names, else the one used last: it may be this one
        if named is not None and _UNKNOWN.search(named):
            return True  # only the shell, or tmux at that moment, knows
        # With none, a command means the pane it runs in, or the active one of that window (tmux 3.3a).
        for meant in (named,) if named is not None else (None, runs_in):
            place = await self._where(_whole_target(meant, ending.scope), _PLACE, runs_in)
            # Where there is no such pane, the command will fail by itself.
            if place is not None and (len(place) != len(own) or _is_within(ending, place, own)):
                return True
        return False

    async def _where(self, named: str | None, form: str, runs_in: str | None = None) -> list[str] | None:
        """Return what tmux says of a target, as a command in the pane `runs_in` would mean it; None where it is none.

        It is empty where that can't be told.
        """
        machine = await self._context.machine(None)
        words = TmuxServer(machine).argv("display-message", "-p", *(() if named is None else ("-t", named)), form)
        argv = words if runs_in is None else ["env", f"TMUX_PANE={runs_in}", *words]
        try:
            told = await machine.execute(argv, timeout_s=TMUX_TIMEOUT_S)
        except TimeoutError:
            return []
        return text_of(told.stdout).split() if told.exit_code == 0 else None


def _may_call_tmux(script: str) -> bool:
    """Return whether the name stands there, as the shell joins it: `t\\mux`, `t'mu'x`."""
    return "tmux" in re.sub(r"""[\\'"\n]""", "", script)


def _is_within(ending: Ending, place: Sequence[str], own: Sequence[str]) -> bool:
    depth = "swp".index(ending.scope)
    if ending.others:
        return place[:depth] == own[:depth] and place[depth] != own[depth]
    return place[depth] == own[depth]


def _whole_target(named: str | None, scope: str) -> str | None:
    """Return a target of a session or window so that display-message, which takes a pane, reads it as such."""
    if named is None or named[:1] in ("%", "@", "$") or ":" in named:
        return named
    if scope == "s":
        return f"{named}:"
    return f"{named}." if scope == "w" and "." not in named else named


def ancestors() -> list[int]:
    """Return the ids of this process and of those it descends from, the nearest first."""
    parents = {} if Path("/proc/self/stat").exists() else _parents()
    found, pid = list[int](), os.getpid()
    while pid > 0 and pid not in found:
        found.append(pid)
        try:
            pid = parents.get(pid, 0) if parents else int(_stat(pid).rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def _stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(errors="replace")


def _parents() -> dict[int, int]:
    import subprocess

    try:
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {int(pid): int(parent) for pid, parent in (line.split() for line in listed.stdout.splitlines())}

"""The pane that the server runs in: an agent that ends it ends itself.

Nothing is typed there, and a command that plainly kills it is refused. That guards against mistakes: what a command
does in the end only its shell knows.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sane.core.target import Target, parse_target
from sane.engine.call import own_pane_error
from sane.engine.context import AsyncContext
from sane.errors import AccessError, TransportError
from sane.transports.tmux import TmuxServer, text_of

# Of one simple command: the options of tmux itself, the verb, its arguments.
_ENDS = re.compile(
    r"\btmux\b(?P<options>[^\n;&|]*?)\s(?P<verb>kill-(?:server|session|window|pane)|kill[pw]|respawn-(?:pane|window)"
    r"|respawn[pw])\b(?P<arguments>[^\n;&|)`]*)"
)
_ID_OF = {"s": "#{session_id}", "w": "#{window_id}", "p": "#{pane_id}"}  # what a verb ends: session, window or pane
_SELF = ("$TMUX_PANE", "${TMUX_PANE}")


class Ending(NamedTuple):
    """Tell what a tmux command ends: `scope` server, s, w or p; `others`: all but the target."""

    verb: str
    scope: str
    target: str | None
    others: bool


def endings_in(script: str) -> Iterator[Ending]:
    """Yield the commands of a script by which the own tmux server ends a pane or more."""
    for found in _ENDS.finditer(script):
        if re.search(r"\s-[LS]", found["options"]):
            continue  # of another server
        verb = found["verb"]
        scope = "server" if verb == "kill-server" else verb.rpartition("-")[2][0] if "-" in verb else verb[-1]
        try:
            words = shlex.split(found["arguments"])
        except ValueError:
            words = found["arguments"].split()
        targets = [word[2:] or after for word, after in zip(words, [*words[1:], ""], strict=False) if word[:2] == "-t"]
        yield Ending(verb, scope, targets[0] if targets else None, "-a" in words)


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
        own_pane = await self.find()
        if own_pane is not None:
            await refuse_own_pane(self._context, own_pane, arguments)


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


async def refuse_own_pane(context: AsyncContext, own_pane: str, arguments: Mapping[str, Any]) -> None:
    """Refuse the arguments of a call that would type into the own pane, or end it.

    Raises AccessError; NotFoundError and UsageError for a pane that is none.
    """
    for name in ("target", "session"):
        target = parse_target(arguments[name]) if arguments.get(name) else None
        if target is None or target.host is not None:
            continue
        pane = await context.panes.find(target) if target.pane is not None else None
        if pane is not None and pane.pane_id == own_pane:
            raise own_pane_error(target)
        if pane is not None and pane.program == "ssh":
            continue  # its tmux is another host's
        await _refuse_endings(context, own_pane, target, arguments)


async def _refuse_endings(context: AsyncContext, own_pane: str, target: Target, arguments: Mapping[str, Any]) -> None:
    script = " ".join([str(arguments.get("command", "")), *map(str, arguments.get("keys", ()))])
    for ending in endings_in(script):
        if ending.scope == "server" or await _reaches(context, own_pane, target, ending):
            raise AccessError(
                f"tmux {ending.verb} would end the pane that this program runs in",
                hint="Name another pane, window or session with -t, by its id; list_targets marks the own pane.",
            )


async def _reaches(context: AsyncContext, own_pane: str, target: Target, ending: Ending) -> bool:
    named = ending.target
    if named is None or named in _SELF:  # tmux takes the pane that the command runs in
        named = own_pane if target.pane is None else (await context.panes.find(target)).pane_id
    server = TmuxServer(await context.machine(None))
    ids: list[str] = []
    for place in (named, own_pane):
        told = await server.run("display-message", "-p", "-t", place, _ID_OF[ending.scope])
        if told.exit_code != 0:
            return False  # there is no such pane: the command will fail by itself
        ids.append(text_of(told.stdout).strip())
    return (ids[0] == ids[1]) != ending.others

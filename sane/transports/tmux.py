"""One tmux server, here or on a remote machine: its panes, and which of them a person means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sane.errors import NotFoundError, TransportError, UnreachableError, UsageError
from sane.transports.attach_lock import AttachLock
from sane.transports.base import Completed, Machine

NO_SERVER = "no server running on "
SERVER_GONE = "server exited"  # what tmux says where its server ends while it is asked
NO_SESSION = "no current target"  # of a server that outlives them (`exit-empty off`)
INSTALL_HINT = "Install it there, or use ssh:HOST without a pane."
TMUX_TIMEOUT_S = 10.0  # a server that does not answer a plain question within this time is wedged

# Tabs: tmux shows a control character in a session's or window's name as an escape, so no name holds one. A program's
# name, a label and a path hold any, also a line that looks like another pane's, but not a word that nobody can know. (A
# length before each would be asked of the system apart, and may be that of another program by then.)
FIELDS = [
    "#{session_id}",
    "#{window_id}",
    "#{pane_id}",
    "#{window_index}",
    "#{pane_index}",
    "#{window_active}#{pane_active}",
    "#{pane_dead}",
    "#{pid}",
    "#{session_name}",
    "#{window_name}",
]
TEXTS = ["pane_current_command", "@sane-label", "pane_current_path"]
BREAK = f"\t{os.urandom(8).hex()}"
LIST_FORMAT = f"{BREAK}\t".join(["\t".join(FIELDS), *(f"#{{{text}}}" for text in TEXTS)]) + BREAK
LIST_PANES = ("list-panes", "-a", "-F", LIST_FORMAT)


class PaneInfo(NamedTuple):
    """Describe one pane as tmux lists it; `active` has one digit each for its window and for itself, 1 where active."""

    session_id: str
    window_id: str
    pane_id: str
    window_index: str
    pane_index: str
    active: str
    dead: bool
    server_pid: str
    session: str
    window: str
    program: str
    label: str
    path: str


class TmuxServer:
    """Ask one tmux server; `options` are its `-L NAME` or `-S PATH` (none: as $TMUX and TMUX_TMPDIR say)."""

    def __init__(self, machine: Machine, options: Sequence[str] = ()) -> None:
        self.machine = machine
        self.options = tuple(options)

    def argv(self, *words: str) -> list[str]:
        """Return the command line of one tmux command; -u keeps UTF-8 in its answers whatever the locale.

        Each word reaches the command as it is: none can end it and begin another.
        """
        return ["tmux", "-u", *self.options, *map(whole_word, words)]

    async def run(self, *words: str, stdin: bytes = b"") -> Completed:
        """Run one tmux command. Raises UnreachableError when the server does not answer within 10 s."""
        try:
            return await self.machine.execute(self.argv(*words), stdin=stdin, timeout_s=TMUX_TIMEOUT_S)
        except TimeoutError:
            raise UnreachableError(
                f"the tmux server of {self.machine.name} does not answer",
                phase="command",
                host=self.machine.name,
                hint="It may be stopped: look for its process with `ps -ef | grep tmux`.",
            ) from None

    def attach_lock(self, *, alone: bool) -> AttachLock:
        """Return the lock to hold while a client comes or a session is made (`alone`), and while one goes."""
        folder = ""
        if self.machine.name == "local":
            environ = getattr(self.machine, "environ", os.environ)
            folder = os.path.dirname(tmux_socket(environ, os.getuid(), self.options))
        return AttachLock(self.machine, folder, alone=alone)

    async def ask(self, *words: str) -> str:
        """Return the output of one tmux command. Raises TransportError with what tmux said when it failed."""
        done = await self.run(*words)
        if done.exit_code != 0:
            raise TransportError(f"tmux {words[0]}: {text_of(done.stderr).strip()}", phase="command")
        return text_of(done.stdout)

    async def list_panes(self) -> list[PaneInfo]:
        """Return every pane of the server, in tmux's order; an empty list when there is no server, or no session.

        Raises TransportError with what tmux said when it failed otherwise.
        """
        done = await self.run(*LIST_PANES)
        if SERVER_GONE in text_of(done.stderr):  # while it was asked; another one may run by now
            done = await self.run(*LIST_PANES)
        if done.exit_code == 0:
            return parse_panes(text_of(done.stdout))
        said = text_of(done.stderr).strip()
        if said.startswith(NO_SERVER) or said.endswith("(No such file or directory)") or said == NO_SESSION:
            return []
        if done.exit_code == 127:  # the word of a shell on a host
            raise TransportError(f"tmux is not installed on {self.machine.name}", phase="command", hint=INSTALL_HINT)
        raise TransportError(f"tmux list-panes: {said or f'exit status {done.exit_code}'}", phase="command")

    async def find_pane(self, spec: str) -> PaneInfo:
        """Return the pane that SESSION[:WINDOW[.PANE]] or %ID names.

        Raises NotFoundError or UsageError with the sentences that scripts match.
        """
        return choose_pane(await self.list_panes(), spec)


def whole_word(word: str) -> str:
    r"""Return a word of a command line so that tmux takes all of it: it reads `;` at the end as the end of the command.

    `\;` there stands for `;`, whatever is before it.
    """
    return f"{word[:-1]}\\;" if word.endswith(";") else word


def tmux_socket(environ: Mapping[str, str], uid: int, options: Sequence[str] = ()) -> str:
    """Return the socket of the tmux server that `tmux` with these options means."""
    named = dict(zip(options[::2], options[1::2], strict=False))
    if "-S" in named:
        return named["-S"]
    if environ.get("TMUX") and "-L" not in named:
        return environ["TMUX"].split(",")[0]
    return f"{environ.get('TMUX_TMPDIR') or '/tmp'}/tmux-{uid}/{named.get('-L', 'default')}"


def text_of(data: bytes) -> str:
    """Return bytes from tmux as text, no byte lost."""
    return data.decode("utf-8", "surrogateescape")


def parse_panes(text: str) -> list[PaneInfo]:
    """Return the panes in the output of list-panes with LIST_FORMAT."""
    parts = text.split(BREAK)
    panes: list[PaneInfo] = []
    for at in range(0, len(parts) - len(TEXTS), len(TEXTS) + 1):
        told = parts[at].removeprefix("\n").split("\t")
        told += [part.removeprefix("\t") for part in parts[at + 1 : at + 1 + len(TEXTS)]]
        panes.append(PaneInfo._make([*told[:6], told[6] == "1", *told[7:]]))
    return panes


def choose_pane(panes: Sequence[PaneInfo], spec: str) -> PaneInfo:
    """Return the pane a specification names, by exact names only: tmux's own prefix matching could take another one.

    Raises NotFoundError (no such session or pane), UsageError (not WINDOW or WINDOW.PANE).
    """
    if spec.startswith(("%", "@", "$")) and spec[1:].isdigit():
        field = {"%": "pane_id", "@": "window_id", "$": "session_id"}[spec[0]]
        found = [pane for pane in panes if getattr(pane, field) == spec]
        return _active(found, spec, panes)
    session, _, place = spec.partition(":")
    session = session.removeprefix("=")
    in_session = [pane for pane in panes if session in (pane.session, pane.session_id)]
    if not in_session:
        names = sorted({pane.session for pane in panes})
        raise NotFoundError(
            f"Session '{session}' does not exist",
            hint=f"Sessions: {', '.join(names[:20])}." if names else "No tmux server runs, or it has no session.",
        )
    if not place:  # `SESSION:` is how tmux users say that they mean no window of that name
        return _active(in_session, spec, panes)
    if place.startswith("%"):
        return _active([pane for pane in in_session if pane.pane_id == place], spec, panes)
    by_window = [pane for pane in in_session if place in (pane.window_index, pane.window_id, pane.window)]
    if by_window:
        return _active(by_window, spec, panes)
    window, dot, index = place.rpartition(".")
    if window not in [pane.window for pane in in_session]:  # else it is a name that holds a dot, and a pane
        window, dot, index = place.partition(".")
    if not window or (dot and not index.isdigit() and not index.startswith("%")) or window.startswith("-"):
        raise UsageError(f"Invalid pane specification '{place}'. Use format WINDOW or WINDOW.PANE")
    in_window = [pane for pane in in_session if window in (pane.window_index, pane.window_id, pane.window)]
    return _active([pane for pane in in_window if not dot or index in (pane.pane_index, pane.pane_id)], spec, panes)


def _active(found: Sequence[PaneInfo], spec: str, panes: Sequence[PaneInfo]) -> PaneInfo:
    if not found:
        known = ", ".join(f"{pane.session}:{pane.window_index}.{pane.pane_index}" for pane in panes[:20])
        raise NotFoundError(f"Pane '{spec}' does not exist", hint=f"Panes: {known}." if known else "")
    for wanted in ("11", "01"):
        for pane in found:
            if pane.active == wanted:
                return pane
    return found[0]

"""Ask a line editor of this machine whether its line is empty, where the prompt in front of it is none that is known.

Keys are sent that change nothing, all at once, so that nobody's come between them: to the line's ends, a blank, and the
blank away again. An empty line shows the blank first; on any other one the cursor moves before.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

from sane.core.pane.control_stream import decode_octal
from sane.core.pane.framing import Place
from sane.core.pane.prompt_line import asks_person, cells_of, classify_line, stands_behind_prompt
from sane.transports.control_mode import ControlClient
from sane.transports.pane_state import Screen, is_at_work, keys_wait, line_editor_waits, look

ANSWER_WAIT_S = 2.0  # a busy machine; it comes within 5 ms otherwise
FIRST_PAUSE_S = 0.5
# Of an editor that is not asked: it takes the terminal just before it draws its prompt, so none at all must last.
EMPTY_PROMPT_S = 0.2
COVERED_S = 0.3  # a shell that has just ended a command shows its prompt before
LEFT = "\x1b[D"
LEFT_RIGHT, HOME_END = LEFT + "\x1b[C", "\x1b[H\x1b[F"
# Bound in the emacs and the vi mode of each. At an end of the line readline rings for Left and Right, and not for Home
# and End, which zsh has not bound.
MOVES = {"bash": HOME_END, "rbash": HOME_END, "zsh": LEFT_RIGHT, "fish": LEFT_RIGHT, "busybox": LEFT_RIGHT}
BLANK_AND_BACK = " \x7f"
SILENT = re.compile(rb"\x07|\x1b\[[0-9;]*m|\x1b\[\?25[hl]")
# A carriage return is in many prompts too, so it counts at the end alone.
BLANK_GONE = re.compile(rb" (?:\x08|\x1b\[\d*D|\r\x1b\[\d*C\x08|\r(?:\x1b\[\d*[JK])*\Z)")
CUT = re.compile(rb"\x1b(\[[0-9;?]*)?\Z")


class EmptyLine:
    """Prove that a line is empty; each line that is seen is tried when it has stayed for a while, and later again."""

    def __init__(self, client: ControlClient, pane_id: str) -> None:
        self._client = client
        self._pane_id = pane_id
        self._seen: tuple[object, ...] = ()
        self._since = 0.0
        self._next_try: dict[tuple[object, ...], float] = {}
        self._pause_s = FIRST_PAUSE_S
        self._proven: tuple[object, ...] = ()
        self._entered = False

    async def is_proven(self, screen: Screen, *, covered: bool = False) -> bool:
        """Return whether the line that the screen shows was proven to be empty; keys may be sent to find out.

        A prompt that is `covered` is brought back first.
        """
        line = (screen.row, screen.place, screen.before, screen.behind)
        if line == self._proven:
            return True
        if line != self._seen:
            self._seen, self._since = line, time.monotonic()
            return False
        if covered:
            await self._uncover(screen)
            return False
        if not screen.before and _tells_nothing(screen):
            return line_editor_waits(screen) and time.monotonic() - self._since > EMPTY_PROMPT_S
        if time.monotonic() < self._next_try.get(line, 0.0) or not editor_reads(screen):
            return False
        if not await self._shows_blank_first(screen):
            # A shell on a busy machine may not have read yet.
            self._next_try[line], self._pause_s = time.monotonic() + self._pause_s, self._pause_s * 2
            await self._put_back(screen)
            return False
        ordinary = classify_line(screen.before, screen.behind) == "prompt"
        if self._entered or ordinary or not stands_behind_prompt(screen.before):
            self._proven = line
        else:  # what a job printed stands behind the prompt: with Enter there is one alone
            self._entered = True
            await self._paste("\r")
        return False

    async def _uncover(self, screen: Screen) -> None:
        """Bring the prompt back, once, where a job seems to have printed over it."""
        if not self._entered and time.monotonic() - self._since > COVERED_S:
            from sane.transports.covered_prompt import bring_prompt_back

            self._entered = True
            await bring_prompt_back(self._client, screen)

    async def _shows_blank_first(self, screen: Screen) -> bool:
        keys = MOVES[screen.program] + BLANK_AND_BACK
        # Where there is no prompt yet it may come first: what is typed behind it must not meet the blank. (fish draws
        # once for all keys, and shows none of this.)
        to_end = not screen.before and screen.program != "fish"
        shown = await shown_for(self._client, keys, to_end=to_end)
        return shows_blank_first(shown, screen)

    async def _put_back(self, was: Screen) -> None:
        """Put the cursor back where Left could not move it and Right could: to the beginning of somebody's text."""
        until = time.monotonic() + ANSWER_WAIT_S
        while was.behind and time.monotonic() < until and not self._client.closed:
            rests = not keys_wait(was.tty) and not is_at_work(was.pid)  # else it may not have drawn our keys yet
            now = await look(self._client, self._pane_id)
            blank_gone = now.row == was.row and now.before + now.behind == was.before + was.behind
            if rests and blank_gone:
                if now.place.column == was.place.column + 1:
                    await self._paste(LEFT)
                return
            await self._client.pump(min(until, time.monotonic() + 0.01))

    async def _paste(self, keys: str) -> None:
        await press(self._client, keys)


async def press(client: ControlClient, keys: str) -> None:
    """Write keys to a pane's terminal, all at once."""
    await client.paste(f"sane-{os.getpid():x}", keys)


async def shown_for(client: ControlClient, keys: str, quiet_s: float = 0.0, *, to_end: bool = False) -> bytes:
    """Return what a pane shows for keys, without bells and colours: until more than a blank has come (`to_end`: until
    the blank is away again), and nothing more for `quiet_s`."""
    following, client.following = client.following, True
    client.take_output()
    shown = b""
    try:
        await press(client, keys)
        until, quiet_until = time.monotonic() + ANSWER_WAIT_S, 0.0
        while time.monotonic() < until and not client.closed:
            fresh = client.take_output()
            shown = SILENT.sub(b"", shown + decode_octal(fresh))
            if fresh:
                quiet_until = time.monotonic() + quiet_s
            enough = BLANK_GONE.search(shown) if to_end else shown.strip(b" ") and not CUT.search(shown)
            if enough and time.monotonic() >= quiet_until:
                break
            await client.pump(min(until, quiet_until) if enough else until)
    finally:
        client.following = following
    return shown


def shows_blank_first(shown: bytes, screen: Screen) -> bool:
    """Return whether what was shown for moves, a blank and a backspace begins with the blank: the line is empty."""
    back = rb"\x08|\x1b\[\d*D|\r\x1b\[\d*C\x08" + (rb"|\r" if screen.place.column == 0 else b"")
    behind = re.escape(screen.behind.encode("utf-8", "surrogateescape"))
    return re.match(rb" (?:%b)?(?:%b)" % (behind, back), shown) is not None


async def drawn_at(client: ControlClient, pane_id: str, line: str) -> tuple[Place, int] | None:
    """Return where a typed line begins on the screen, and how many rows there are from there to the cursor; None where
    it can't be found."""
    state, text = await client.ask(
        f"display-message -p -t {pane_id} '#{{cursor_y}} #{{pane_width}}'", f"capture-pane -p -t {pane_id}"
    )
    if not state.ok or not state.lines or not text.ok:
        return None
    row, width = map(int, state.lines[0].split())
    typed = line.lstrip()
    for first in range(min(row, len(text.lines) - 1), -1, -1):
        before, found, behind = text.lines[first].partition(typed[:8])
        if found and typed[8:].startswith(behind.rstrip()):
            return Place(cells_of(before) - (len(line) - len(typed)), width), row - first
    return None


def _tells_nothing(screen: Screen) -> bool:
    """Return whether a shell's line editor would show nothing that tells of an empty line behind no prompt."""
    if screen.program == "fish":  # at the right edge it draws its prompt anew
        return len(screen.above) + 2 >= screen.place.width
    if screen.program == "bash":
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{screen.pid}/fd/2") != screen.tty
    return screen.program not in MOVES


def editor_reads(screen: Screen) -> bool:
    """Return whether a shell's line editor reads in a pane of this machine, and nothing is shown that keys could mean
    something to: a search, a question, a list to choose from."""
    if screen.program not in MOVES or screen.alternate or screen.below or asks_person(screen.before):
        return False
    if screen.behind and MOVES[screen.program] == HOME_END:
        return False  # bash shows nothing there of its own
    if screen.program == "busybox":  # its terminal tells nothing more
        known = not screen.before or stands_behind_prompt(screen.before)
        return known and line_editor_waits(screen) and not child_in_front(screen)
    return editor_has_terminal(screen.tty) and not child_in_front(screen)


def editor_has_terminal(tty: str) -> bool:
    """Return whether a terminal is set up as readline, zsh and fish have it while they edit a line: each key at once,
    and Enter and Ctrl-J are told apart. `read -n1` and most full-screen programs leave the latter as it is."""
    import termios

    with contextlib.suppress(OSError, termios.error):
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            modes = termios.tcgetattr(fd)
        finally:
            os.close(fd)
        raw = not modes[3] & (termios.ICANON | termios.ECHO)
        return raw and bool(modes[0] & termios.INLCR or not modes[0] & termios.ICRNL)
    return False


def child_in_front(screen: Screen) -> str:
    """Return the name of a program that a shell has started in its own place in the foreground, as fish does with its
    pager; "" for none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        front = _fields(screen.pid)[1][5]  # tpgid
        with open(f"/proc/{front}/task/{front}/children") as file:
            children = file.read().split()
        for child in children:
            name, fields = _fields(int(child))
            if fields[2] == front and _shows_on(int(child), screen.tty):
                return name
    return ""


def _fields(pid: int) -> tuple[str, list[str]]:
    with open(f"/proc/{pid}/stat") as file:
        name, _, rest = file.read().rpartition(")")
    return name.partition("(")[2], rest.split()


def _shows_on(pid: int, tty: str) -> bool:
    try:
        return tty in (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (1, 2))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # another user's: it may be

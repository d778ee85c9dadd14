"""Whether a shell waits in a pane with nothing typed, so that a command can be typed there and mixes with nobody's."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from sane.core.pane.framing import Place, Reader
from sane.core.pane.prompt_line import (
    CARRIERS,
    SHELLS,
    classify_line,
    device_name,
    looks_like_status,
    may_be_covered,
    may_be_longer,
    may_be_prompt,
    repl_name,
    split_at,
)
from sane.errors import NotFoundError, PaneError, UndrawnError
from sane.transports.control_mode import ControlClient

if TYPE_CHECKING:
    from sane.transports.line_editor import EmptyLine

IDLE_WAIT_S = 10.0  # for a prompt: long enough for a shell's start-up, or for somebody to finish a short command
UNDRAWN_WAIT_S = 2.0  # what a shell takes to start, or to draw its prompt behind the last command, is no command's time
ELSEWHERE = "the output of the pane's shell does not go to the terminal any more (`exec >`)"
LOOK_PAUSE_S = 0.01
MOST_TORN_LOOKS = 20
UNSEEN_READERS = frozenset({"sh", "dash"})  # the kernel edits their line, so nothing tells that they wait for one
ASKED_EDITORS = frozenset({"bash", "zsh", "fish"})  # see line_editor
NESTED_PROGRAMS = frozenset({"tmux", "tmux: client"})

STATE_FORMAT = (
    "#{pane_dead} #{cursor_x} #{cursor_y} #{pane_width} #{pane_height} #{alternate_on} #{pane_pid} #{pane_tty} "
    "#{pane_input_off} #{history_size} #{@sane-device} #{@sane-echo} #{@sane-job} #{session_id} "
    "#{pane_current_command}"
)

# unusual: what stands there may be a prompt that nobody has seen, or half a line of somebody's.
# covered: a background job of ours may have printed over the prompt.
Verdict = Literal[
    "idle", "nested", "starting", "busy", "typing", "unusual", "covered", "repl", "continuation", "dead", "elsewhere"
]


class Screen(NamedTuple):
    """Hold what tmux knows of a pane at one moment; `row` is the cursor's, counted with the history; `before` and
    `behind` are the cursor line's text around the cursor, `lines` the other ones (first, where one was met here before,
    the first prompt of a network device)."""

    place: Place
    row: int
    before: str
    behind: str
    alternate: bool
    pid: int
    tty: str
    input_off: bool
    program: str
    lines: tuple[str, ...]
    remembered: str
    dead: bool
    echo_off: bool = False  # a call that failed may have left it so, for what the shell runs
    job_ended_s: int = 0  # when a command ended last, by the server's clock, whose shell has jobs in the background
    above: str = ""  # the line above the cursor's
    below: bool = False  # whether anything stands below


async def look(client: ControlClient, pane_id: str) -> Screen:
    """Return the pane's state now. Raises NotFoundError when it is gone."""
    state, text, option = await client.ask(
        f"display-message -p -t {pane_id} '{STATE_FORMAT}'",
        f"capture-pane -p -t {pane_id}",
        f"show-options -pqv -t {pane_id} @sane-prompt",
    )
    if not state.ok or not state.lines or not text.ok:
        raise NotFoundError(f"Pane '{pane_id}' does not exist")
    fields = state.lines[0].split(" ", 14)
    dead, x, y, width, _, alternate, pid, tty, input_off, history, device, echo, job, session, program = fields
    await client.follow(session)
    row = int(y)
    line = text.lines[row] if row < len(text.lines) else ""
    before, behind = split_at(line, int(x))
    others = tuple(line for i, line in enumerate(text.lines) if i != row and line.strip())
    return Screen(
        place=Place(int(x), int(width)),
        row=row + int(history),
        before=before,
        behind=behind,
        alternate=alternate == "1",
        pid=int(pid or 0),
        tty=tty,
        input_off=input_off == "1",
        program=program.lstrip("-"),
        lines=(device, *others) if device else others,
        remembered=option.lines[0] if option.ok and option.lines else "",
        dead=dead == "1",
        echo_off=echo == "off",
        job_ended_s=int(job) if job.isdigit() else 0,
        above=text.lines[row - 1] if 0 < row <= len(text.lines) else "",
        below=any(line.strip() for line in text.lines[row + 1 :]),
    )


def judge(screen: Screen, *, local: bool) -> Verdict:
    """Return whether a command can be typed now. `local`: the pane's terminal is one of this machine."""
    if screen.dead:
        return "dead"
    editing = local and line_editor_waits(screen)
    if repl_name(screen.program, "") and not editing:
        return "repl"
    is_shell = screen.program in SHELLS
    known = bool(screen.remembered) and screen.before.rstrip() == screen.remembered and not screen.behind
    if not is_shell and not editing and not known and device_name(screen.before, screen.lines):
        return "repl"
    if not is_shell and not editing and screen.program not in CARRIERS and screen.program not in NESTED_PROGRAMS:
        return "busy"
    kind = classify_line(screen.before, screen.behind)
    if kind == "repl" and not is_shell:
        return "repl"
    if screen.alternate and not is_shell:
        # Behind ssh only the status line tells a tmux from vim.
        inside = screen.program in NESTED_PROGRAMS or any(looks_like_status(line) for line in screen.lines[-1:])
        return "nested" if inside and (kind == "prompt" or known) else "busy"
    if local and is_shell and not known and (screen.alternate or kind != "prompt") and program_of(screen) not in SHELLS:
        return "busy"
    if kind == "prompt" or known:
        asked = local and not known and screen.program in ASKED_EDITORS
        return "unusual" if asked and may_be_longer(screen.before, screen.remembered) else "idle"
    if kind == "continuation":
        return "continuation"
    seen = local and is_shell and screen.program not in UNSEEN_READERS
    if screen.job_ended_s and not seen and not screen.below and may_be_covered(screen.before, screen.above):
        return "covered"
    if local and is_shell and may_be_prompt(screen.before, screen.above, screen.lines, screen.remembered):
        return "unusual"
    return "starting" if kind == "empty" else "typing"


def program_of(screen: Screen) -> str:
    """Return the name of the program in a pane of this machine: the one that a shell runs in its own place, if any."""
    from sane.transports.line_editor import child_in_front

    return child_in_front(screen) or screen.program


def line_editor_waits(screen: Screen) -> bool:
    """Return whether the pane's own shell reads a line right now: it is in the foreground, and the terminal is raw."""
    name = program_in_front(screen)
    # An interpreter may be the pane's own program, and its editor waits.
    return bool(name) and not repl_name(name, "") and terminal_is_raw(screen.tty)


def program_in_front(screen: Screen) -> str:
    """Return the name of the pane's own program where it is in the foreground itself, and not a child of its; or ""."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{screen.pid}/stat", "rb") as file:
            name, _, rest = file.read().rpartition(b")")
        fields = rest.split()
        if int(fields[5]) == int(fields[2]):  # tpgid, pgrp
            return name.partition(b"(")[2].decode("utf-8", "replace")
    return ""


def prints_elsewhere(screen: Screen) -> bool:
    """Return whether the pane's own shell is in front and its output can't reach the terminal (`exec >file`).

    Through a pipe it may: `exec > >(tee log)`.
    """
    if program_in_front(screen) not in SHELLS:
        return False
    try:
        output = os.readlink(f"/proc/{screen.pid}/fd/1")
        return output not in (screen.tty, "/dev/tty") and not output.startswith("pipe:")
    except FileNotFoundError:
        return True  # `exec >&-`
    except OSError:
        return False


def waiting_reader(screen: Screen) -> Reader:
    """Return which shell of the pane's own reads a line there by itself and shows its prompts there; "" for none.

    Then it has no child that could read in its place, and its input and its stderr are the pane's terminal.
    """
    name: Reader = "bash" if screen.program == "bash" else "zsh" if screen.program == "zsh" else ""
    if not name or not line_editor_waits(screen):
        return ""
    process = f"/proc/{screen.pid}"
    with contextlib.suppress(OSError), open(f"{process}/task/{screen.pid}/children", "rb") as file:
        if not file.read() and all(os.readlink(f"{process}/fd/{fd}") == screen.tty for fd in (0, 2)):
            return name
    return ""


def terminal_is_raw(tty: str) -> bool:
    """Return whether a terminal of this machine passes each key on at once, as line editors want it."""
    import termios

    with contextlib.suppress(OSError, termios.error):
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return not termios.tcgetattr(fd)[3] & termios.ICANON
        finally:
            os.close(fd)
    return False


def keys_wait(tty: str) -> bool:
    """Return whether a terminal of this machine holds input that its program has not read yet."""
    import fcntl
    import termios

    with contextlib.suppress(OSError):
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return any(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
        finally:
            os.close(fd)
    return False


def is_at_work(pid: int) -> bool:
    """Return whether a process of this machine runs or would, so that it waits for no key."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b") ")[2][:1] == b"R"
    return False


async def wait_idle(
    client: ControlClient, pane_id: str, name: str, *, local: bool, wait_s: float, raw_ok: bool = False
) -> tuple[Screen, Verdict]:
    """Wait until a command can be typed; return the screen then, and `idle` or `nested` (or `repl`, where `raw_ok`).

    Raises PaneError saying why not when that takes longer than `wait_s`, at once for a REPL, a dead pane and a shell
    that prints elsewhere; NotFoundError when the pane is gone.
    """
    deadline = time.monotonic() + wait_s
    pause_s = LOOK_PAUSE_S
    proof: EmptyLine | None = None
    torn_looks = 0
    waited = not local  # whether the shell was seen to wait for keys, before the look that counts
    while True:
        seen = client.output_count
        screen = await look(client, pane_id)
        verdict = judge(screen, local=local)
        # While something prints, the cursor and the text that we saw may be of two moments; what never stops is let go.
        torn = client.output_count != seen and torn_looks < MOST_TORN_LOOKS
        torn_looks += torn
        if local and prints_elsewhere(screen):
            verdict = "elsewhere"
        if verdict in ("unusual", "covered"):
            proof = proof or _new_proof(client, pane_id)
            if await proof.is_proven(screen, covered=verdict == "covered"):
                verdict = "idle"
        if verdict in ("idle", "nested") and not torn:
            if not (local and (keys_wait(screen.tty) or is_at_work(screen.pid))):
                if waited:
                    return screen, verdict
                waited = True  # by now: it may have read a line just behind the look, and have shown no more of it
                continue
            waited, verdict = False, "typing"  # ahead: the shell shows its prompt, and has not read it or drawn it yet
        if verdict == "repl" and raw_ok:
            return screen, verdict
        if client.output_count != seen and time.monotonic() < deadline:
            continue  # it changed while we looked
        if verdict in ("dead", "repl", "elsewhere") or time.monotonic() >= deadline:
            raise refusal(name, screen, verdict, wait_s)
        await client.pump(min(deadline, time.monotonic() + pause_s))
        pause_s = min(pause_s * 1.5, 0.1)


def _new_proof(client: ControlClient, pane_id: str) -> EmptyLine:
    from sane.transports.line_editor import EmptyLine

    return EmptyLine(client, pane_id)


def dead_pane(name: str) -> PaneError:
    """Return the error for a pane whose program has ended (`remain-on-exit`)."""
    return PaneError(f"pane {name} is dead: its program has ended", hint="Respawn it with `tmux respawn-pane`.")


def refusal(name: str, screen: Screen, verdict: Verdict, wait_s: float) -> PaneError:
    """Return the error that says why nothing was typed."""
    line = screen.before.strip()
    if screen.behind:
        line = f"{line}{screen.behind}"
    kind = PaneError
    if verdict == "dead":
        return dead_pane(name)
    if verdict == "elsewhere":
        why = f"pane {name} can't take a command: {ELSEWHERE}; nothing was typed"
        return PaneError(why, hint="Enter `exec >/dev/tty` there.")
    if verdict == "repl":
        own = repl_name(screen.program, "")
        device = None if own else device_name(screen.before, screen.lines)
        repl = f"a {device} device" if device else own or repl_name("", screen.before) or screen.program
        return PaneError(
            f"pane {name} is in raw mode: {repl} waits there, not a shell",
            hint="Leave it first, or send it text with sane-send-keys.",
        )
    if verdict == "continuation":
        why = f"an unfinished command is open there ('{line}')"
    elif line and verdict in ("typing", "unusual", "covered"):
        why = f"somebody seems to be typing there ('{line[-60:]}')"
    elif verdict in ("starting", "unusual", "covered"):
        kind, why = UndrawnError, "no prompt is shown"
    else:
        why = f"{(program_of(screen) if screen.program in SHELLS else screen.program) or 'a program'} is running there"
    return kind(
        f"pane {name} can't take a command: {why}; nothing was typed (waited {wait_s:g} s)",
        hint="Finish what is there, or use another pane. A prompt that ends in $, #, % or > is always known.",
    )

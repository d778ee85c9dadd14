"""One command at the prompt of an interpreter or a network device: typed as it is, answered when a prompt is back.

Nothing there marks an end or tells an exit code, so the end is told by what a person goes by: a prompt at the end of
the output, and quiet.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from typing import TYPE_CHECKING

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult
from sane.core.pane.control_stream import decode_octal
from sane.core.pane.raw_prompt import (
    BLANK_LINE_ENDS,
    DEVICES,
    NEXT_PAGE,
    NOTES,
    Ending,
    RawPrompt,
    asks_for_more,
    asks_question,
    ends_in_prompt,
    match_prompt,
    raw_prompt,
    typed_lines,
)
from sane.core.pane.rendering import Rendering
from sane.errors import NotFoundError, PaneError, UsageError
from sane.transports.base import OnOutput
from sane.transports.control_mode import ControlClient, tmux_word
from sane.transports.pane_recovery import MAY_LACK
from sane.transports.pane_state import IDLE_WAIT_S, UNDRAWN_WAIT_S, Screen, judge, look, terminal_is_raw

if TYPE_CHECKING:
    from sane.transports.exchange import ExchangePane

SAME_PROMPT_QUIET_S = 0.1  # the very prompt that was there before
OTHER_PROMPT_QUIET_S = 0.4  # one that could be a line of output
QUESTION_QUIET_S = 1.0
LOOK_AGAIN_S = 1.0  # how often a program that prints nothing is asked whether it lives
INTERRUPT_WAIT_S = 2.0
UNKNOWN_WAIT_S = 1.5  # how long a line that is no prompt we know must stay for us to give up
MORE_QUIET_S = 0.03
MORE_ANSWER_S = 0.5  # for the next page to come: a second key would skip one


class RawExchange:
    """Type the lines of one command, each behind a prompt, and read what they print."""

    def __init__(self, pane: ExchangePane, client: ControlClient, command: Command, on_output: OnOutput | None) -> None:
        self._pane = pane
        self._client = client
        self._command = command
        self._on_output = on_output
        self._started = time.monotonic()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._buffer = f"sane-{os.urandom(4).hex()}"
        self._edits = False  # its line editor makes the terminal raw: only then does a prompt wait
        self._output: list[str] = []
        self._truncated = self._may_lack = False
        self._gaps = client.gaps

    async def run(self) -> CommandResult:
        """Carry the command out.

        Raises PaneError when no prompt that is known waits there; then nothing was typed. UsageError for a control
        character.
        """
        lines = typed_lines(self._command.script)
        if any(ord(c) < 32 or ord(c) == 127 for line in lines for c in line):
            raise UsageError("a command for an interpreter can't hold control characters")
        timeout_s = self._command.timeout_s
        screen, prompt = await self._wait_prompt(min(IDLE_WAIT_S, timeout_s or IDLE_WAIT_S))
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        kind, before, ending = prompt.kind, screen.before, Ending("prompt", "", prompt)
        try:
            for index, line in enumerate(lines):
                ending = await self._type(line, before, prompt, deadline, screen.place.width)
                if ending.way != "prompt" or ending.prompt is None:
                    if index + 1 < len(lines) and ending.way != "late":
                        return self._end(ending, kind, f"the last {len(lines) - index - 1} lines were not sent; ")
                    break
                prompt, before = ending.prompt, ending.line
            await self._remember(prompt)
            if ending.prompt is not None and ending.prompt.unfinished and kind in BLANK_LINE_ENDS:
                ending = await self._type("", before, prompt, deadline, screen.place.width)
        except Exception:
            raise
        except BaseException:  # cancelled: the command must not go on without its caller
            with contextlib.suppress(NotFoundError):
                await self._interrupt()
            raise
        if ending.way == "late":
            return await self._late()
        if ending.prompt is not None and ending.prompt.unfinished:
            with contextlib.suppress(NotFoundError):
                await self._interrupt()
            return self._answer(NOTES["unfinished"].format(line=ending.line.strip()))
        return self._end(ending, kind)

    async def _wait_prompt(self, wait_s: float) -> tuple[Screen, RawPrompt]:
        """Return the prompt that waits with nothing typed. Raises PaneError when there is none in time."""
        started = time.monotonic()
        deadline = started + wait_s
        known_until = started + UNKNOWN_WAIT_S
        while True:
            seen = self._client.output_count
            screen = await look(self._client, self._pane.pane_id)
            prompt = None if screen.behind else raw_prompt(screen.before, screen.program, screen.lines)
            settled = self._client.output_count == seen
            if prompt is not None and not prompt.unfinished and settled and not screen.alternate:
                self._edits = self._pane.local and terminal_is_raw(screen.tty)
                self._client.take_output()
                self._gaps = self._client.gaps
                return screen, prompt
            drawn = screen.before.strip()
            if not drawn or not settled:
                known_until = time.monotonic() + UNKNOWN_WAIT_S  # it starts, or still prints
            until = min(deadline, known_until) if drawn else max(deadline, started + UNDRAWN_WAIT_S)
            if time.monotonic() >= until or screen.dead:
                break
            await self._client.pump(min(until, time.monotonic() + 0.1))
        line = (screen.before.strip() + screen.behind)[-60:]
        shown = f"its line shows '{line}'" if line else "it shows no prompt"
        raise PaneError(
            f"pane {self._pane.name} is in raw mode: {screen.program} waits there, not a shell, and {shown}; "
            "nothing was typed",
            hint="Finish the line that is begun there, leave the program, or send it keys with sane-send-keys.",
        )

    async def _type(self, line: str, before: str, prompt: RawPrompt, deadline: float, width: int) -> Ending:
        """Type one line and return how it ended; what it printed is kept."""
        rendering = Rendering(width, before, self._command.output_limit_bytes)
        await self._paste(line + "\r")
        ending = await self._wait_end(rendering, prompt, deadline)
        self._keep(rendering, line, ending)
        return ending

    async def _wait_end(self, rendering: Rendering, prompt: RawPrompt, deadline: float) -> Ending:
        quiet_since = time.monotonic()
        next_look = quiet_since + LOOK_AGAIN_S
        while True:
            now = time.monotonic()
            fresh = self._client.take_output()
            if fresh:
                rendering.feed(self._decoder.decode(decode_octal(fresh)))
                quiet_since = now
            if self._gaps != self._client.gaps:
                self._gaps, self._may_lack = self._client.gaps, True
                shown = await self._cursor_text()
                if shown.strip() not in ("", rendering.cursor_line.strip()):
                    rendering.feed("\r\n" + shown)
            if self._client.closed:
                return Ending("gone", "")
            if now >= deadline:
                return Ending("late", rendering.cursor_line)
            ending, quiet_s = self._candidate(rendering, prompt)
            if ending is not None and now - quiet_since >= quiet_s:
                if ending.way != "prompt" or await self._confirm(ending):
                    return ending
                quiet_since = time.monotonic()
            pages = asks_for_more(rendering.cursor_line)
            if pages and now - quiet_since >= MORE_QUIET_S:
                await self._paste(NEXT_PAGE)
                quiet_since = now + MORE_ANSWER_S
            if now >= next_look or self._client.maybe_gone:
                self._client.maybe_gone = False
                next_look = now + LOOK_AGAIN_S
                ending = await self._look_around(rendering, quiet_since)
                if ending is not None:
                    return ending
            until = quiet_since + (MORE_QUIET_S if pages else quiet_s)
            await self._client.pump(min(deadline, next_look, max(until, time.monotonic() + 0.01)))

    def _candidate(self, rendering: Rendering, prompt: RawPrompt) -> tuple[Ending | None, float]:
        """Return what the output may have ended with, and how long it must be quiet for that to be believed."""
        line = rendering.cursor_line
        if len(rendering.lines()) < 2 or not line.strip():
            return None, LOOK_AGAIN_S
        if ends_in_prompt(prompt, line) is not None:
            return Ending("prompt", line, prompt), SAME_PROMPT_QUIET_S
        other = match_prompt(prompt.kind, line)
        if other is not None and len(line) - len(line.rstrip()) <= 1:
            return Ending("prompt", line, other), SAME_PROMPT_QUIET_S * 2
        if asks_question(line):
            return Ending("question", line), QUESTION_QUIET_S
        other = raw_prompt(line, "", rendering.lines()[-20:-1])
        return (Ending("prompt", line, other), OTHER_PROMPT_QUIET_S) if other else (None, LOOK_AGAIN_S)

    async def _confirm(self, ending: Ending) -> bool:
        """Return whether the screen shows the prompt too, and whoever printed it reads what is typed now."""
        seen = self._client.output_count
        try:
            screen = await look(self._client, self._pane.pane_id)
        except NotFoundError:
            return False
        waits = not self._edits or terminal_is_raw(screen.tty)
        return waits and self._client.output_count == seen and ending.line.rstrip().endswith(screen.before.strip())

    async def _cursor_text(self) -> str:
        """Return what stands before the cursor: a prompt there may have come while no client was attached."""
        try:
            return (await look(self._client, self._pane.pane_id)).before
        except NotFoundError:
            return ""

    async def _look_around(self, rendering: Rendering, quiet_since: float) -> Ending | None:
        """Return whether the pane has gone, shows a shell's prompt again, or a full-screen program's page."""
        try:
            screen = await look(self._client, self._pane.pane_id)
        except NotFoundError:
            return Ending("gone", "")
        if screen.dead:
            return Ending("gone", "")
        if time.monotonic() - quiet_since < OTHER_PROMPT_QUIET_S:
            return None
        if rendering.alternate or (screen.alternate and screen.program in ("less", "more", "pager", "most")):
            rendering.alternate = False
            rendering.feed("\r\n" + "\r\n".join(screen.lines[:-1]) + "\r\n")
            await self._paste("q")
            return Ending("pager", "")
        if judge(screen, local=self._pane.local) in ("idle", "nested", "unusual"):
            return Ending("left", rendering.cursor_line)
        return None

    def _keep(self, rendering: Rendering, line: str, ending: Ending) -> None:
        """Keep what a line printed, without its own echo and the prompt behind it."""
        lines = rendering.lines()
        first = lines.pop(0)
        echoed = first.rstrip().endswith(line.rstrip()) or not line.strip()
        text = [] if echoed else [first]
        if lines and ending.way in ("prompt", "left", "question"):
            last = lines.pop()
            head = ends_in_prompt(ending.prompt, last) if ending.prompt is not None else None
            text += lines + ([head] if head else [last] if ending.way == "question" else [])
            whole = not head and ending.way != "question"
        else:
            whole = False
            text += lines
        kept = "\n".join(row.rstrip() for row in text) + ("\n" if text and whole else "")
        self._truncated |= rendering.truncated
        if kept:
            self._output.append(kept if not self._output or self._output[-1].endswith("\n") else "\n" + kept)

    async def _interrupt(self) -> bool:
        """Press Ctrl-C until a prompt is back; return whether one is. Raises NotFoundError when the pane went away."""
        for _ in range(2):
            await self._paste("\x03")
            until = time.monotonic() + INTERRUPT_WAIT_S
            while time.monotonic() < until:
                await self._client.pump(min(until, time.monotonic() + SAME_PROMPT_QUIET_S))
                self._client.take_output()
                screen = await look(self._client, self._pane.pane_id)
                if screen.dead:
                    raise NotFoundError(f"Pane '{self._pane.name}' is dead")
                prompt = None if screen.behind else raw_prompt(screen.before, screen.program, screen.lines)
                waits = not self._edits or terminal_is_raw(screen.tty)
                if prompt is not None and not prompt.unfinished and waits:
                    return True
        return False

    async def _paste(self, text: str) -> None:
        await self._client.paste(self._buffer, text)

    async def _remember(self, prompt: RawPrompt) -> None:
        """Note the device's first prompt on the pane: `Router#` alone could be a shell's."""
        name = prompt.text[:-1].partition("(")[0]
        if prompt.kind in DEVICES:
            await self._client.send(f"set-option -p -t {self._pane.pane_id} @sane-device {tmux_word(name + '>')}")

    def _end(self, ending: Ending, kind: str, also: str = "") -> CommandResult:
        if ending.way == "gone":
            return self._answer(also + "the pane went away", pane_gone=True)
        other = ending.prompt.kind if ending.prompt is not None else kind
        way = "left" if other != kind else ending.way
        note = also + NOTES.get(way, "").format(line=ending.line.strip(), kind=kind)
        # Whoever types `exit` knows that it was left; lines that were not sent are another matter.
        return self._answer("" if way == "left" and not also else note, pane_ready=way != "question")

    async def _late(self) -> CommandResult:
        ready = gone = False
        try:
            ready = await self._interrupt()
        except NotFoundError:
            gone = True
        return self._answer("", exit_code=TIMEOUT_EXIT_CODE, timed_out=True, pane_ready=ready, pane_gone=gone)

    def _answer(
        self,
        note: str,
        *,
        exit_code: int | None = None,
        timed_out: bool = False,
        pane_gone: bool = False,
        pane_ready: bool = True,
    ) -> CommandResult:
        output = "".join(self._output).encode()
        if output and self._on_output is not None:
            self._on_output(output)
        return CommandResult(
            target=self._pane.name,
            command=self._command.script,
            output=output,
            exit_code=exit_code,
            duration_ms=(time.monotonic() - self._started) * 1000,
            timed_out=timed_out,
            truncated=self._truncated,
            pane_gone=pane_gone,
            pane_ready=pane_ready and not pane_gone,
            mode="raw",
            note=note or (MAY_LACK if self._may_lack and not pane_gone else ""),
        )

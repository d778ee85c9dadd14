"""One command in a pane: the typed line, the handshake, the payload, the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult
from sane.core.control_stream import Mark, OutputReader, nested_output
from sane.core.framing import (
    CORRUPT,
    END,
    EXIT,
    FEED,
    GO,
    READY,
    START,
    Dialect,
    Place,
    Run,
    dialect_of,
    payload,
    quote,
    recovery_payload,
    rows_taken,
    typed_line,
)
from sane.core.pane_files import TOKEN
from sane.core.pane_script import compose, strip_exit_notice, strip_job_notices
from sane.core.prompt_line import classify_line
from sane.errors import LostError, NotFoundError, PaneError
from sane.transports.base import OnOutput
from sane.transports.control_mode import ControlClient, paste_commands, tmux_word
from sane.transports.pane_state import IDLE_WAIT_S, Screen, line_editor_waits, look, wait_idle

READY_WAIT_S = 5.0  # for the answer to the typed line: two round trips and the start of two small programs
EARLY_LOOK_S = 0.3
RECOVERY_WAIT_S = (1.0, 2.0, 2.0)  # for the prompt, behind Ctrl-C, Ctrl-C and Ctrl-\
GONE_WAIT_S = 1.0  # for the pane to go, once its shell said that it exits
SLOWEST_BYTES_PER_S = 20_000  # a pane behind a slow SSH connection
LIVENESS_S = 1.0  # how often to ask whether the pane still lives


class ExchangePane(Protocol):
    """What an exchange needs to know of its pane."""

    name: str
    local: bool

    @property
    def pane_id(self) -> str:
        """Return tmux's id of the pane."""
        ...


class Exchanged(NamedTuple):
    """Hold a result, and the reader with the marks that came with it."""

    result: CommandResult
    reader: OutputReader


def inner_place(outer: Place, ready: Mark) -> Place:
    """Return where the cursor is inside a nested tmux's pane, whose `WIDTH.LEFT` the READY mark tells."""
    width, _, left = (ready.arguments[0] if ready.arguments else "").partition(".")
    if not width.isdigit() or not left.isdigit():
        return outer
    return Place(max(0, outer.column - int(left)), int(width))


def decode_base64(lines: Sequence[bytes]) -> bytes:
    """Return what base64 lines hold."""
    import binascii

    return binascii.a2b_base64(b"".join(lines))


class Exchange:
    """One command: the line, the handshake, the payload, the answer."""

    def __init__(
        self,
        pane: ExchangePane,
        client: ControlClient,
        command: Command,
        on_output: OnOutput | None,
        feed: Iterable[str] | None,
    ) -> None:
        self._pane = pane
        self._pane_id = pane.pane_id
        self._client = client
        self._command = command
        self._on_output = on_output
        self._feed = feed
        self._token = os.urandom(4).hex()
        self.reader = OutputReader(self._token, command.output_limit_bytes)
        self._local = pane.local
        self._started = time.monotonic()
        self._dialect: Dialect = "posix"
        self._next_check = 0.0
        self._nested = False

    async def run(self) -> CommandResult:
        """Carry the command out; when the caller is cancelled or interrupted, stop it and bring the prompt back."""
        wait_s = min(IDLE_WAIT_S, self._command.timeout_s or IDLE_WAIT_S)
        screen, verdict = await wait_idle(
            self._client, self._pane_id, self._pane.name, local=self._local, wait_s=wait_s
        )
        self._nested = verdict == "nested"
        timeout_s = self._command.timeout_s
        try:
            await self._handshake(screen)
            deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
            if self._feed is not None:
                await self._send_feed(deadline)
            mark = await self._wait_for(deadline, END, EXIT)
        except Exception:
            raise
        except BaseException:  # cancelled, or Ctrl-C at the terminal: the command must not go on without its caller
            await self._end_late()
            raise
        if mark is None and not self._client.closed and time.monotonic() >= deadline:
            return await self._end_late()
        return await self._result(mark)

    async def _send_feed(self, deadline: float) -> None:
        mark = await self._wait_for(deadline, FEED, END, EXIT)
        if mark is not None and mark.kind == FEED:
            for piece in self._feed or ():
                await self.paste(piece)

    async def _handshake(self, screen: Screen) -> None:
        """Type the line, wait for READY, send the payload and wait for START."""
        line = typed_line(self._token, screen.place, nested=self._nested)
        await self.paste(line + "\r")
        ready = await self._wait_ready()
        if ready is None:
            await self._give_up(screen)
        assert ready is not None
        self._dialect = dialect_of(ready.kind)
        if classify_line(screen.before, screen.behind) != "prompt":  # and yet a shell answered: remember this prompt
            text = tmux_word(screen.before.rstrip())
            await self._client.send(f"set-option -p -t {self._pane_id} @sane-prompt {text}")
        script = compose(self._command, self._dialect)
        if self._feed is not None:
            script = f"sh -c {quote(script.replace(TOKEN, self._token), self._dialect)}"
        shown = self._command.display or self._command.script
        place = inner_place(screen.place, ready) if self._nested else screen.place
        run = Run(self._token, script, shown, place, rows_taken(line, place), self._nested)
        await self._send_payload(payload(run, self._dialect))

    async def _wait_ready(self) -> Mark | None:
        """Wait for READY; give up early where the shell reads a line again, and it is not ours."""
        deadline = time.monotonic() + READY_WAIT_S
        while True:
            mark = await self._wait_for(min(deadline, time.monotonic() + EARLY_LOOK_S), READY)
            if mark is not None or self._client.closed or time.monotonic() >= deadline:
                return mark
            if self._local and not self._nested and await self._reads_another_line():
                return self.reader.find(READY)

    async def _reads_another_line(self) -> bool:
        try:
            screen = await look(self._client, self._pane_id)
        except (NotFoundError, LostError):
            return True
        self.reader.feed(self._client.take_output())
        return line_editor_waits(screen) and self._token not in screen.before and "head -n1" not in screen.before

    async def _send_payload(self, pieces: list[bytes]) -> None:
        """Send the payload and wait until the command starts. Raises PaneError when it does not: then nothing was
        run."""
        await self.paste(pieces[0].decode("utf-8", "surrogateescape"))
        wait_s = READY_WAIT_S
        if len(pieces) > 1 and await self._wait_for(time.monotonic() + wait_s, GO) is not None:
            await self.paste(pieces[1].decode())
            wait_s += len(pieces[1]) / SLOWEST_BYTES_PER_S
        mark = await self._wait_for(time.monotonic() + wait_s, START, CORRUPT, EXIT)
        if (mark is not None and mark.kind != CORRUPT) or self._client.closed or not await self._alive():
            return
        if mark is None:
            await self._recover()
        raise PaneError(
            f"keys pressed in pane {self._pane.name} mixed with the command; it was not run",
            hint="Try again when nobody types there.",
        )

    async def _give_up(self, screen: Screen) -> None:
        if self._client.closed or not await self._alive():
            raise NotFoundError(f"Pane '{self._pane.name}' went away before the command was sent")
        await self._recover()
        raise PaneError(
            f"pane {self._pane.name} did not answer as a shell does; nothing was run",
            hint=f"{screen.program or 'Its program'} is in the foreground there. Is it a shell at an empty prompt?",
        )

    async def _recover(self) -> bool:
        """Clear the line and the terminal's settings after a handshake that failed; return whether a prompt is back."""
        await self.paste("\x03")
        reader = self.reader
        try:
            return await self.prompt_is_back(RECOVERY_WAIT_S[0])
        finally:
            self.reader = reader

    async def paste(self, text: str) -> None:
        """Write text straight to the pane's terminal."""
        await self._client.send(*paste_commands(f"sane-{self._token}", self._pane_id, text))

    async def _wait_for(self, deadline: float, *kinds: str) -> Mark | None:
        """Return the first mark of these kinds; None at the deadline or when the pane has gone."""
        self._next_check = time.monotonic() + LIVENESS_S
        while True:
            fresh = self.reader.feed(self._client.take_output())
            if fresh and self._on_output is not None:
                self._on_output(fresh)
            mark = self.reader.find(*kinds)
            now = time.monotonic()
            if mark is not None or now >= deadline or self._client.closed:
                return mark
            if self._client.maybe_gone or now >= self._next_check:
                self._client.maybe_gone = False
                self._next_check = now + LIVENESS_S
                if not await self._alive() and not self._client.closed:
                    self.reader.feed(self._client.take_output())
                    return self.reader.find(*kinds)
                continue
            await self._client.pump(min(deadline, self._next_check))

    async def _alive(self) -> bool:
        try:
            return not (await look(self._client, self._pane_id)).dead
        except (NotFoundError, LostError):
            return False

    async def _result(self, mark: Mark | None) -> CommandResult:
        """Return the result; without a mark the pane, its shell or the server has gone, and the code is unknown."""
        gone = mark is None
        if mark is None:
            self._flush()
        code = None
        if mark is not None:
            first = mark.arguments[0] if mark.arguments else ""
            code = int(first) & 0xFF if first.isdigit() else None
            if mark.kind == EXIT:
                gone = await self._goes()
        return self._answer(code, mark, pane_gone=gone)

    async def _goes(self) -> bool:
        until = time.monotonic() + GONE_WAIT_S
        while time.monotonic() < until and not self._client.closed:
            if not await self._alive():
                return True
            await self._client.pump(min(until, time.monotonic() + 0.02))
        return self._client.closed

    def _answer(self, code: int | None, mark: Mark | None, **facts: bool) -> CommandResult:
        output = self.reader.output
        if self._nested:
            output = nested_output(self._token, decode_base64(self.reader.data))[: self._command.output_limit_bytes]
        if mark is not None and len(mark.arguments) > 1:
            strip = strip_exit_notice if mark.kind == EXIT else strip_job_notices
            output = strip(output, mark.arguments[1])
        return CommandResult(
            target=self._pane.name,
            command=self._command.display or self._command.script,
            output=output,
            exit_code=code,
            duration_ms=(time.monotonic() - self._started) * 1000,
            truncated=self.reader.truncated,
            timed_out=facts.get("timed_out", False),
            pane_gone=facts.get("pane_gone", False),
            pane_ready=facts.get("pane_ready", True) and not facts.get("pane_gone", False),
        )

    async def _end_late(self) -> CommandResult:
        """Interrupt the command, and find out whether the prompt came back.

        The output ends where the interrupt was sent: behind it stand the terminal's `^C` and the next prompt.
        """
        self._flush()
        output, self.reader = self.reader, OutputReader(self._token, 0)
        mark: Mark | None = None
        for key, wait_s in zip(("\x03", "\x03", "\x1c"), RECOVERY_WAIT_S, strict=True):
            await self.paste(key)
            mark = await self._wait_for(time.monotonic() + 0.05, END, EXIT)
            if mark is None and await self.prompt_is_back(wait_s):
                self.reader = output
                return self._answer(TIMEOUT_EXIT_CODE, None, timed_out=True)
            if mark is not None or self._client.closed:
                break
        gone = self._client.closed or (mark is not None and mark.kind == EXIT and await self._goes())
        ready = mark is not None and mark.kind == END
        self.reader = output
        return self._answer(TIMEOUT_EXIT_CODE, None, timed_out=True, pane_gone=gone, pane_ready=ready)

    async def prompt_is_back(self, wait_s: float) -> bool:
        """Return whether a shell answers at a prompt again; undo what the interrupted run left there."""
        try:
            screen, verdict = await wait_idle(
                self._client, self._pane_id, self._pane.name, local=self._local, wait_s=wait_s
            )
        except (PaneError, NotFoundError):
            return False
        token = os.urandom(4).hex()
        self.reader = OutputReader(token, 0)
        self._nested = verdict == "nested"
        line = typed_line(token, screen.place, nested=self._nested)
        await self.paste(line + "\r")
        ready = await self._wait_for(time.monotonic() + wait_s, READY)
        if ready is None:
            return False
        dialect = dialect_of(ready.kind)
        place = inner_place(screen.place, ready) if self._nested else screen.place
        pieces = recovery_payload(
            token, place, rows_taken(line, place), dialect, nested=self._nested, ended=self._token
        )
        await self.paste(pieces[0].decode())
        return await self._wait_for(time.monotonic() + wait_s, END) is not None

    def _flush(self) -> None:
        """Take what was held back because a mark could have begun there."""
        tail = self.reader.flush()
        if tail and self._on_output is not None:
            self._on_output(tail)

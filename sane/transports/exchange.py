"""One command in a pane: the typed line, the handshake, the payload, the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from sane.core.command import Command, CommandResult
from sane.core.pane.control_stream import Mark, OutputReader, nested_output
from sane.core.pane.files import TOKEN
from sane.core.pane.framing import (
    CORRUPT,
    END,
    EXIT,
    FEED,
    GO,
    READY,
    START,
    Dialect,
    Place,
    Reader,
    dialect_of,
    quote,
    rows_taken,
    typed_line,
)
from sane.core.pane.payload import Run, payload
from sane.core.pane.prompt_line import classify_line, device_name
from sane.core.pane.script import (
    SHELL_SAYS_DONE,
    compose,
    cut_at_interrupt,
    inner_place,
    strip_exit_notice,
    strip_job_notices,
)
from sane.errors import LostError, NotFoundError, PaneError
from sane.transports.base import OnOutput
from sane.transports.control_mode import ControlClient, paste_commands, tmux_word
from sane.transports.pane_recovery import INTERRUPTED_EXIT_CODE, end_interrupted, end_late, goes, recover
from sane.transports.pane_state import IDLE_WAIT_S, Screen, line_editor_waits, look, wait_idle, waiting_reader

READY_WAIT_S = 5.0  # for the answer to the typed line: two round trips and the start of two small programs
EARLY_LOOK_S = 0.3
INTERRUPT_LOOK_S = 0.05  # behind a `^C` in the output: does a prompt show?
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
        self.pane = pane
        self.pane_id = pane.pane_id
        self.client = client
        self._command = command
        self._on_output = on_output
        self._feed = feed
        self.token = os.urandom(4).hex()
        self.reader = OutputReader(self.token, command.output_limit_bytes)
        self.local = pane.local
        self._started = time.monotonic()
        self._dialect: Dialect = "posix"
        self._next_check = 0.0
        self.nested = False
        self._refusal: Exception | None = None  # what the caller's `on_output` raised
        self._prompt = ""  # the cursor line's text when the command was typed
        self._at_prompt = False

    async def run(self) -> CommandResult:
        """Carry the command out; when the caller is cancelled or interrupted, stop it and bring the prompt back."""
        wait_s = min(IDLE_WAIT_S, self._command.timeout_s or IDLE_WAIT_S)
        raw_ok = self._command.raw_ok
        screen, verdict = await wait_idle(
            self.client, self.pane_id, self.pane.name, local=self.local, wait_s=wait_s, raw_ok=raw_ok
        )
        if verdict == "repl":
            return await self._run_raw()
        self.nested = verdict == "nested"
        timeout_s = self._command.timeout_s
        try:
            if not await self._handshake(screen):
                return await self._run_raw()
            deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
            if self._feed is not None:
                await self._send_feed(deadline)
            mark = await self._wait_end(deadline)
        except BaseException as error:
            # Cancelled, Ctrl-C at the terminal, or the caller's `on_output` failed: the command must not go on without
            # its caller.
            if not isinstance(error, Exception) or (error is self._refusal and self.reader.find(END, EXIT) is None):
                await end_late(self)
            raise
        if isinstance(mark, CommandResult):
            return mark
        if mark is None and not self.client.closed and time.monotonic() >= deadline:
            return await end_late(self)
        return await self._result(mark)

    async def _run_raw(self) -> CommandResult:
        from sane.transports.raw_exchange import RawExchange

        return await RawExchange(self.pane, self.client, self._command, self._on_output).run()

    async def _wait_end(self, deadline: float) -> Mark | CommandResult | None:
        """Return the mark of the command's end, or its result when a person ended it with Ctrl-C at the pane."""
        while True:
            mark = await self.wait_for(deadline, END, EXIT, notice_interrupt=True)
            if mark is not None or not self._at_prompt:
                return mark
            self._at_prompt = False
            result = await end_interrupted(self)
            if result is not None:
                return result

    async def _send_feed(self, deadline: float) -> None:
        mark = await self.wait_for(deadline, FEED, END, EXIT)
        if mark is not None and mark.kind == FEED:
            for piece in self._feed or ():
                await self.paste(piece)

    async def _handshake(self, screen: Screen) -> bool:
        """Type the line, wait for READY, send the payload and wait for START; False where a network device answered."""
        line, pieces, reader = self._form(screen)
        ready = await self._type(line, screen)
        if ready is None and "__sane_l" in line and not self.client.closed and await recover(self):
            # It waited and yet could not read (`enable -n read`), or keys came before our line.
            screen, _ = await wait_idle(
                self.client, self.pane_id, self.pane.name, local=self.local, wait_s=READY_WAIT_S
            )
            line, pieces, reader = typed_line(self.token, screen.place), [], ""
            ready = await self._type(line, screen)
        if ready is None:
            if self._command.raw_ok and await self._shows_device():
                return False
            await self._give_up(screen)
        assert ready is not None
        self._dialect = dialect_of(ready.kind)
        if classify_line(screen.before, screen.behind) != "prompt":  # and yet a shell answered: remember this prompt
            text = tmux_word(screen.before.rstrip())
            await self.client.send(f"set-option -p -t {self.pane_id} @sane-prompt {text}")
        place = inner_place(screen.place, ready.arguments) if self.nested else screen.place
        rows = rows_taken(line, place)
        if self.reader.lines_outside > 1 and not self.nested:
            rows = await self._rows_until_now(screen, rows)
        if rows != rows_taken(line, screen.place) or not pieces:
            pieces = self._pieces(place, rows, reader=reader)
        await self._send_payload(pieces)
        if screen.echo_off:
            await self.client.send(f"set-option -pu -t {self.pane_id} @sane-echo")
        return True

    async def _type(self, line: str, screen: Screen) -> Mark | None:
        self._prompt = screen.before.rstrip()
        self.reader.lines_outside = 0
        await self.paste(line + "\r")
        return await self._wait_ready()

    async def _rows_until_now(self, screen: Screen, rows: int) -> int:
        """Return how many rows the typed line took with what hooks of the shell printed behind it (PS0, preexec)."""
        (reply,) = await self.client.ask(f"display-message -p -t {self.pane_id} '#{{cursor_y}} #{{history_size}}'")
        if not reply.ok or not reply.lines:
            return rows
        now = sum(int(number) for number in reply.lines[0].split())
        # A full history counts no further, and then what scrolled is known by its newlines alone.
        return now - screen.row if now - screen.row >= rows else rows + self.reader.lines_outside - 1

    def _form(self, screen: Screen) -> tuple[str, list[bytes], Reader]:
        """Return the line and the payload for a shell known to read for itself, and which; no payload yet for another
        shell, or where it is long."""
        usable = self.local and not self.nested and not screen.echo_off
        reader = waiting_reader(screen) if usable else ""
        if reader:
            line = typed_line(self.token, screen.place, reader=reader)
            pieces = self._pieces(screen.place, rows_taken(line, screen.place), reader=reader)
            if len(pieces) == 1:
                return line, pieces, reader
        return typed_line(self.token, screen.place, nested=self.nested), [], ""

    def _pieces(self, place: Place, rows: int, *, reader: Reader = "") -> list[bytes]:
        script = compose(self._command, self._dialect)
        if self._feed is not None:
            script = f"sh -c {quote(script.replace(TOKEN, self.token), self._dialect)}"
        shown = self._command.display or self._command.script
        run = Run(self.token, script, shown, place, rows, self.nested, reader)
        return payload(run, self._dialect)

    async def _wait_ready(self) -> Mark | None:
        """Wait for READY; give up early where a prompt is shown again, and it is not for our line."""
        deadline = time.monotonic() + READY_WAIT_S
        typed_at, suspect = self.client.output_count, -1
        while True:
            mark = await self.wait_for(min(deadline, time.monotonic() + EARLY_LOOK_S), READY)
            if mark is not None or self.client.closed or time.monotonic() >= deadline:
                return mark
            # A shell on a busy machine may not even have read the line: only what it has answered counts, twice.
            if self.client.output_count != typed_at and not self.nested and await self._shows_other_prompt():
                if suspect == self.client.output_count:
                    return self.reader.find(READY)
                suspect = self.client.output_count

    async def _shows_other_prompt(self) -> bool:
        try:
            screen = await look(self.client, self.pane_id)
        except (NotFoundError, LostError):
            return False
        self.reader.feed(self.client.take_output())
        if (
            not screen.before.strip()
            or self.token in screen.before
            or "head -n1" in screen.before
            or "__sane_l" in screen.before
        ):
            return False
        return line_editor_waits(screen) if self.local else bool(device_name(screen.before, screen.lines))

    async def _shows_device(self) -> bool:
        try:
            screen = await look(self.client, self.pane_id)
        except (NotFoundError, LostError):
            return False
        return bool(device_name(screen.before, screen.lines))

    async def _send_payload(self, pieces: list[bytes]) -> None:
        """Send the payload and wait until the command starts. Raises PaneError when it does not: then nothing was
        run."""
        await self.paste(pieces[0].decode("utf-8", "surrogateescape"))
        wait_s = READY_WAIT_S
        if len(pieces) > 1 and await self.wait_for(time.monotonic() + wait_s, GO) is not None:
            await self.paste(pieces[1].decode())
            wait_s += len(pieces[1]) / SLOWEST_BYTES_PER_S
        mark = await self.wait_for(time.monotonic() + wait_s, START, CORRUPT, EXIT)
        if (mark is not None and mark.kind != CORRUPT) or self.client.closed or not await self.alive():
            return
        if mark is None:
            await recover(self)
        raise PaneError(
            f"keys pressed in pane {self.pane.name} mixed with the command; it was not run",
            hint="Try again when nobody types there.",
        )

    async def _give_up(self, screen: Screen) -> None:
        if self.client.closed or not await self.alive():
            raise NotFoundError(f"Pane '{self.pane.name}' went away before the command was sent")
        await recover(self)
        raise PaneError(
            f"pane {self.pane.name} did not answer as a shell does; nothing was run",
            hint=f"{screen.program or 'Its program'} is in the foreground there. Is it a shell at an empty prompt?",
        )

    async def paste(self, text: str) -> None:
        """Write text straight to the pane's terminal."""
        await self.client.send(*paste_commands(f"sane-{self.token}", self.pane_id, text))

    async def wait_for(self, deadline: float, *kinds: str, notice_interrupt: bool = False) -> Mark | None:
        """Return the first mark of these kinds; None at the deadline or when the pane has gone.

        With `notice_interrupt` also None, and `_at_prompt` set, when a prompt shows behind a `^C`.
        """
        self._next_check = time.monotonic() + LIVENESS_S
        interrupted_at = -1
        while True:
            fresh = self.reader.feed(self.client.take_output())
            self._pass_on(fresh)
            mark = self.reader.find(*kinds)
            now = time.monotonic()
            if mark is not None or now >= deadline or self.client.closed:
                return mark
            if notice_interrupt and fresh and (b"^C" in fresh or SHELL_SAYS_DONE in fresh):
                interrupted_at = 0
                self._next_check = min(self._next_check, now + INTERRUPT_LOOK_S)
            if self.client.maybe_gone or now >= self._next_check:
                self.client.maybe_gone = False
                self._next_check = now + LIVENESS_S
                screen = await self._look_alive()
                if screen is None and not self.client.closed:
                    self.reader.feed(self.client.take_output())
                    return self.reader.find(*kinds)
                if interrupted_at >= 0 and screen is not None and self._shows_prompt(screen):
                    if interrupted_at == self.client.output_count:
                        self._at_prompt = True
                        return None
                    interrupted_at = self.client.output_count
                    self._next_check = now + INTERRUPT_LOOK_S
                continue
            await self.client.pump(min(deadline, self._next_check))

    def _shows_prompt(self, screen: Screen) -> bool:
        if self.local and line_editor_waits(screen):
            return True
        return bool(self._prompt) and screen.before.rstrip() == self._prompt and not screen.behind

    async def _look_alive(self) -> Screen | None:
        try:
            screen = await look(self.client, self.pane_id)
        except (NotFoundError, LostError):
            return None
        return None if screen.dead else screen

    async def alive(self) -> bool:
        """Return whether the pane still has a living program."""
        return await self._look_alive() is not None

    async def _result(self, mark: Mark | None) -> CommandResult:
        """Return the result; without a mark the pane, its shell or the server has gone, and the code is unknown."""
        gone = mark is None
        if mark is None:
            self.flush()
        code = None
        if mark is not None:
            first = mark.arguments[0] if mark.arguments else ""
            code = int(first) & 0xFF if first.isdigit() else None
            if mark.kind == EXIT:
                gone = await goes(self)
        return self.answer(code, mark, pane_gone=gone)

    def answer(self, code: int | None, mark: Mark | None, **facts: bool) -> CommandResult:
        """Return the result with what has been printed so far."""
        output = self.reader.output
        if self.nested:
            output = nested_output(self.token, decode_base64(self.reader.data))[: self._command.output_limit_bytes]
        if mark is not None and len(mark.arguments) > 1:
            strip = strip_exit_notice if mark.kind == EXIT else strip_job_notices
            output = strip(output, mark.arguments[1])
        if facts.get("interrupted") or (code == INTERRUPTED_EXIT_CODE and output.endswith(b"^C")):
            output = cut_at_interrupt(output)
        return CommandResult(
            target=self.pane.name,
            command=self._command.display or self._command.script,
            output=output,
            exit_code=code,
            duration_ms=(time.monotonic() - self._started) * 1000,
            truncated=self.reader.truncated,
            timed_out=facts.get("timed_out", False),
            pane_gone=facts.get("pane_gone", False),
            pane_ready=facts.get("pane_ready", True) and not facts.get("pane_gone", False),
        )

    def flush(self) -> None:
        """Take what was held back because a mark could have begun there."""
        self._pass_on(self.reader.flush())

    def _pass_on(self, fresh: bytes) -> None:
        if fresh and self._on_output is not None:
            try:
                self._on_output(fresh)
            except Exception as error:
                self._on_output, self._refusal = None, error
                raise

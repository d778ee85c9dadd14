"""The handshake of a command in a pane: the typed line, READY, the payload, START."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from sane.core.pane.control_stream import Mark
from sane.core.pane.framing import (
    CORRUPT,
    END,
    EXIT,
    GO,
    KINDS,
    READY,
    START,
    Dialect,
    Place,
    Reader,
    dialect_of,
    erase_sequence,
    escape_for_b,
    rows_taken,
    typed_line,
)
from sane.core.pane.payload import Run, payload
from sane.core.pane.prompt_line import SHELLS, classify_line, device_name, stands_behind_prompt
from sane.core.pane.script import compose, inner_is_piped, inner_place
from sane.errors import LostError, NotFoundError, PaneError, SaneError
from sane.transports.control_mode import tmux_word
from sane.transports.pane_recovery import INSERT_MODE, insert_mode, recover
from sane.transports.pane_state import Screen, line_editor_waits, look, wait_idle, waiting_reader

if TYPE_CHECKING:
    from sane.transports.exchange import Exchange

READY_WAIT_S = 5.0  # for the answer to the typed line: two round trips and the start of two small programs
EARLY_LOOK_S = 0.3
UNSEEN_WAIT_S = 0.1  # for a mark that came, it seems, while no client was attached
SLOWEST_BYTES_PER_S = 20_000  # a pane behind a slow SSH connection


class Handshake:
    """Bring one command to its start."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._client = exchange.client
        self._pane = exchange.pane
        self._pane_id = exchange.pane_id
        self._local = exchange.local
        self._token = exchange.token
        self._dialect: Dialect = "posix"
        self._keys_before = ""
        self._shell = ""  # the name of the one that waits, where it is known

    async def run(self, screen: Screen) -> bool:
        """Type the line, wait for READY, send the payload and wait for START; False where a network device answered."""
        line, pieces, reader = self._form(screen)
        ready = await self._type(line, screen)
        if ready is None and not reader and self._exchange.command.raw_ok and await self._shows_device():
            await self._client.delete_buffer(self._exchange.buffer)
            return False
        if ready is None and not self._client.closed and await recover(self._exchange):
            # It waited and yet did not read (`enable -n read`), its editor took the keys for commands (vi's), or
            # somebody's came before our line.
            screen, _ = await wait_idle(
                self._client, self._pane_id, self._pane.name, local=self._local, wait_s=READY_WAIT_S
            )
            self._shell = ""
            line, pieces, reader = typed_line(self._token, screen.place, nested=self._exchange.nested), [], ""
            self._keys_before = ""
            ready = await self._type(line, screen)
        if ready is None:
            await self._give_up(screen)
        assert ready is not None
        self._dialect = dialect_of(ready.kind)
        ordinary = classify_line(screen.before, screen.behind) == "prompt" and not stands_behind_prompt(screen.before)
        if not ordinary:  # and yet a shell answered: remember this prompt
            text = tmux_word(screen.before.rstrip())
            await self._client.send(f"set-option -p -t {self._pane_id} @sane-prompt {text}")
        place = inner_place(screen.place, ready.arguments) if self._exchange.nested else screen.place
        if self._exchange.nested and inner_is_piped(ready.arguments):
            await self._refuse_piped(place, rows_taken(line, place))
        place, rows = await self._place_now(line, place, screen)
        if (place, rows) != (screen.place, rows_taken(line, screen.place)) or not pieces:
            pieces = self._pieces(place, rows, reader=reader)
        await self._send_payload(pieces)
        if screen.echo_off:
            await self._client.send(f"set-option -pu -t {self._pane_id} @sane-echo")
        return True

    async def _refuse_piped(self, place: Place, rows: int) -> None:
        erase = escape_for_b(erase_sequence(place, rows).encode())
        await self._exchange.paste(f"stty echo;printf %b '{erase}'\n")
        raise PaneError(
            f"the tmux inside pane {self._pane.name} pipes that pane's output to somebody already (pipe-pane): "
            "how a command ends can't be read there; it was not run",
            hint="End it with `tmux pipe-pane` inside, or use a pane that is not nested.",
        )

    async def _type(self, line: str, screen: Screen) -> Mark | None:
        self._exchange.prompt = screen.before.rstrip()
        self._exchange.reader.lines_outside, self._exchange.reader.redrawn = 0, False
        await self._exchange.paste(f"{self._keys_before}{line}\r", keep=True)
        self._exchange.gaps = self._client.gaps
        return await self._wait_ready()

    async def _place_now(self, line: str, place: Place, screen: Screen) -> tuple[Place, int]:
        """Return where the typed line begins by now, and how many rows it takes."""
        rows, reader = rows_taken(line, place), self._exchange.reader
        if self._exchange.nested:
            return place, rows
        if reader.redrawn:  # behind another prompt: transient ones shrink once Enter is pressed
            from sane.transports.line_editor import drawn_at

            found = await drawn_at(self._client, self._pane_id, line)
            if found is not None:
                return found
        return place, await self._rows_until_now(screen, rows) if reader.lines_outside > 1 else rows

    async def _rows_until_now(self, screen: Screen, rows: int) -> int:
        """Return how many rows the typed line took with what hooks of the shell printed behind it (PS0, preexec)."""
        (reply,) = await self._client.ask(f"display-message -p -t {self._pane_id} '#{{cursor_y}} #{{history_size}}'")
        if not reply.ok or not reply.lines:
            return rows
        now = sum(int(number) for number in reply.lines[0].split())
        # A full history counts no further, and then what scrolled is known by its newlines alone.
        return now - screen.row if now - screen.row >= rows else rows + self._exchange.reader.lines_outside - 1

    def _form(self, screen: Screen) -> tuple[str, list[bytes], Reader]:
        """Return the line and the payload for a shell known to read for itself, and which; no payload yet for another
        shell, or where it is long."""
        usable = self._local and not self._exchange.nested and not screen.echo_off
        reader = waiting_reader(screen) if usable else ""
        self._keys_before = INSERT_MODE if reader else insert_mode(self._exchange, screen)
        if reader:
            line = typed_line(self._token, screen.place, reader=reader)
            pieces = self._pieces(screen.place, rows_taken(line, screen.place), reader=reader)
            if len(pieces) == 1:
                return line, pieces, reader
        self._shell = screen.program if self._local and screen.program in SHELLS else ""
        return typed_line(self._token, screen.place, nested=self._exchange.nested, shell=self._shell), [], ""

    def _pieces(self, place: Place, rows: int, *, reader: Reader = "") -> list[bytes]:
        command, nested = self._exchange.command, self._exchange.nested
        script = compose(command, self._dialect, self._token, nested=nested)
        shown = command.display or command.script
        kind = reader or KINDS.get(self._shell, "")
        kept = bool(reader or self._shell) and not command.unseen
        run = Run(self._token, script, shown, place, rows, nested, reader, command.unseen, kind, kept)
        return payload(run, self._dialect)

    async def _wait_ready(self) -> Mark | None:
        """Wait for READY; give up early where a prompt is shown again, and it is not for our line."""
        deadline = time.monotonic() + READY_WAIT_S
        typed_at, suspect, gaps = self._client.output_count, -1, self._exchange.gaps
        while True:
            mark = await self._exchange.wait_for(min(deadline, time.monotonic() + EARLY_LOOK_S), READY)
            over = self._client.closed or self._exchange.gaps != gaps or time.monotonic() >= deadline
            if mark is not None or over:
                return mark
            # A shell on a busy machine may not even have read the line: only what it has answered counts, twice.
            if self._client.output_count != typed_at and not self._exchange.nested and await self._shows_other_prompt():
                if suspect == self._client.output_count:
                    return self._exchange.reader.find(READY)
                suspect = self._client.output_count

    async def _shows_other_prompt(self) -> bool:
        try:
            screen = await look(self._client, self._pane_id)
        except NotFoundError:
            return False
        self._exchange.reader.feed(self._client.take_output())
        if (
            not screen.before.strip()
            or self._token in screen.before
            or "head -n1" in screen.before
            or "__sane_l" in screen.before
        ):
            return False
        return line_editor_waits(screen) if self._local else bool(device_name(screen.before, screen.lines))

    async def _shows_device(self) -> bool:
        try:
            screen = await look(self._client, self._pane_id)
        except NotFoundError:
            return False
        return bool(device_name(screen.before, screen.lines))

    async def _send_payload(self, pieces: list[bytes]) -> None:
        """Send the payload and wait until the command starts. Raises PaneError when it does not: then nothing was
        run."""
        *first, last = [piece.decode("utf-8", "surrogateescape") for piece in pieces]
        mark, wait_s, unseen, gaps = None, READY_WAIT_S, False, self._exchange.gaps
        if first:
            mark, unseen = await self._send(first[0], READY_WAIT_S, GO, keep=True)
            wait_s += len(last) / SLOWEST_BYTES_PER_S
        if not first or mark is not None or unseen:
            wait_s = min(wait_s, max(self._exchange.deadline - time.monotonic(), READY_WAIT_S))
            mark, unseen = await self._send(last, wait_s, START, CORRUPT, END, EXIT)
        self._exchange.may_lack |= self._exchange.gaps != gaps and self._exchange.reader.find(START) is None
        if (mark is not None and mark.kind != CORRUPT) or self._client.closed or not await self._exchange.alive():
            return
        if mark is None and unseen:
            if self._exchange.command.stdin:  # so was the first request for it
                self._exchange.feeding = True
                raise LostError("tmux ended our client while it sent what the command reads", phase="command")
            self._exchange.reader.started = True
            return
        if mark is None:
            await recover(self._exchange)
        raise PaneError(
            f"keys pressed in pane {self._pane.name} mixed with the command, or its shell lacks printf; it was not run",
            hint="Try again when nobody types there.",
        )

    async def _send(self, text: str, wait_s: float, *kinds: str, keep: bool = False) -> tuple[Mark | None, bool]:
        """Write a piece of the payload; return the mark that answers it, and whether one may have come unseen.

        Where tmux ended our client before it had written the piece, it is written again.
        """
        exchange, gaps, unseen = self._exchange, self._exchange.gaps, False
        until = time.monotonic() + wait_s
        await exchange.paste(text, keep=keep)
        while True:
            mark = await exchange.wait_for(until, *kinds)
            if mark is not None or exchange.gaps == gaps or self._client.closed:
                return mark, unseen
            gaps = exchange.gaps
            if await self._was_pasted(text, keep=keep):
                unseen, until = True, min(until, time.monotonic() + UNSEEN_WAIT_S)
            else:
                await exchange.paste(text, keep=keep)

    async def _was_pasted(self, text: str, *, keep: bool) -> bool:
        """Return whether tmux has written a text, behind another one that it was to keep: its buffer tells."""
        (reply,) = await self._client.ask("list-buffers -F '#{buffer_name} #{buffer_size}'")
        parts = [line.rpartition(" ") for line in reply.lines]
        size = next((size for name, _, size in parts if name == self._exchange.buffer), None)
        return size == str(len(text.encode("utf-8", "surrogateescape"))) if keep else size is None

    async def _give_up(self, screen: Screen) -> None:
        if self._client.closed or not await self._exchange.alive():
            with contextlib.suppress(SaneError):
                await self._client.delete_buffer(self._exchange.buffer)
            raise NotFoundError(f"Pane '{self._pane.name}' went away before the command was sent")
        await recover(self._exchange)
        raise PaneError(
            f"pane {self._pane.name} did not answer as a shell does; nothing was run",
            hint=f"{screen.program or 'Its program'} is in the foreground there. Is it a shell at an empty prompt?",
        )

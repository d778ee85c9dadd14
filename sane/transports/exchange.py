"""One command in a pane: the handshake, the wait for its end, the answer."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple, Protocol

from sane.core.command import Command, CommandResult
from sane.core.pane.control_stream import Mark, OutputReader, decode_base64, nested_output
from sane.core.pane.framing import CHECKSUM, CORRUPT, END, EXIT, INTERRUPTED
from sane.core.pane.prompt_line import SHELLS
from sane.core.pane.script import SHELL_SAYS_DONE, cut_at_interrupt, strip_exit_notice, strip_job_notices
from sane.errors import NotFoundError, PaneError, RemoteError, UndrawnError
from sane.transports.base import OnOutput
from sane.transports.control_mode import ControlClient
from sane.transports.handshake import Handshake
from sane.transports.pane_recovery import (
    INTERRUPTED_EXIT_CODE,
    MAY_LACK,
    end_given_up,
    end_interrupted,
    end_late,
    goes,
    recover,
    shows_prompt,
)
from sane.transports.pane_state import (
    IDLE_WAIT_S,
    UNDRAWN_WAIT_S,
    Screen,
    Verdict,
    look,
    program_in_front,
    wait_idle,
)

INTERRUPT_LOOK_S = 0.05  # behind a `^C` in the output: does a prompt show?
QUIET_LOOK_S = 0.25  # behind any output: a shell that gave the command up shows its prompt, and prints no end
LIVENESS_S = 1.0  # how often to ask whether the pane still lives
LEFT_LOOK_S = 0.5  # behind it, a pane without a prompt is asked whether a caller died there while it sent something
BEGUN_S = 1.0  # a command that began has so much of its time, however long the prompt took before


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


class Exchange:
    """One command, from the wait for a prompt to the answer."""

    def __init__(
        self,
        pane: ExchangePane,
        client: ControlClient,
        command: Command,
        on_output: OnOutput | None,
    ) -> None:
        self.pane = pane
        self.pane_id = pane.pane_id
        self.client = client
        self.command = command
        self._on_output = on_output
        self.token = os.urandom(4).hex()
        self.buffer = f"sane-{self.token}"
        self.reader = OutputReader(self.token, command.output_limit_bytes)
        self.local = pane.local
        self._started = time.monotonic()
        self.deadline = float("inf") if command.timeout_s is None else self._started + command.timeout_s
        self.unread_bytes = 0  # what was sent of the command's stdin and may still be on its way
        self.feeding = False
        self._next_check = 0.0
        self.nested = False
        self._refusal: Exception | None = None  # what the caller's `on_output` raised
        self.prompt = ""  # the cursor line's text when the command was typed
        self.at_prompt: Screen | None = None
        self.interrupted = False
        self.own_shell = False  # the pane's own program is a shell, and waits in it
        self.gaps = 0  # those of the client that are known here
        self.may_lack = False  # output, of such a gap

    async def run(self) -> CommandResult:
        """Carry the command out; when the caller is cancelled or interrupted, stop it and bring the prompt back."""
        screen, verdict = await self._wait_prompt(min(IDLE_WAIT_S, self.command.timeout_s or IDLE_WAIT_S))
        if verdict == "repl":
            return await self._run_raw()
        self.nested, self.gaps = verdict == "nested", self.client.gaps
        self.own_shell = self.local and program_in_front(screen) in SHELLS
        timeout_s = self.command.timeout_s
        try:
            if not await Handshake(self).run(screen):
                return await self._run_raw()
            deadline = max(self.deadline, time.monotonic() + min(BEGUN_S, timeout_s or BEGUN_S))
            if self.command.stdin:
                from sane.transports.pane_feed import feed

                await feed(self, self.command.stdin, deadline)
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

        return await RawExchange(self.pane, self.client, self.command, self._on_output).run()

    async def _wait_prompt(self, wait_s: float) -> tuple[Screen, Verdict]:
        """Wait until a command can be typed. Raises PaneError when it can't."""
        try:
            return await self._wait_idle(min(wait_s, LEFT_LOOK_S))
        except PaneError as error:
            from sane.transports.pane_feed import left_receiving

            if await left_receiving(self):
                await recover(self)
            elif isinstance(error, UndrawnError):
                wait_s = max(wait_s, UNDRAWN_WAIT_S)
            elif wait_s <= LEFT_LOOK_S:
                raise
        return await self._wait_idle(wait_s)

    async def _wait_idle(self, wait_s: float) -> tuple[Screen, Verdict]:
        raw_ok, local = self.command.raw_ok, self.local
        return await wait_idle(self.client, self.pane_id, self.pane.name, local=local, wait_s=wait_s, raw_ok=raw_ok)

    async def _wait_end(self, deadline: float) -> Mark | CommandResult | None:
        """Return the mark of the command's end, or its result when a person ended it with Ctrl-C at the pane, or its
        shell gave it up."""
        mark = None
        while True:
            if self.at_prompt is None:  # else seen while its stdin was sent
                mark = await self.wait_for(deadline, END, EXIT, CORRUPT, INTERRUPTED, notice_prompt=True)
            if mark is not None and mark.kind == CORRUPT:
                from sane.transports.pane_feed import refuse_mixed

                await refuse_mixed(self, deadline)
            if mark is not None and mark.kind == INTERRUPTED:
                self.reader.marks.remove(mark)
                if await self.wait_for(min(deadline, time.monotonic() + LIVENESS_S), END) is not None:
                    return self.answer(INTERRUPTED_EXIT_CODE, None, interrupted=True)
                continue
            if mark is not None or self.at_prompt is None:
                return mark
            screen, self.at_prompt = self.at_prompt, None
            result = await (end_interrupted(self) if self.interrupted else end_given_up(self, screen))
            if result is not None:
                return result

    async def paste(self, text: str, *, keep: bool = False) -> None:
        """Write text straight to the pane's terminal; with `keep` tmux has its buffer until the next one is written."""
        await self.client.paste(self.buffer, text, keep=keep)

    async def wait_for(self, deadline: float, *kinds: str, notice_prompt: bool = False) -> Mark | None:
        """Return the first mark of these kinds; None at the deadline or when the pane has gone.

        With `notice_prompt` also None, and `at_prompt` set, when a prompt shows and nothing more comes. Without it, and
        while stdin is sent, also None when the client was attached anew: the mark may have come meanwhile.
        """
        self.interrupted, shown_at = False, -1
        soon = notice_prompt and self.may_lack  # it may have ended unseen
        self._next_check = time.monotonic() + (self._prompt_look_s() if soon else LIVENESS_S)
        while True:
            fresh = self.take()
            if self.gaps != self.client.gaps:
                self.gaps = self.client.gaps
                if self.feeding or not notice_prompt:
                    return self.reader.find(*kinds)
                await self._look_for_gap()
            mark = self.reader.find(*kinds)
            now = time.monotonic()
            if mark is not None or now >= deadline or self.client.closed:
                return mark
            if notice_prompt and fresh:
                self.interrupted = self.interrupted or b"^C" in fresh or SHELL_SAYS_DONE in fresh
                self._next_check = min(self._next_check, now + self._prompt_look_s())
            if self.client.maybe_gone or now >= self._next_check:
                self.client.maybe_gone = False
                self._next_check = now + LIVENESS_S
                screen = await self._look_alive()
                if screen is None:
                    self.take()
                    return self.reader.find(*kinds)
                if notice_prompt and shows_prompt(self, screen):
                    if shown_at == self.client.output_count:
                        self.at_prompt = screen
                        return None
                    shown_at = self.client.output_count
                    self._next_check = now + self._prompt_look_s()
                continue
            await self.client.pump(min(deadline, self._next_check))

    async def _look_for_gap(self) -> None:
        from sane.transports.pane_gap import shows_all

        shown = False
        with contextlib.suppress(NotFoundError):
            shown = await shows_all(self)
        self.may_lack |= not shown

    def _prompt_look_s(self) -> float:
        if self.interrupted:
            return INTERRUPT_LOOK_S
        return QUIET_LOOK_S if self.own_shell else LIVENESS_S  # behind ssh the prompt's text alone tells

    async def _look_alive(self) -> Screen | None:
        try:
            screen = await look(self.client, self.pane_id)
        except NotFoundError:
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
            elif mark.arguments[1:] and mark.arguments[1].strip("0").isdigit():  # its jobs may print over the prompt
                with contextlib.suppress(NotFoundError):
                    await self.client.send(f"set-option -pF -t {self.pane_id} @sane-job '#{{window_activity}}'")
        return self.answer(code, mark, pane_gone=gone)

    def answer(self, code: int | None, mark: Mark | None, **facts: bool) -> CommandResult:
        """Return the result with what has been printed so far."""
        output, stderr = self.reader.output, b""
        if self.command.unseen:
            # What comes outside of the marks is stderr; in a nested tmux, how that draws its screen.
            output, stderr = self._unseen_output(mark), b"" if self.nested else output
        elif self.nested:
            output = nested_output(self.token, decode_base64(self.reader.data))[: self.command.output_limit_bytes]
        if mark is not None and len(mark.arguments) > 1 and not self.command.unseen:
            strip = strip_exit_notice if mark.kind == EXIT else strip_job_notices
            output = strip(output, mark.arguments[1])
        if facts.get("interrupted") or (code == INTERRUPTED_EXIT_CODE and output.endswith(b"^C")):
            output = cut_at_interrupt(output)
        return CommandResult(
            target=self.pane.name,
            command=self.command.display or self.command.script,
            output=output,
            exit_code=code,
            duration_ms=(time.monotonic() - self._started) * 1000,
            stderr=stderr,
            truncated=self.reader.truncated,
            timed_out=facts.get("timed_out", False),
            pane_gone=facts.get("pane_gone", False),
            pane_ready=facts.get("pane_ready", True) and not facts.get("pane_gone", False),
            note=MAY_LACK if self.may_lack and not facts.get("pane_gone", False) else "",
        )

    def _unseen_output(self, mark: Mark | None) -> bytes:
        """Return what came in DATA marks; nothing where the command did not end. Raises RemoteError for a part."""
        if mark is None or mark.kind != END or (self.reader.find(CHECKSUM) is None and not self.reader.data):
            return b""
        carried = self.reader.carried()
        if carried is not None:
            return carried[: self.command.output_limit_bytes]
        shown = self.command.display or "the command"
        raise RemoteError(
            f"the answer of {shown} arrived damaged: something else printed in the pane", hint="Try again."
        )

    def take(self) -> bytes:
        """Take what the pane has printed, and return what of it is certain to be output."""
        fresh = self.reader.feed(self.client.take_output())
        self._pass_on(fresh)
        return fresh

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

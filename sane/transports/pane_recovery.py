"""Bring a pane's prompt back: after a timeout, a cancelled call, a Ctrl-C of a person, or a handshake that failed."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sane.core.command import TIMEOUT_EXIT_CODE, CommandResult
from sane.core.pane.control_stream import OutputReader
from sane.core.pane.framing import END, EXIT, READY, dialect_of, rows_taken, typed_line
from sane.core.pane.payload import recovery_payload
from sane.core.pane.prompt_line import SHELLS, classify_line
from sane.core.pane.script import code_of_shell, inner_place, without_prompt
from sane.errors import NotFoundError, PaneError
from sane.transports.pane_state import (
    ASKED_EDITORS,
    ELSEWHERE,
    line_editor_waits,
    prints_elsewhere,
    program_in_front,
    wait_idle,
)

if TYPE_CHECKING:
    from sane.core.pane.control_stream import Mark
    from sane.transports.exchange import Exchange
    from sane.transports.pane_state import Screen

RECOVERY_WAIT_S = (1.0, 2.0, 2.0)  # for the prompt, behind Ctrl-C, Ctrl-C and Ctrl-\
END_WAIT_S = 0.05  # for the mark of a command that ends by itself just then
GONE_WAIT_S = 1.0  # for the pane to go, once its shell said that it exits
GIVEN_UP = (
    "a prompt shows again and nothing told how the command ended: "
    "its shell gave it up for an error, or another shell took its place"
)
MAY_LACK = "tmux detached sane while it ran (`tmux attach -d`?): `output` may lack what was printed in that moment"
OR_UNSEEN = ", or it ended while tmux had detached sane (`tmux attach -d`?)"
# Leaves vi's command mode, where each letter of a line is a command; elsewhere it is a letter that is erased again.
INSERT_MODE = "i\x7f"
SLOWEST_BYTES_PER_S = 20_000  # what was sent before a Ctrl-C goes before it
INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells have it


async def end_late(exchange: Exchange) -> CommandResult:
    """Interrupt a command, and find out whether the prompt came back.

    The output ends where the interrupt was sent: behind it stand the terminal's `^C` and the next prompt.
    """
    exchange.flush()
    output, exchange.reader = exchange.reader, OutputReader(exchange.token, 0)
    mark: Mark | None = None
    back, behind_s = False, exchange.unread_bytes / SLOWEST_BYTES_PER_S
    for key, wait_s in zip(("\x03", "\x03", "\x1c"), RECOVERY_WAIT_S, strict=True):
        with contextlib.suppress(NotFoundError):
            await exchange.paste(key)
        # A receiver of stdin takes in what is on its way before it ends, and then the payload goes on to its END mark.
        end_s = wait_s + behind_s if exchange.feeding else END_WAIT_S
        mark = await exchange.wait_for(time.monotonic() + end_s, END, EXIT)
        back = mark is None and await prompt_is_back(exchange, wait_s + behind_s)
        if mark is not None or back or not await exchange.alive():
            break
    gone = await goes(exchange) if mark is not None and mark.kind == EXIT else not await exchange.alive()
    ready = back or (mark is not None and mark.kind == END)
    if ready and exchange.feeding:
        from sane.transports.pane_feed import forget_receiving

        await forget_receiving(exchange)
    exchange.reader = output
    return exchange.answer(TIMEOUT_EXIT_CODE, None, timed_out=True, pane_gone=gone, pane_ready=ready)


async def end_interrupted(exchange: Exchange) -> CommandResult | None:
    """Return the result of a command that a person's Ctrl-C ended: 130; None when no shell answers after all."""
    exchange.flush()
    output, exchange.reader = exchange.reader, OutputReader(exchange.token, 0)
    back = await prompt_is_back(exchange, RECOVERY_WAIT_S[0])
    exchange.reader = output
    if not back:
        return None
    return exchange.answer(code_of_shell(output.output, INTERRUPTED_EXIT_CODE), None, interrupted=True)


def shows_prompt(exchange: Exchange, screen: Screen) -> bool:
    """Return whether a prompt shows while a command is thought to run: so twice, with nothing printed between."""
    same = bool(exchange.prompt) and screen.before.rstrip() == exchange.prompt and not screen.behind
    if exchange.interrupted:
        return same or (exchange.local and line_editor_waits(screen))
    if not exchange.own_shell:
        return same
    if program_in_front(screen) not in SHELLS:
        return False
    ordinary = classify_line(screen.before, screen.behind) == "prompt"
    return same or prints_elsewhere(screen) or (ordinary and line_editor_waits(screen))


async def end_given_up(exchange: Exchange, screen: Screen) -> CommandResult | None:
    """Return the result of a command that its shell gave up for an error of its own: dash and zsh print no end then.

    No exit code is known. None when no shell answers at the prompt that shows.
    """
    exchange.flush()
    if exchange.local and prints_elsewhere(screen):
        result = exchange.answer(None, None, pane_ready=False)
        return replace(result, output=without_prompt(result.output), note=ELSEWHERE)
    output, exchange.reader = exchange.reader, OutputReader(exchange.token, 0)
    back = await prompt_is_back(exchange, RECOVERY_WAIT_S[0])
    exchange.reader = output
    if not back:
        return None
    result = exchange.answer(None, None)
    note = GIVEN_UP + (OR_UNSEEN if exchange.may_lack else "")
    return replace(result, output=without_prompt(result.output), note=note)


async def recover(exchange: Exchange) -> bool:
    """Clear the line and the terminal's settings after a handshake that failed; return whether a prompt is back."""
    await exchange.paste("\x03")
    kept = exchange.reader, exchange.may_lack
    try:
        return await prompt_is_back(exchange, RECOVERY_WAIT_S[0])
    finally:
        exchange.reader, exchange.may_lack = kept


async def prompt_is_back(exchange: Exchange, wait_s: float) -> bool:
    """Return whether a shell answers at a prompt again; undo what the interrupted run left there.

    Where it does not, echo may stay off for what the shell runs; the pane remembers that, for the next call.
    """
    back = await _prompt_answers(exchange, wait_s)
    with contextlib.suppress(NotFoundError):
        await exchange.client.send(f"set-option -p -t {exchange.pane_id} @sane-echo {'on' if back else 'off'}")
        if back:
            await exchange.client.send(f"set-option -pu -t {exchange.pane_id} @sane-feed")
    return back


def insert_mode(exchange: Exchange, screen: Screen) -> str:
    """Return the keys to press before a line so that a local editor takes it for text; "" where none is known to wait:
    the kernel may erase with another key."""
    asked = exchange.local and not exchange.nested and screen.program in ASKED_EDITORS
    return INSERT_MODE if asked and line_editor_waits(screen) else ""


async def answering_shell(exchange: Exchange, wait_s: float) -> str:
    """Return the name of the shell that answers at the prompt; "" where none does."""
    if not await prompt_is_back(exchange, wait_s):
        return ""
    ready, end = exchange.reader.find(READY), exchange.reader.find(END)
    if ready is not None and dialect_of(ready.kind) == "fish":
        return "fish"
    name = end.arguments[1].strip().rpartition("/")[2].lstrip("-") if end is not None and end.arguments[1:] else ""
    return "ash" if name == "busybox" else name or "sh"  # busybox has no other interactive shell


async def _prompt_answers(exchange: Exchange, wait_s: float) -> bool:
    gaps = exchange.client.gaps
    if await _answers(exchange, wait_s):
        return True
    if exchange.client.gaps == gaps or exchange.client.closed:
        return False
    exchange.may_lack = True
    await exchange.paste("\x03")  # tmux ended our client in between: the answer may have come unseen
    return await _answers(exchange, wait_s)


async def _answers(exchange: Exchange, wait_s: float) -> bool:
    pane = exchange.pane
    try:
        screen, verdict = await wait_idle(exchange.client, exchange.pane_id, pane.name, local=pane.local, wait_s=wait_s)
    except (PaneError, NotFoundError):
        return False
    token = os.urandom(4).hex()
    exchange.reader = OutputReader(token, 0)
    exchange.nested = verdict == "nested"
    line = typed_line(token, screen.place, nested=exchange.nested)
    await exchange.paste(f"{insert_mode(exchange, screen)}{line}\r")
    exchange.gaps = exchange.client.gaps
    ready = await exchange.wait_for(time.monotonic() + wait_s, READY)
    if ready is None:
        await exchange.paste("\x03")  # what was typed must not wait there for a line, nor run when the pane thaws
        return False
    dialect = dialect_of(ready.kind)
    place = inner_place(screen.place, ready.arguments) if exchange.nested else screen.place
    pieces = recovery_payload(
        token, place, rows_taken(line, place), dialect, nested=exchange.nested, ended=exchange.token
    )
    await exchange.paste(pieces[0].decode())
    return await exchange.wait_for(time.monotonic() + wait_s, END) is not None


async def goes(exchange: Exchange) -> bool:
    """Return whether the pane goes away, now that its shell said that it exits."""
    until = time.monotonic() + GONE_WAIT_S
    while time.monotonic() < until and not exchange.client.closed:
        if not await exchange.alive():
            return True
        await exchange.client.pump(min(until, time.monotonic() + 0.02))
    return exchange.client.closed

"""Bring back a prompt that a background job printed over, where it can't be seen what reads: behind ssh, and in dash.

A blank and a backspace tell who takes the keys: the kernel, for a shell that leaves editing to it, shows them in its
own way. It shows for Ctrl-R what is typed already. A line editor is asked with keys that change nothing; one that shows
the blank as the kernel does (its terminal can erase no more) begins a search for Ctrl-R, which Ctrl-G ends. Only where
nothing is typed is Enter pressed.
"""

from __future__ import annotations

from sane.core.pane.prompt_line import CARRIERS
from sane.transports.control_mode import ControlClient
from sane.transports.line_editor import (
    BLANK_AND_BACK,
    LEFT_RIGHT,
    child_in_front,
    press,
    shown_for,
    shows_blank_first,
)
from sane.transports.pane_state import Screen

SETTLE_S = 0.1  # an answer may come in pieces
KERNEL_SHOWS, KERNEL_REPRINTS = b" \x08 \x08", b"^R\r\n"
REPRINT, ABORT = "\x12", "\x07"


async def bring_prompt_back(client: ControlClient, screen: Screen) -> None:
    """Press Enter where a shell seems to wait and nothing is typed."""
    shown = await shown_for(client, BLANK_AND_BACK, SETTLE_S)
    if not shows_blank_first(shown, screen):
        return
    empty = None
    if shown == KERNEL_SHOWS:
        # A program that reads looks the same as the shell: it is one that a person has started.
        if await _somebody_typed(client, screen) or (screen.program not in CARRIERS and child_in_front(screen)):
            return
        typed = await shown_for(client, REPRINT, SETTLE_S)
        if typed.startswith(KERNEL_REPRINTS):
            empty = typed == KERNEL_REPRINTS
        else:
            await shown_for(client, ABORT, SETTLE_S)
    if empty is None:
        empty = shows_blank_first(await shown_for(client, LEFT_RIGHT + BLANK_AND_BACK, SETTLE_S), screen)
    if empty:
        await press(client, "\r")


async def _somebody_typed(client: ControlClient, screen: Screen) -> bool:
    """Return whether a person has pressed a key in any client of the server since the last command ended here."""
    (reply,) = await client.ask("list-clients -F '#{client_control_mode} #{client_activity}'")
    times = [line.partition(" ")[2] for line in reply.lines if line.startswith("0 ")]
    return not reply.ok or any(not time.isdigit() or int(time) >= screen.job_ended_s for time in times)

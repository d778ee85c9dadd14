"""sane-capture-pane: what a pane shows, and what scrolled away above it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.core.target import parse_target
from sane.errors import NotFoundError, UsageError
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer, text_of
from sane.verbs.registry import verb

FORMAT = "#{cursor_y} #{cursor_x} #{pane_width} #{pane_height} #{history_size}"


@dataclasses.dataclass(frozen=True)
class Cursor:
    """Tell where the cursor is on the screen; both count from 1."""

    row: int
    column: int


@dataclasses.dataclass(frozen=True)
class Size:
    """Tell the size of the screen, in cells."""

    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class CapturedPane:
    """Answer with plain text, a line a row; `history_lines` of them come before the first row of the screen.

    `history_size` is how many lines there are above the screen.
    """

    pane: str
    content: str
    history_lines: int
    cursor: Cursor
    size: Size
    history_size: int


@verb(access="read", example="sane-capture-pane work:0.1 200")
async def capture_pane(
    ctx: Context,
    target: Annotated[str, "the pane"],
    lines: Annotated[int, "so many of the lines that scrolled away, too"] = 0,
    *,
    join: Annotated[bool, "put the rows of a wrapped line together; then blanks at its end stay"] = False,
) -> CapturedPane:
    """Answer what a pane shows, whatever runs there, without typing into it.

    As tmux has it: blanks at the end of a row are left out, and so are empty rows at the end.
    Raises NotFoundError.
    """
    parsed = parse_target(target)
    if parsed.pane is None:
        raise UsageError(f"'{target}' is no pane", hint="Write SESSION[:WINDOW[.PANE]], %ID or ssh:HOST/SESSION.")
    server = TmuxServer(await ctx.machine(parsed.host))
    pane = (await server.find_pane(parsed.pane)).pane_id
    facts = await server.run("display-message", "-p", "-t", pane, FORMAT)
    flags = ("-pJ",) if join else ("-p",)
    shown = await server.run("capture-pane", *flags, "-S", f"-{lines}" if lines else "0", "-t", pane)
    numbers = [int(word) for word in text_of(facts.stdout).split()]
    if shown.exit_code != 0 or len(numbers) != 5:
        raise NotFoundError(f"Pane '{target}' does not exist")  # it went away meanwhile
    row, column, width, height, history_size = numbers
    content = text_of(shown.stdout).rstrip("\n")
    above = min(lines, history_size)
    return CapturedPane(
        pane, f"{content}\n" if content else "", above, Cursor(row + 1, column + 1), Size(width, height), history_size
    )

"""Whether output is lacking where tmux ended our client and another one was attached: the pane itself shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sane.core.pane.framing import END, EXIT, shown_text

if TYPE_CHECKING:
    from sane.transports.exchange import Exchange

MOST_BYTES = 64 * 1024  # of output, for the look to be worth its time
ROW_BYTES = 10  # a row of the narrowest pane holds so much of a line
LOOKS = 3
NO_WIDTH = 1 << 16


async def shows_all(exchange: Exchange) -> bool:
    """Return whether the pane shows, behind the line with the command, what was read of its output and nothing more.

    Colours and the like are not compared. What a command writes unseen is counted at its end in any case.
    """
    if exchange.command.unseen:
        return True
    for _ in range(LOOKS):
        count = exchange.client.output_count
        if await _shows_all(exchange):
            return True
        if exchange.client.output_count == count:
            break  # else more was printed while it was looked at
    return False


async def _shows_all(exchange: Exchange) -> bool:
    from sane.core.pane.rendering import Rendering

    output = exchange.reader.output
    rows = output.count(b"\n") + len(output) // ROW_BYTES + 100
    (shot,) = await exchange.client.ask(f"capture-pane -p -J -t {exchange.pane_id} -S -{rows}")
    exchange.take()
    output = exchange.reader.output
    if exchange.nested or not exchange.reader.started or len(output) > MOST_BYTES:
        return False
    rendering = Rendering(NO_WIDTH)
    rendering.feed(output.decode("utf-8", "replace").replace("\n", "\r\n"))
    ended = exchange.reader.find(END, EXIT) is not None
    shown = exchange.command.display or exchange.command.script
    return stands_behind(shown_text(shown), rendering.lines(), shot.lines, more=ended)


def stands_behind(command: str, output: list[str], screen: list[str], *, more: bool) -> bool:
    """Return whether lines of output stand on a screen behind the last line of a command; `more` may come then."""
    last = command.rpartition("\n")[2].rstrip()
    wanted, shown = _trimmed(output), _trimmed(screen)
    for at in range(len(shown) - 1, -1, -1):
        if shown[at].endswith(last):
            behind = shown[at + 1 :]
            if (behind[: len(wanted)] if more else behind) == wanted:
                return True
    return False


def _trimmed(lines: list[str]) -> list[str]:
    """Return lines without blanks at their ends, and without empty ones at the end."""
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines

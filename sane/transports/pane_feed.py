"""Send a command in a pane what it reads, a piece for each that its receiver there asks for."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NoReturn

from sane.core.pane.files import feed_pieces
from sane.core.pane.framing import CORRUPT, END, EXIT, FEED, INTERRUPTED
from sane.errors import LostError, PaneError
from sane.transports.control_mode import tmux_word

if TYPE_CHECKING:
    from sane.transports.exchange import Exchange

DRAINED_WAIT_S = 1.0  # for the receiver to take in what was still on its way


async def feed(exchange: Exchange, stdin: bytes, deadline: float) -> None:
    """Send the command what it reads, a piece for each FEED mark and one ahead; it begins once all is there.

    Raises LostError when the way to the pane is lost meanwhile: then it is not run.
    """
    exchange.feeding, gaps = True, exchange.gaps
    await remember_receiving(exchange)
    for number, piece in enumerate(feed_pieces(stdin)):
        if number != 1:
            mark = await exchange.wait_for(deadline, FEED, CORRUPT, INTERRUPTED, END, EXIT, notice_prompt=True)
            if exchange.gaps != gaps or (mark is None and exchange.client.closed):
                raise LostError("tmux ended our client while it sent what the command reads", phase="command")
            if mark is None:
                return
            if mark.kind != FEED:
                break
            exchange.reader.marks.remove(mark)
        await exchange.paste(piece)
        exchange.unread_bytes = 2 * len(piece)
    exchange.feeding, exchange.unread_bytes = False, 0
    await forget_receiving(exchange)


async def refuse_mixed(exchange: Exchange, deadline: float) -> NoReturn:
    """Raise PaneError for a command whose receiver counted more than was sent."""
    await exchange.wait_for(min(deadline, time.monotonic() + DRAINED_WAIT_S), END, EXIT)
    raise PaneError(
        f"keys pressed in pane {exchange.pane.name} mixed with what the command was to read; it was not run",
        hint="Try again when nobody types there.",
    )


async def remember_receiving(exchange: Exchange) -> None:
    """Note on the pane who sends something to a receiver there: one that dies meanwhile leaves it waiting."""
    who = tmux_word(f"{os.uname().nodename} {os.getpid()}")
    await exchange.client.send(f"set-option -p -t {exchange.pane_id} @sane-feed {who}")


async def forget_receiving(exchange: Exchange) -> None:
    """Take that note away."""
    await exchange.client.send(f"set-option -pu -t {exchange.pane_id} @sane-feed")


async def left_receiving(exchange: Exchange) -> bool:
    """Return whether a receiver waits in the pane whose caller on this machine has died. Ask with the pane's lock held:
    then it can't be a living call of this process."""
    (reply,) = await exchange.client.ask(f"show-options -pqv -t {exchange.pane_id} @sane-feed")
    node, _, pid = (reply.lines[0] if reply.ok and reply.lines else "").rpartition(" ")
    if node != os.uname().nodename or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False

"""sane-send-keys: press keys in a pane, whatever runs there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

from sane.core.target import parse_target
from sane.errors import RemoteError, UsageError
from sane.primitives._pane import elapsed_ms, timestamp_now
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer, text_of
from sane.verbs.registry import verb

CALL_CHARACTERS = 3000  # tmux takes 16 KB of words in one message; a character takes 4 bytes at most
SETTLED_S, LONGEST_S = 0.06, 1.0  # the screen unchanged for so long counts as the answer; looked at for so long at most


@dataclasses.dataclass(frozen=True)
class SentKeys:
    """Answer with the screen as it was once it had settled; `left_mode` is what the pane was taken out of."""

    status: str
    output: str
    duration_ms: float
    timestamp: str
    left_mode: str | None = None


@verb(access="write", destructive=True, idempotent=False, example="sane-send-keys work:0.1 C-c")
async def send_keys(
    ctx: Context,
    target: Annotated[str, "the pane"],
    keys: Annotated[list[str], "text, or names of keys as tmux has them: Enter, C-c, Up, Space"],
) -> SentKeys:
    """Press keys in a pane and answer what the screen shows then.

    They are for the program there: a pane in copy mode or another mode of tmux, which would take them, leaves it first.
    Raises NotFoundError; PaneError for a dead pane; RemoteError with what tmux said.
    """
    started = time.monotonic()
    parsed = parse_target(target)
    if parsed.pane is None:
        raise UsageError(f"'{target}' is no pane", hint="Write SESSION[:WINDOW[.PANE]], %ID or ssh:HOST/SESSION.")
    if not keys:
        raise UsageError("no keys were given")
    machine = await ctx.machine(parsed.host)
    server = TmuxServer(machine)
    info = await server.find_pane(parsed.pane)
    if info.dead:
        from sane.transports.pane_state import dead_pane

        raise dead_pane(target)
    pane = info.pane_id
    left = await _leave_mode(server, pane)
    for words in calls_for(keys):
        done = await server.run("send-keys", "-t", pane, *words)
        if done.exit_code != 0:
            raise RemoteError(f"the keys were not taken: {text_of(done.stderr).strip()}")
    screen, since = "", time.monotonic()
    while time.monotonic() - started < LONGEST_S:
        await machine.sleep(0.02)
        shot = await server.run("capture-pane", "-p", "-t", pane)
        if shot.exit_code != 0:
            break  # the keys ended the pane
        now = text_of(shot.stdout)
        if now != screen:
            screen, since = now, time.monotonic()
        elif time.monotonic() - since >= SETTLED_S:
            break
    return SentKeys("sent", screen.rstrip("\n"), elapsed_ms(started), timestamp_now(), left or None)


def calls_for(keys: Sequence[str]) -> Iterator[list[str]]:
    """Return the words of each `send-keys` that presses its share of the keys: tmux takes no more than so much at once.

    What is too long for one is text, as no key has such a name, and no piece of it is taken for a key's name either.
    """
    words, left = list[str](), CALL_CHARACTERS
    for key in keys:
        if words and len(key) >= left:
            yield ["--", *words]
            words, left = [], CALL_CHARACTERS
        if len(key) < CALL_CHARACTERS:
            words.append(key)
            left -= len(key) + 1
            continue
        for at in range(0, len(key), CALL_CHARACTERS):
            yield ["-l", "--", key[at : at + CALL_CHARACTERS]]
    if words:
        yield ["--", *words]


async def _leave_mode(server: TmuxServer, pane: str) -> str:
    """Take a pane out of every mode and return the name of the one it was in; "" for none."""
    mode = text_of((await server.run("display-message", "-p", "-t", pane, "#{pane_mode}")).stdout).strip()
    if mode:
        left = await server.run("copy-mode", "-q", "-t", pane)
        if left.exit_code != 0:  # before tmux 3.2
            await server.run("send-keys", "-t", pane, "-X", "cancel")
    return mode

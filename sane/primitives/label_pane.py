"""sane-label-pane: give a pane a name people use."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Annotated

from sane.errors import UsageError
from sane.primitives._contexts import contexts_path, find_subject, read_entry, write_entry
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class LabeledPane:
    """Answer `labeled`, or `created_with_label` where nothing was known of the pane before."""

    status: str
    pane: str
    label: str


@verb(access="write", example="sane-label-pane work:0.1 build")
async def label_pane(
    ctx: Context, target: Annotated[str, "the pane"], label: Annotated[str, "its new name, on one line"]
) -> LabeledPane:
    """Give a pane a label, kept in the context database and on the pane itself, where sane-list-panes shows it.

    Raises NotFoundError, UsageError.
    """
    if not label.strip() or not label.isprintable():
        raise UsageError(f"{label!r} can't be a label", hint="A label is printable text on one line.")
    subject = await find_subject(ctx, target)
    if subject.pane is None:
        raise UsageError(f"'{target}' is no pane")
    server = TmuxServer(await ctx.machine(subject.target.host))
    await server.ask("set-option", "-p", "-t", subject.pane.pane_id, "@sane-label", label)
    path = contexts_path(ctx.state_dir, os.environ)
    fresh = read_entry(path, subject) is None
    write_entry(path, subject, {"label": label}, time.time(), fresh=fresh)
    return LabeledPane("created_with_label" if fresh else "labeled", target, label)

"""sane-label-pane: give a pane a name people use."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

from sane.errors import UsageError
from sane.primitives._contexts import contexts_path, find_subject, read_entry, record, refuse_label
from sane.transports.context import Context
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
    refuse_label(label)
    subject = await find_subject(ctx, target)
    if subject.pane is None:
        raise UsageError(f"'{target}' is no pane")
    known = read_entry(contexts_path(ctx.state_dir, os.environ), subject) is not None
    await record(ctx, subject, {"label": label})
    return LabeledPane("labeled" if known else "created_with_label", target, label)

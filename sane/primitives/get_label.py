"""sane-get-label: the name people gave a pane."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.errors import UsageError
from sane.primitives._contexts import find_subject
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class PaneLabel:
    """Answer `found` with the label, or `no_label`."""

    status: str
    pane: str
    label: str | None = None


@verb(access="read", example="sane-get-label work:0.1")
async def get_label(ctx: Context, target: Annotated[str, "the pane"]) -> PaneLabel:
    """Answer a pane's label, whoever gave it: sane-label-pane, sane-context-database or sane-detect-ssh.

    Raises NotFoundError, UsageError.
    """
    subject = await find_subject(ctx, target)
    if subject.pane is None:
        raise UsageError(f"'{target}' is no pane")
    label = subject.pane.label
    return PaneLabel("found" if label else "no_label", target, label or None)

"""sane-context-database: remember what is known about a pane or a host."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from sane.errors import NotFoundError, UsageError
from sane.primitives._contexts import (
    contexts_path,
    find_subject,
    forget,
    read_entry,
    record,
    refuse_label,
    sweep,
)
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer
from sane.verbs.registry import verb

Mode = Literal["bash", "raw"]
Operation = Literal["create", "read", "update", "delete", "list"]


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """Answer an operation; `status` is created, found, updated, deleted, listed or not_found."""

    status: str
    pane: str | None = None
    context: dict[str, Any] | None = None
    contexts: list[dict[str, Any]] | None = None


@verb(access="write", destructive=True, example="sane-context-database create work:0.1 --platform Linux --mode bash")
async def context_database(
    context: Context,
    operation: Annotated[Operation, "what to do"],
    target: Annotated[str | None, "the pane or host; not for list"] = None,
    *,
    platform: Annotated[str | None, "its platform, as `uname -s` has it"] = None,
    mode: Annotated[Mode | None, "what takes input there, as detect-mode has it"] = None,
    current_dir: Annotated[str | None, "where its shell is"] = None,
    label: Annotated[str | None, "a name people gave it, on the pane itself too; empty takes it away"] = None,
) -> ContextAnswer:
    """Create, read, update, delete or list what is known about panes; safe under concurrent callers.

    Entries of dead panes are dropped, and stale ones (5 minutes) take their directory from tmux again.
    Raises NotFoundError for a pane that does not exist.
    """
    path, now_s = contexts_path(context.state_dir, os.environ), time.time()
    if operation == "list":
        panes = await TmuxServer(await context.machine(None)).list_panes()
        return ContextAnswer("listed", contexts=list((await sweep(path, panes, now_s)).values()))
    if not target:
        raise UsageError(f"{operation} needs a target")
    if label:
        refuse_label(label)
    subject = await find_subject(context, target)
    given = {"platform": platform, "mode": mode, "current_dir": current_dir, "label": label}
    fields: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if subject.pane is not None:
        await sweep(path, subject.panes, now_s, subject.target.host)
        if subject.pane.dead:
            raise NotFoundError(f"Pane '{target}' does not exist: its program has ended, and tmux shows what it left")
    if operation == "create":
        return ContextAnswer("created", target, await record(context, subject, fields, fresh=True))
    if operation == "delete":
        entry = await forget(context, subject)
        known = entry is not None or (subject.pane is not None and subject.pane.label)
        return ContextAnswer("deleted" if known else "not_found", target, entry)
    entry = read_entry(path, subject)
    if entry is None:
        return ContextAnswer("not_found", target)
    if operation == "update":
        return ContextAnswer("updated", target, await record(context, subject, fields))
    return ContextAnswer("found", target, entry)

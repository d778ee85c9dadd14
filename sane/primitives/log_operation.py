"""sane-log-operation: note one operation in the friction log."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime
from typing import Annotated

from sane.primitives._friction import append_line, log_path
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class LoggedOperation:
    """Answer with the entry as it is in the log, and where that is."""

    status: str
    log_file: str
    timestamp: str
    event: str
    command: str | None
    platform: str | None
    validation: str | None
    reason: str | None
    exit_code: int | None
    duration_ms: float | None


@verb(access="write", idempotent=False, example="sane-log-operation --event command_run --command 'make' --exit-code 2")
async def log_operation(
    context: Context,
    *,
    event: Annotated[str, "what happened, one word of your own"],
    command: Annotated[str | None, "the command it was about"] = None,
    platform: Annotated[str | None, "where, as `uname -s` has it"] = None,
    validation: Annotated[str | None, "what a check before it said: passed, failed, …"] = None,
    reason: Annotated[str | None, "why it failed"] = None,
    exit_code: Annotated[int | None, "its exit code"] = None,
    duration_ms: Annotated[float | None, "how long it took"] = None,
    log_file: Annotated[str | None, "another log than ~/.tmux-sane/friction.jsonl"] = None,
) -> LoggedOperation:
    """Append one JSON line to the friction log and answer it. Raises RemoteError when the log can't be written."""
    path = log_path(log_file, os.environ)
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    logged = LoggedOperation(
        "logged", str(path), moment, event, command, platform, validation, reason, exit_code, duration_ms
    )
    about = ("status", "log_file")
    entry = {name: value for name, value in vars(logged).items() if value is not None and name not in about}
    append_line(path, entry, make_folder=path == log_path(None, os.environ))
    return logged

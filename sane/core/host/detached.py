"""Steps that outlive the connection that started them: the shell text, as data, and the reading of its answers.

On the host each operation has a directory, `$HOME/.sane/operations/ID` (`SANE_HOST_DIR` in place of `$HOME/.sane`):

    script    what was asked for
    pid       process id and start time of the wrapper, as the host's kernel counts it
    output    what the step wrote (detached only; in a pane it goes to the pane)
    done      a FIFO the wrapper holds open: its end is the end of the wrapper, even under kill -9
    receipt   one JSON line, written whole by rename: operation, pid, started_at, finished_at, exit_code, digest

`mkdir` of the directory is the claim: it succeeds once, so an operation is started at most once. The room for the
receipt is reserved before the step runs, so a disk that the step fills can't swallow the proof of it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sane.core.command import Command
from sane.core.host.detached_scripts import ATTACH, FOREGROUND, FUNCTIONS, LAUNCH, REPORT, STOP
from sane.core.strict_json import parse_document, whole
from sane.errors import UsageError

ALREADY_STARTED = 97  # the operation's directory was there: inspect before anything else
NOT_STARTED = 98  # the claim or the script could not be written: nothing ran
FENCED = 96  # a newer holder of the lease was here: nothing ran

MAX_NAME = 90  # of an operation; a digest and the number of an attempt come behind it
_OPERATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True, slots=True)
class Operation:
    """Name one step on one host: `id` is unique for ever.

    `lease` and `token` fence off a controller that lost its lease.
    Raises UsageError for an id that could leave its directory.
    """

    id: str
    script: str
    digest: str = ""
    lease: str = ""
    token: int = 0

    def __post_init__(self) -> None:
        for name, value in (("operation id", self.id), ("lease", self.lease or "-x"[1:])):
            if not _OPERATION_ID.fullmatch(value):
                raise UsageError(f"{name} '{value}' may hold letters, digits, '.', '_' and '-' only, 121 at most")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Hold a host's own proof of an operation; times are epoch seconds by the host's clock."""

    operation: str
    pid: int
    started_at: int
    finished_at: int
    exit_code: int
    digest: str


OperationState = Literal["finished", "running", "absent", "ambiguous"]


def operation_id(name: str) -> str:
    """Return the id of an operation of that name: the name itself, or its start and a digest where it can't be one."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe == name and len(name) <= MAX_NAME:
        return name
    return f"{safe[:MAX_NAME]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def launch(operation: Operation, *, env: Mapping[str, str], cwd: str | None, timeout_s: float | None) -> Command:
    """Return the command that starts an operation detached, waits for it and answers its output and exit code."""
    return _command(LAUNCH, operation, env, cwd, timeout_s, {"SANE_FUNCTIONS": FUNCTIONS})


def launch_in_pane(
    operation: Operation, *, env: Mapping[str, str], cwd: str | None, timeout_s: float | None
) -> Command:
    """Return the command that runs an operation in the foreground of a pane and leaves a receipt."""
    return _command(FOREGROUND, operation, env, cwd, timeout_s, {}, display=operation.script)


def inspect(operation_id: str) -> Command:
    """Return the command that says what became of an operation; read its output with `parse_inspection`."""
    return _command(REPORT, Operation(operation_id, ""), {}, None, 15.0, {})


def attach(operation_id: str, *, timeout_s: float | None) -> Command:
    """Return the command that waits for a running operation and answers its output and exit code."""
    return _command(ATTACH, Operation(operation_id, ""), {}, None, timeout_s, {})


def stop(operation_id: str) -> Command:
    """Return the command that ends a running operation with everything it started: TERM, then KILL after a second."""
    return _command(STOP, Operation(operation_id, ""), {}, None, 15.0, {})


def parse_inspection(output: bytes) -> tuple[OperationState, Receipt | None]:
    """Return the state of an operation and its receipt; anything that can't be read is `ambiguous`."""
    first, _, rest = output.decode("utf-8", "replace").partition("\n")
    word = first.strip()
    if word == "finished":
        receipt = parse_receipt(rest)
        return ("finished", receipt) if receipt is not None else ("ambiguous", None)
    if word == "running":
        return "running", None
    return ("absent", None) if word == "absent" else ("ambiguous", None)


def parse_receipt(text: str) -> Receipt | None:
    """Return the receipt that `text` holds, None when it is not one."""
    try:
        value = parse_document(text.encode())
        return Receipt(
            operation=str(value["operation"]),
            pid=whole(value["pid"]),
            started_at=whole(value["started_at"]),
            finished_at=whole(value["finished_at"]),
            exit_code=whole(value["exit_code"]),
            digest=str(value["digest"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _command(
    text: str,
    operation: Operation,
    env: Mapping[str, str],
    cwd: str | None,
    timeout_s: float | None,
    extra: Mapping[str, str],
    display: str | None = None,
) -> Command:
    values = {
        **env,
        "SANE_OPERATION": operation.id,
        "SANE_SCRIPT": operation.script,
        "SANE_DIGEST": operation.digest,
        "SANE_LEASE": operation.lease,
        "SANE_TOKEN": str(operation.token),
        **extra,
    }
    # The login shell may be any; the text is for a POSIX one.
    return Command(
        f"exec sh -c {shlex.quote(text)}",
        cwd=cwd,
        env=values,
        timeout_s=timeout_s,
        display=display,
        outlives_caller=True,  # it starts what goes on, and is not to be cut off while it does
    )

"""Every error that sane raises, in one tree.

    SaneError
    ├── UsageError             what was asked for is wrong; nothing was touched
    │   ├── ConfigError        a file is wrong: names the file, the line and the nearest valid name
    │   ├── NotFoundError      a session, pane, host, deployment or verb that does not exist
    │   └── InvalidError       a request over HTTP whose fields are wrong
    ├── ConflictError          the state moved on, or somebody else holds the lease
    ├── AccessError            the caller's tier or scope does not allow it
    │   └── UnknownCallerError   no credential, or none that is valid
    ├── TransportError         the way to a target failed; names the phase in which it did
    │   ├── UnreachableError   no connection, no banner, refused, timed out
    │   ├── AuthError          the host refused the user, or we refuse the host's key
    │   └── LostError          the connection went away inside a step: what happened there is unknown
    ├── PaneError              a pane exists but can't take a command now
    │   └── UndrawnError       … and the shell in it has drawn no prompt: it starts, or comes from its last command
    ├── RemoteError            the target answered, and its answer is a failure of the operation itself
    ├── UnavailableError       a breaker is open, a budget is spent, or a limit is reached
    │   └── LimitError         too many at once; others have the places
    ├── StoreError             the event log can't be read or written: full disk, damaged file, lost database
    └── InterruptedRunError    ended before it finished; can be resumed
        └── StoppedRunError    … by the person at the keyboard

A non-zero exit and a timeout of a command are results, never errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """Describe one mistake in a file: `line` and `column` are 1-based, 0 when unknown."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    @property
    def text(self) -> str:
        """Return `file:line: message`, as editors and people read it."""
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return place + self.message


class SaneError(Exception):
    """Say what failed, where, why and what to do next.

    `code` is stable and machine-readable; `hint` is one sentence on what to do next, or empty.
    """

    code = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SaneError):
    """Refuse a request that is wrong; nothing was touched."""

    code = "usage"


class ConfigError(UsageError):
    """Refuse a file, naming it and the line (1-based, 0 when unknown).

    `problems` holds every mistake that was found; the message shows the first and lists the next ones, 20 in all.
    """

    code = "config"

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        problem = Problem(message, file, line, column, hint)
        super().__init__(problem.text, hint=hint)
        self.file = file
        self.line = line
        self.problems: tuple[Problem, ...] = (problem,)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ConfigError:
        """Return one error for all the mistakes of a file; there must be at least one."""
        first = problems[0]
        error = cls(first.message, file=first.file, line=first.line, column=first.column, hint=first.hint)
        error.problems = tuple(problems)
        listed = [problem.text for problem in problems[1:20]]
        if len(problems) > 20:
            listed.append(f"and {len(problems) - 20} more")
        error.message = "\n".join([error.message, *listed])
        error.args = (error.message,)
        return error


class NotFoundError(UsageError):
    """Refuse a name that does not exist."""

    code = "not_found"


class InvalidError(UsageError):
    """Refuse a request whose fields are wrong, naming them."""

    code = "invalid"


class ConflictError(SaneError):
    """Refuse because the state moved on, or somebody else holds it."""

    code = "conflict"


class AccessError(SaneError):
    """Refuse because the caller's tier or scope does not allow it."""

    code = "access"


class UnknownCallerError(AccessError):
    """Refuse a caller without a valid credential."""

    code = "unauthenticated"


class TransportError(SaneError):
    """Report that the way to a target failed.

    `phase` is one of connect, banner, login, command, transfer.
    """

    code = "transport"

    def __init__(self, message: str, *, phase: str = "connect", host: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.phase = phase
        self.host = host


class UnreachableError(TransportError):
    """Report a host that can't be reached: nothing ran there."""

    code = "unreachable"


class AuthError(TransportError):
    """Report that the host refused the user, or that its key is not the known one."""

    code = "auth"


class LostError(TransportError):
    """Report a connection lost inside a step: what happened on the host is unknown."""

    code = "lost"


class PaneError(SaneError):
    """Report a pane that exists but can't take a command now (busy, dead, somebody is typing)."""

    code = "pane"


class UndrawnError(PaneError):
    """Report a pane whose shell has drawn no prompt: it starts, or comes from its last command."""


class RemoteError(SaneError):
    """Report that the target carried an operation out and it failed there."""

    code = "remote"


class UnavailableError(SaneError):
    """Report that a breaker is open, a budget spent or a limit reached."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class LimitError(UnavailableError):
    """Refuse because all places are taken."""

    code = "limit"


class StoreError(SaneError):
    """Report that the event log can't be opened, read or written."""

    code = "store"


class InterruptedRunError(SaneError):
    """Report work that ended before it finished and can be resumed."""

    code = "interrupted"


class StoppedRunError(InterruptedRunError):
    """Report work that the person at the keyboard stopped at once; it can be resumed."""

    code = "stopped"


# code -> (exit status, HTTP status, retryable by a caller). The one table every surface reads.
STATUS: dict[str, tuple[int, int, bool]] = {
    "internal": (1, 500, False),
    "usage": (2, 400, False),
    "config": (2, 422, False),
    "not_found": (2, 404, False),
    "invalid": (2, 422, False),
    "conflict": (7, 409, True),
    "access": (2, 403, False),
    "unauthenticated": (2, 401, False),
    "transport": (4, 502, True),
    "unreachable": (4, 502, True),
    "auth": (4, 502, False),
    "lost": (4, 502, False),
    "pane": (4, 409, True),
    "remote": (4, 502, False),
    "unavailable": (4, 503, True),
    "limit": (4, 429, True),
    "store": (4, 503, False),
    "interrupted": (9, 503, True),
    "stopped": (130, 503, True),
}


def exit_status(error: BaseException) -> int:
    """Return the exit status of the process for an error: 1 for a defect of sane itself, 130 for Ctrl-C."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return STATUS[error.code][0] if isinstance(error, SaneError) else 1


def of_this_machine(error: OSError) -> UnavailableError:
    """Return what to tell of an OSError that nothing expected: a full disk, a directory that may not be written."""
    place = f" ({error.filename})" if error.filename else ""
    return UnavailableError(f"this machine can't do that: {error.strerror or error}{place}")

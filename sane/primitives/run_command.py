"""sane-run-command: run one command on a target and answer what it printed and its exit code."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

from sane.core.command import Command, CommandResult
from sane.core.syntax_risk import worth_checking
from sane.core.target import Target, parse_target
from sane.errors import UnreachableError
from sane.transports.base import Transport
from sane.transports.context import Context
from sane.verbs.registry import verb

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 8.0
TRANSIENT_EXIT_CODES = frozenset(
    {75, 255}
)  # EX_TEMPFAIL of sysexits(3); what ssh itself exits with when it can't connect
CHECK_TIMEOUT_S = 5.0
SYNTAX_EXIT_CODES = frozenset({1, 2, 3})  # of `-n`: zsh; bash, dash and busybox; ksh
TRANSIENT_TEXTS = (
    b"connection refused",
    b"connection reset",
    b"connection timed out",
    b"operation timed out",  # the same of curl, and of a BSD
    b"temporarily unavailable",
    b"temporary failure",
    b"could not resolve host",  # not `could not resolve dependencies`
    b"no route to host",
    b"network is unreachable",
    b"try again later",  # a test's `wrong answer, try again` is no fault of a network
)
BEFORE_COMMAND = frozenset({"connect", "banner", "login"})  # phases in which nothing has run yet


@dataclasses.dataclass(frozen=True)
class RanCommand:
    """Answer a run. `exit_code` is absent where it can't be known; `output_base64` is there when `output` lost bytes.

    `total_duration_ms` is the time of all attempts with the pauses between them. `mode` is `raw` where an interpreter
    or a network device took the command: no exit code is known there.
    """

    output: str
    exit_code: int | None
    duration_ms: float
    attempts: int = 1
    retried: bool = False
    timed_out: bool = False
    total_duration_ms: float | None = None
    error: str | None = None
    stderr: str | None = None
    pane_gone: bool | None = None
    pane_ready: bool | None = None
    truncated: bool | None = None
    output_base64: str | None = None
    mode: str | None = None


@verb(access="write", destructive=True, idempotent=False, example="sane-run-command work:0.1 'uname -a'")
async def run_command(
    ctx: Context,
    target: Annotated[str, "SESSION[:WINDOW[.PANE]], %ID, local:, ssh:HOST or ssh:HOST/SESSION[:W[.P]]"],
    command: Annotated[str, "shell text for the target's own shell"],
    timeout_s: Annotated[float, "seconds until it is interrupted, more than 0"] = 30.0,
    max_retries: Annotated[int, "how often to try again after a transient failure"] = 0,
) -> RanCommand:
    """Run a command on a target and answer its output and exit code.

    A command that the target's shell can't parse is not sent: the answer has `error`. A timeout interrupts it and
    answers 124. Raises UsageError for a timeout of 0, NotFoundError, PaneError, TransportError.
    """
    parsed = parse_target(target)
    started, attempt = time.monotonic(), 0
    while True:
        attempt += 1
        try:
            result = await _try(ctx, parsed, Command(command, timeout_s=timeout_s, raw_ok=True))
        except UnreachableError as error:
            if error.phase not in BEFORE_COMMAND or attempt > max_retries:
                raise _after(attempt, error) from error.__cause__
        else:
            if isinstance(result, str):
                return RanCommand("", None, 0.0, attempts=0, error=f"syntax error, nothing was sent: {result}")
            if attempt > max_retries or not is_transient(result):
                return answer_of(result, attempt, (time.monotonic() - started) * 1000)
        pause_s = min(FIRST_BACKOFF_S * 2 ** (attempt - 1), LAST_BACKOFF_S)
        ctx.report(f"attempt {attempt} failed, trying again in {pause_s:g} s")
        await (await ctx.machine(None)).sleep(pause_s)


async def _try(ctx: Context, target: Target, command: Command) -> CommandResult | str:
    """Return what came of a command; what the target's shell can't parse in it where nothing was sent."""
    transport = await ctx.transport(target)
    on_host = target.host is not None and target.pane is None
    said = await _check_syntax(ctx, transport, command.script, on_host=on_host)
    return await transport.run(command) if said is None else said


def _after(attempts: int, error: UnreachableError) -> UnreachableError:
    """Return an error that tells how often it was tried; a new one, as callers at the same time share the first."""
    if attempts == 1:
        return error
    message = f"{error.message} ({attempts} attempts)"
    return UnreachableError(message, phase=error.phase, host=error.host, hint=error.hint)


async def _check_syntax(ctx: Context, transport: Transport, command: str, *, on_host: bool) -> str | None:
    """Return what the target's shell can't parse in a command; None where it can, or where that can't be known.

    A host has its own shell, and asking it is a round trip: only what bash here can't parse is worth one.
    """
    shell: str = getattr(transport, "shell", "")
    if not worth_checking(command) or not (shell or on_host):
        return None
    from sane.transports.shell_syntax import syntax_error

    said = await syntax_error(await ctx.machine(None), shell or "bash", command)
    if said is None or shell:
        return said
    script = command.encode("utf-8", "surrogateescape") + b"\n"
    there = await transport.run(Command('exec "$SHELL" -n', stdin=script, timeout_s=CHECK_TIMEOUT_S))
    errors = there.stderr.decode("utf-8", "replace").strip()
    return errors or said if there.exit_code in SYNTAX_EXIT_CODES else None


def is_transient(result: CommandResult) -> bool:
    """Return whether trying again may help: a timeout, an exit code that says so, or a network's complaint."""
    if result.exit_code in (0, None) or result.mode or result.pane_gone or not result.pane_ready:
        return False
    if result.timed_out or result.exit_code in TRANSIENT_EXIT_CODES:
        return True
    tail = (result.output + result.stderr)[-4096:].lower()
    return any(text in tail for text in TRANSIENT_TEXTS)


def answer_of(result: CommandResult, attempts: int, total_ms: float) -> RanCommand:
    """Return a result as the answer; fields that say nothing new are left out."""
    lossless = True
    try:
        result.output.decode("utf-8")
    except UnicodeDecodeError:
        lossless = False
    return RanCommand(
        output=result.text,
        exit_code=result.exit_code,
        duration_ms=round(result.duration_ms, 3),
        attempts=attempts,
        retried=attempts > 1,
        timed_out=result.timed_out,
        total_duration_ms=round(total_ms, 3) if attempts > 1 else None,
        error=_error_of(result),
        stderr=result.stderr.decode("utf-8", "replace") if result.stderr else None,
        pane_gone=result.pane_gone or None,
        pane_ready=False if not result.pane_ready else None,
        truncated=result.truncated or None,
        output_base64=None if lossless else _base64(result.output),
        mode=result.mode or None,
    )


def _error_of(result: CommandResult) -> str | None:
    if result.timed_out and result.pane_gone:
        return "it timed out, and Ctrl-C ended what ran in the pane: the pane has gone"
    if result.timed_out and not result.pane_ready:
        return "it timed out, and Ctrl-C did not bring the prompt back: the pane is still busy"
    if result.note or result.mode:
        return result.note or None
    if result.exit_code is None:
        return "the pane or its shell went away before it said how the command ended"
    return None


def _base64(data: bytes) -> str:
    import binascii

    return binascii.b2a_base64(data, newline=False).decode()

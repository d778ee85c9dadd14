"""sane-validate-bash: does a text parse as bash?"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated

from sane.core.command import Command
from sane.core.target import parse_target
from sane.errors import RemoteError
from sane.primitives._tool_flags import commands_in
from sane.primitives.get_tool import is_tool_name
from sane.transports.base import Transport
from sane.transports.context import Context
from sane.verbs.registry import verb

NO_BASH_EXIT_CODE = 127
COMPLAINT = re.compile(r"^(?:bash|/\S+|sh)(?:: -c)?: line (\d+): (.*)$")
NEAR = re.compile(r"(?:near unexpected token|while looking for matching) [`']+(.+?)'(?:$|[^'])")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer whether a text is valid; `line` and `column` count from 1, and are None where it is. `missing`: the
    commands that the target has not."""

    valid: bool
    error: str | None = None
    line: int | None = None
    column: int | None = None
    missing: list[str] | None = None


@verb(access="read", example="sane-validate-bash 'for f in *; do echo $f; done'", ok=lambda answer: True)
async def validate_bash(
    context: Context,
    text: Annotated[str, "the script"],
    *,
    target: Annotated[str, "whose bash to ask"] = "local:",
    commands: Annotated[bool, "also check that the target has the commands it calls"] = False,
    timeout_s: Annotated[float, "how long it may take"] = 10.0,
) -> Verdict:
    """Check the syntax of a bash script without running it. Raises RemoteError where there is no bash to ask."""
    transport = await context.transport(parse_target(target))
    verdict = await check_bash(transport, text, timeout_s)
    if not commands or not verdict.valid:
        return verdict
    missing = await missing_commands(transport, text, timeout_s)
    if not missing:
        return verdict
    return replace(verdict, valid=False, error=f"{target} does not have {', '.join(missing)}", missing=missing)


async def missing_commands(transport: Transport, text: str, timeout_s: float = 10.0) -> list[str]:
    """Return which of the commands that a script calls the target's shell does not know, as program, function or else.

    Only what surely is a command is looked for: a script with a here-document, `case` or `[[` is taken as it is.
    """
    names = [name for name in commands_in(text) if is_tool_name(name)]
    if not names:
        return []
    script = "; ".join(f"type {name} >/dev/null 2>&1 || printf '%s\\n' {name}" for name in names)
    result = await transport.run(Command(script, timeout_s=timeout_s, display="sane-validate-bash --commands"))
    if result.timed_out or result.exit_code is None:
        raise RemoteError("the shell did not say which commands it has (timeout)", hint="Give it a longer --timeout.")
    return [name for name in names if name in result.text.split()]


async def check_bash(transport: Transport, text: str, timeout_s: float = 10.0) -> Verdict:
    """Return bash's own verdict on a script, with the line and column of its first complaint."""
    if (at := text.find("\0")) >= 0:  # bash leaves it out when it reads; no argument can hold it
        line = text.count("\n", 0, at) + 1
        return Verdict(False, "a script can't hold a NUL character", line, at - text.rfind("\n", 0, at))
    command = Command(
        "env LC_ALL=C bash --norc --noprofile -n 2>&1",
        stdin=text.encode("utf-8", "surrogateescape") + b"\n",
        timeout_s=timeout_s,
        display="sane-validate-bash",
    )
    result = await transport.run(command)
    if result.exit_code == 0:
        return Verdict(True)
    if result.timed_out or result.exit_code in (None, NO_BASH_EXIT_CODE):
        raise RemoteError(f"bash did not answer ({result.text.strip() or 'timeout'})", hint="bash -n needs bash there.")
    return read_complaint(result.text, text)


def read_complaint(said: str, text: str) -> Verdict:
    """Return the verdict that a complaint of `bash -n` means."""
    lines = text.split("\n")
    for complaint in said.splitlines():
        match = COMPLAINT.match(complaint)
        if match:
            line = min(int(match[1]), len(lines))
            return Verdict(False, match[2], line, _column(match[2], lines[line - 1]))
    return Verdict(False, said.strip() or "syntax error", 1, 1)


def _column(complaint: str, line: str) -> int:
    """Return where the token that bash names stands in its line; its end where the text ended too early."""
    match = NEAR.search(complaint)
    if match is None or match[1] == "newline":
        return len(line) + 1
    at = line.find(match[1])
    return at + 1 if at >= 0 else 1

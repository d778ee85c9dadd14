"""Make one shell text of a command for a pane, and clean what the shell itself added to its output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sane.core.pane.files import WAIT_GO, receive_script, send_script
from sane.core.pane.framing import Dialect, Place, quote
from sane.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sane.core.command import Command

EXEC_REST = 'exec "$@"'
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def compose(command: Command, dialect: Dialect, token: str, *, nested: bool = False) -> str:
    """Return a command's text for the pane's own shell.

    With `cwd`, `env` or `stdin` it runs in a subshell (in fish: a shell of its own), so that they don't stay. Its stdin
    is fed to a receiver that stands before it, what it writes unseen goes through a sender behind it.
    Raises UsageError for a name that can't be a variable.
    """
    for name in command.env:
        if not NAME.match(name):
            raise UsageError(f"'{name}' can't be the name of an environment variable")
    if command.cwd is None and not command.env and command.stdin is None and not command.unseen:
        return command.script
    script = command.script
    if command.unseen:
        script = f"sh -c {quote(send_script(token, nested=nested), dialect)} sane {quote(script, dialect)}"
    text = (_in_fish if dialect == "fish" else _in_subshell)(command, script)
    if command.stdin:
        receive = quote(receive_script(len(command.stdin), token, nested=nested), dialect)
        text = f"sh -c {receive}|{text}"
    elif command.stdin is not None:
        text = f"printf ''|{text}"
    return text


def _in_subshell(command: Command, script: str) -> str:
    go = WAIT_GO if command.stdin else ""
    change = f"cd -- {quote(command.cwd, 'posix')} || exit; " if command.cwd is not None else ""
    steps = [f"{name}={quote(value, 'posix')}" for name, value in command.env.items()]
    export = f"export {' '.join(steps)}; " if steps else ""
    return f"({go}{change}{export}{script}\n)"


def _in_fish(command: Command, script: str) -> str:
    inner = (f"cd {quote(command.cwd, 'fish')}; or exit; " if command.cwd is not None else "") + script
    steps = [f"{name}={quote(value, 'fish')}" for name, value in command.env.items()]
    text = " ".join(["env", *steps, "fish", "-c", quote(inner, "fish")])
    return f"sh -c {quote(WAIT_GO + EXEC_REST, 'fish')} sane {text}" if command.stdin else text


def strip_job_notices(output: bytes, last_job: str) -> bytes:
    """Return output without the lines that an interactive shell prints when it starts background jobs (`[1] 4711`).

    Taken out is the line that names the very process of the last job, and those that count up to it: a number one less,
    an earlier process.
    """
    if not last_job.isdigit():
        return output
    found = re.search(rb"(?m)^\[(\d+)\] " + last_job.encode() + rb"\n", output)
    number, process = (int(found[1]), int(last_job)) if found else (0, 0)
    while found:
        output = output[: found.start()] + output[found.end() :]
        earlier = list(re.finditer(rb"(?m)^\[%d\] (\d+)\n" % (number - 1), output[: found.start()]))
        found = earlier[-1] if number > 1 and earlier and int(earlier[-1][1]) < process else None
        number, process = number - 1, int(found[1]) if found else 0
    return output


def strip_exit_notice(output: bytes, shell: str) -> bytes:
    """Return output without what an interactive shell itself writes when it exits: bash its word, fish its editor's
    reset."""
    if shell == "bash":
        return re.sub(rb"(\A|(?<=\n))(exit|logout)\n\Z", b"", output)
    if shell == "fish":
        return re.sub(rb"(\x1b\[[0-9;?]*[hlm]|\x0f)+\Z", b"", output)
    return output


# OSC 133 D: a shell with integration says before its prompt how the last command ended.
SHELL_SAYS_DONE = b"\x1b]133;D"


def cut_at_interrupt(output: bytes) -> bytes:
    """Return output up to where the shell said that the command is done, and the `^C` that the terminal showed."""
    output = output.partition(SHELL_SAYS_DONE)[0]
    for shown in (b"^C", b"\x03"):  # the second where the terminal shows control characters as they are
        head, mark, _ = output.rpartition(shown)
        if mark:
            return head
    return output


def without_prompt(output: bytes) -> bytes:
    """Return output without its last line, where the shell has drawn its prompt."""
    head, newline, _ = output.partition(SHELL_SAYS_DONE)[0].rpartition(b"\n")
    return head + newline


def code_of_shell(output: bytes, default: int) -> int:
    """Return the exit code that the shell itself told by an OSC 133 D mark; `default` where it told none."""
    found = re.search(rb"\x1b\]133;D;(\d{1,3})", output)
    return int(found[1]) & 0xFF if found else default


def inner_place(outer: Place, arguments: Sequence[str]) -> Place:
    """Return where the cursor is inside a nested tmux's pane; the READY mark tells its `WIDTH.LEFT.PIPE`."""
    width, left, _ = _inner_pane(arguments)
    if not width.isdigit() or not left.isdigit():
        return outer
    return Place(max(0, outer.column - int(left)), int(width))


def inner_is_piped(arguments: Sequence[str]) -> bool:
    """Return whether the nested tmux's pane has a pipe-pane of somebody's already."""
    return _inner_pane(arguments)[2] == "1"


def _inner_pane(arguments: Sequence[str]) -> tuple[str, str, str]:
    width, left, pipe = (*(arguments[0] if arguments else "").split("."), "", "", "")[:3]
    return width, left, pipe

"""A command as data, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from sane.errors import UsageError

TIMEOUT_EXIT_CODE = 124  # as timeout(1) has it


@dataclass(frozen=True, slots=True)
class Command:
    """Describe one command: `script` is shell text for the target's own shell.

    `cwd` is entered before; `~/` is the target's home there. `env` values are data, quoted by the transport, never
    spliced into the script. `timeout_s` None waits for ever, which only a surface with a person at it may ask for.
    `display` is what a watcher of a pane sees instead of the script; None shows the script itself. `raw_ok`: where no
    shell but an interpreter or a network device waits in a pane, it may be typed there as it is. `brief`: text for sh
    that ends soon, leaves nothing running and has little to say, which may share a shell with others of its kind.
    `outlives_caller`: it goes on where its caller is killed, which ends any other. `unseen`: text for sh whose output
    is an answer for the caller, which a watcher of a pane is not shown.
    """

    script: str
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    stdin: bytes | None = None
    timeout_s: float | None = 30.0
    display: str | None = None
    output_limit_bytes: int = 64 * 1024 * 1024
    raw_ok: bool = False
    brief: bool = False
    outlives_caller: bool = False
    unseen: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for what no shell can take: a NUL, half of a surrogate pair, a variable of that name."""
        texts = (self.script, self.cwd or "", *self.env, *self.env.values())
        if any("\0" in text for text in texts):
            raise UsageError("a command can't hold a NUL character")
        try:
            "".join(texts).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # JSON can hold such a thing; no byte stands for it
            raise UsageError("a command can't hold half of a surrogate pair") from None
        for name in self.env:
            if not (name.isascii() and name.isidentifier()):
                raise UsageError(f"'{name}' is not a name for a variable", hint="Use letters, digits and underscores.")
        if self.timeout_s is not None and not self.timeout_s > 0:  # so that a NaN is refused too
            raise UsageError(f"timeout_s must be more than 0, got {self.timeout_s}", hint="It is in seconds.")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Hold what came of a command.

    `output` is what it wrote, byte-exact: stdout and stderr in the order they came (a pane has one stream; without
    a pane, `stderr` has the second stream apart and `output` the first). `exit_code` is None where it can't
    be known, never 0 for unknown; a timeout is 124 with `timed_out`. `pane_gone`: the pane went away with the command.
    `pane_ready` False: after a timeout the prompt did not come back. `truncated`: output past the limit was dropped.
    `mode` is "raw" where it was typed at a prompt that is no shell's: then no exit code is known. `note`: what else a
    caller must know, or "".
    """

    target: str
    command: str
    output: bytes
    exit_code: int | None
    duration_ms: float
    stderr: bytes = b""
    timed_out: bool = False
    attempts: int = 1
    pane_gone: bool = False
    pane_ready: bool = True
    truncated: bool = False
    mode: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """Return the output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.output.decode("utf-8", "replace")


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a file's path as text. Raises UsageError for what no file is called: nothing, a NUL, half of a pair."""
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UsageError(f"a path can't {'hold a NUL character' if text else 'be empty'}")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("a path can't hold half of a surrogate pair") from None
    return text


def check_limit(limit_bytes: int) -> None:
    """Raise UsageError for a limit below 0."""
    if limit_bytes < 0:
        raise UsageError(f"limit_bytes must not be negative, got {limit_bytes}")

"""Ask a shell of this machine whether it can parse a command, running nothing."""

from __future__ import annotations

from sane.errors import TransportError
from sane.transports.base import Machine

# bash takes extended patterns where `extglob` is set; what set it (bash-completion does) can't be seen from outside.
BASH = ("bash", "-O", "extglob")
BUSYBOX = ("busybox", "ash")
CHECKERS = {"bash": BASH, "rbash": BASH, "ash": BUSYBOX, "busybox": BUSYBOX} | {
    name: (name,) for name in ("zsh", "dash", "fish", "sh", "ksh", "mksh", "oksh", "yash")
}
CHECK_TIMEOUT_S = 5.0


async def syntax_error(machine: Machine, shell: str, script: str) -> str | None:
    """Return what the shell says is wrong with a command; None when it parses, or when there is no such shell to
    ask."""
    checker = CHECKERS.get(shell)
    if checker is None:
        return None
    try:
        done = await machine.execute(
            [*checker, "-n"], stdin=script.encode("utf-8", "surrogateescape") + b"\n", timeout_s=CHECK_TIMEOUT_S
        )
    except (TransportError, TimeoutError):
        return None
    said = done.stderr.decode("utf-8", "replace").strip()
    # An open here-document is a warning to bash, and exit 0; its text would be whatever comes next.
    unfinished = "here-document" in said and "delimited by end-of-file" in said
    return said or f"{shell} can't parse it" if done.exit_code != 0 or unfinished else None

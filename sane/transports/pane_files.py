"""Move files through a pane: to wherever its shell is, even behind an ssh that somebody typed there."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING, NoReturn

from sane.core.command import Command
from sane.core.host.file_scripts import WHY_NOT_ENTERED
from sane.core.pane.files import (
    DAMAGED,
    NO_SUCH_FILE,
    NOT_READABLE,
    get_script,
    put_script,
)
from sane.core.shell_text import quote_path
from sane.errors import LostError, NotFoundError, RemoteError

if TYPE_CHECKING:
    from sane.core.command import CommandResult
    from sane.transports.pane import PaneTransport

BASE_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 100_000
DIGEST_CHARACTERS = 64


async def put_through(pane: PaneTransport, path: str, content: bytes, mode: int | None) -> None:
    """Replace a file atomically. Raises RemoteError, LostError."""
    note = f"# sane: {len(content)} bytes into {path}"
    script = put_script(path, content, mode, os.urandom(4).hex())
    command = Command(
        'sh -c "$SANE_SCRIPT"',
        env={"SANE_SCRIPT": script},
        stdin=content,
        timeout_s=_timeout_s(len(content)),
        display=note,
    )
    result = await pane.run(command)
    if result.exit_code != 0:
        _refuse(result, path, "written")


async def get_through(pane: PaneTransport, path: str, limit_bytes: int) -> bytes:
    """Return a file's first bytes. Raises NotFoundError, RemoteError, LostError."""
    script, note = get_script(path, limit_bytes), f"# sane: read {path}"
    command = Command(
        script,
        unseen=True,
        output_limit_bytes=limit_bytes + DIGEST_CHARACTERS,
        timeout_s=_timeout_s(limit_bytes),
        display=note,
    )
    result = await pane.run(command)
    if result.exit_code != 0:
        _refuse(result, path, "read")
    content, digest = result.output[:-DIGEST_CHARACTERS], result.output[-DIGEST_CHARACTERS:]
    if digest.decode("ascii", "replace") != hashlib.sha256(content).hexdigest():
        raise RemoteError(f"{path} changed while it was read, or arrived damaged", hint="Try again.")
    return content


async def entered(pane: PaneTransport, command: Command, folder: str) -> Command:
    """Return a command whose `cwd` is the full path of a folder that can be entered. Raises RemoteError.

    The exit code of the command itself could not tell that its folder is not there.
    """
    enter = 'cd -- "$1" 2>/dev/null && pwd && exit; ' + WHY_NOT_ENTERED + '; echo "$why"; exit 1'
    script = f"set -- {quote_path(folder)}; {enter}"
    asked = Command(script, unseen=True, timeout_s=BASE_TIMEOUT_S, display=f"# sane: cd {folder}")
    done = await pane.exchange(asked)
    if done.result.exit_code != 0:
        _refuse(done.result, folder, "entered")
    return dataclasses.replace(command, cwd=os.fsdecode(done.result.output.removesuffix(b"\n")))


def _timeout_s(size_bytes: int) -> float:
    return BASE_TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S


def _refuse(result: CommandResult, path: str, what: str) -> NoReturn:
    if result.exit_code is None or result.timed_out:
        raise LostError(f"the pane was lost before {path} was {what}", phase="transfer", host=result.target)
    if result.exit_code == NO_SUCH_FILE:
        raise NotFoundError(f"{path} does not exist")
    if result.exit_code == NOT_READABLE:
        raise RemoteError(f"{path} can't be read: Permission denied, or no file")
    if result.exit_code == DAMAGED:
        raise RemoteError(f"{path} arrived damaged; the old one is still there", hint="Did somebody type in the pane?")
    said = result.text.strip().split("\n")[-1].rpartition(": ")[2]
    raise RemoteError(f"{path} can't be {what}: {said or 'the target refused'}")

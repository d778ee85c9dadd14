"""Move files through a pane: to wherever its shell is, even behind an ssh that somebody typed there."""

from __future__ import annotations

import base64
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
    put_lines,
    put_script,
)
from sane.core.pane.framing import CHECKSUM
from sane.core.shell_text import quote_path
from sane.errors import LostError, NotFoundError, RemoteError

if TYPE_CHECKING:
    from sane.core.command import CommandResult
    from sane.transports.pane import PaneTransport

BASE_TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 100_000


async def put_through(pane: PaneTransport, path: str, content: bytes, mode: int | None) -> None:
    """Replace a file atomically. Raises RemoteError, LostError."""
    note = f"# sane: {len(content)} bytes into {path}"
    done = await pane.exchange(_command(put_script(path, content, mode), note, len(content)), feed=put_lines(content))
    if done.result.exit_code != 0:
        _refuse(done.result, path, "written")


async def get_through(pane: PaneTransport, path: str, limit_bytes: int) -> bytes:
    """Return a file's first bytes. Raises NotFoundError, RemoteError, LostError."""
    note = f"# sane: read {path}"
    done = await pane.exchange(_command(get_script(path, limit_bytes), note, limit_bytes), feed=())
    if done.result.exit_code != 0:
        _refuse(done.result, path, "read")
    content = base64.b64decode(b"".join(done.reader.data))
    checksum = done.reader.find(CHECKSUM)
    if checksum is None or checksum.arguments[0] != hashlib.sha256(content).hexdigest():
        raise RemoteError(f"{path} arrived damaged: something else printed in the pane", hint="Try again.")
    return content


async def entered(pane: PaneTransport, command: Command, folder: str) -> Command:
    """Return a command whose `cwd` is the full path of a folder that can be entered. Raises RemoteError.

    The exit code of the command itself could not tell that its folder is not there.
    """
    enter = 'cd -- "$1" 2>/dev/null && pwd && exit; ' + WHY_NOT_ENTERED + '; echo "$why"; exit 1'
    script = f"sh -c '{enter}' sane {quote_path(folder)}"
    done = await pane.exchange(Command(script, timeout_s=BASE_TIMEOUT_S, display=f"# sane: cd {folder}"))
    if done.result.exit_code != 0:
        _refuse(done.result, folder, "entered")
    return dataclasses.replace(command, cwd=os.fsdecode(done.result.output.removesuffix(b"\n")))


def _command(script: str, note: str, size_bytes: int) -> Command:
    timeout_s = BASE_TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S
    return Command(script, timeout_s=timeout_s, display=note)


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

"""The transport `ssh:HOST`: commands and files of a host over its one SSH connection. Nothing is installed there.

Commands run in the user's login shell, as ssh(1) runs them. Files go through `sh` and `cat`, so a host without an sftp
subsystem will do.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult, check_limit, path_text
from sane.core.host.file_scripts import ABSENT, read_script, write_script
from sane.core.shell_text import exports
from sane.core.ssh.settings import HostSettings
from sane.errors import NotFoundError, RemoteError, TransportError, UnavailableError, UnreachableError
from sane.transports.base import OnOutput
from sane.transports.ssh_pool import SshPool
from sane.transports.ssh_session import Finished, RemoteCommand
from sane.transports.ssh_shell import HostShell

SCRIPT_LIMIT_BYTES = 100_000  # sshd hands the command to a shell as one argument, of which Linux takes 131,072 bytes
# A long script is read from stdin, up to a random word: without that the connection went away, and half of it must not
# run. `read` takes a byte at a time (2 s for 1 MB), so that what comes behind is left; `head -c` of busybox takes more.
_READ_ALL = 'eval "$(sh -c \'t=$(cat); case $t in *{word}) printf %s "${{t%{word}}}" ;; esac\')"'
_READ_UNTIL = (
    'eval "$(sh -c \'t=$(while IFS= read -r line; do [ "$line" != {word} ] || exit 0; printf "%s\\n" "$line"; done; '
    'exit 1) && printf %s "$t"\')"'
)
TRANSFER_TIMEOUT_S = 30.0
TRANSFER_FLOOR_BYTES_PER_S = 64 * 1024  # slower than this is taken for a host that has stopped


class SshTransport:
    """Run commands and move files on one host; the connection belongs to the pool, and is shared."""

    def __init__(self, pool: SshPool, settings: HostSettings) -> None:
        self._pool = pool
        self._shell: HostShell | None = None
        self._crowded = False  # the server has no room for a shell beside a command
        self._spare = functools.partial(pool.connection, settings, spare=True)
        self.settings = settings

    @property
    def name(self) -> str:
        """Return the target as a person writes it."""
        return f"ssh:{self.settings.name}"

    async def connect(self) -> None:
        """Open the connection now, for all that comes. Raises UnreachableError and AuthError with their phase."""
        await self._pool.connection(self.settings)

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        """Run a command in the login shell; cancelling ends it and its process group. So does the host itself, where
        this process is killed: 3 s later, or 15 s after the time limit where the connection seems open still.

        `output` is its stdout and `stderr` the other stream; `on_output` gets both as they come. Raises TransportError
        with its phase; LostError means that what became of the command is unknown; RemoteError that `cwd` can't be
        entered.
        """
        started = time.monotonic()
        before = exports(command.env)
        if command.brief and on_output is None and command.cwd is None:
            finished = await self._ask(before + command.script, command)
        else:
            finished = await self._execute(
                command.script,
                command.timeout_s,
                stdin=command.stdin,
                limit_bytes=command.output_limit_bytes,
                on_output=on_output,
                watched=not command.outlives_caller,
                cwd=command.cwd,
                before=before,
            )
        return CommandResult(
            target=self.name,
            command=command.display or command.script,
            output=finished.stdout,
            exit_code=TIMEOUT_EXIT_CODE if finished.timed_out else finished.exit_code,
            duration_ms=(time.monotonic() - started) * 1000,
            stderr=finished.stderr,
            timed_out=finished.timed_out,
            truncated=finished.truncated,
        )

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Replace a file atomically; mode and owner of the one that was there are kept unless `mode` is given.

        Raises RemoteError naming the path and the reason (full disk, permission), TransportError with phase transfer.
        """
        path = path_text(path)
        script = write_script(path, len(content), mode, secrets.token_hex(6))
        finished = await self._transfer(script, path, len(content), stdin=content)
        if finished.exit_code != 0:
            raise RemoteError(
                f"{path} can't be written on {self.settings.name}: {_reason(finished)}",
                hint="Nothing of it was left there; the file that was there before is untouched.",
            )

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Return a file's first `limit_bytes`; no more than that is read or sent.

        Raises NotFoundError when absent, RemoteError when it can't be read, TransportError with phase transfer.
        """
        path = path_text(path)
        check_limit(limit_bytes)
        finished = await self._transfer(read_script(path, limit_bytes), path, limit_bytes, limit_bytes=limit_bytes)
        if finished.exit_code == ABSENT:
            raise NotFoundError(f"{path} does not exist on {self.settings.name}")
        if finished.exit_code != 0:
            raise RemoteError(f"{path} can't be read on {self.settings.name}: {_reason(finished)}")
        return finished.stdout

    async def close(self) -> None:
        """End the shell for brief commands; the connection is the pool's."""
        if self._shell is not None:
            self._shell.close()

    async def _transfer(
        self, script: str, path: str, size_bytes: int, *, stdin: bytes | None = None, limit_bytes: int = 1 << 16
    ) -> Finished:
        timeout_s = TRANSFER_TIMEOUT_S + size_bytes / TRANSFER_FLOOR_BYTES_PER_S
        finished = await self._execute(script, timeout_s, phase="transfer", stdin=stdin, limit_bytes=limit_bytes)
        if finished.timed_out:
            name = self.settings.name
            raise TransportError(f"{path} on {name}: no end within {timeout_s:.0f} s", phase="transfer", host=name)
        return finished

    async def _execute(
        self,
        script: str,
        timeout_s: float | None,
        *,
        phase: str = "command",
        stdin: bytes | None = None,
        limit_bytes: int,
        on_output: Callable[[bytes], object] | None = None,
        watched: bool = False,
        cwd: str | None = None,
        before: str = "",
    ) -> Finished:
        watch_s = (float("inf") if timeout_s is None else timeout_s) if watched else None
        if len((before + script).encode("utf-8", "surrogateescape")) > SCRIPT_LIMIT_BYTES:
            before, script, stdin = "", *_through_stdin(before + script, stdin)
        for again in (True, False):
            async with self._pool.session(self.settings) as connection:
                command = RemoteCommand(
                    connection,
                    script,
                    self.settings.name,
                    phase=phase,
                    stdin=stdin,
                    limit_bytes=limit_bytes,
                    on_output=on_output,
                    watch_s=watch_s,
                    cwd=cwd,
                    before=before,
                    spare=self._spare,
                )
                try:
                    return await command.run(timeout_s)
                except UnreachableError:  # an old connection had gone; nothing was started on it
                    if not again:
                        raise
                except UnavailableError:
                    if not (again and self._make_room()):
                        raise
        raise AssertionError("unreachable")

    async def _ask(self, script: str, command: Command) -> Finished:
        """Run a brief command in the shell that stays open for them, or in a session of its own where that is busy."""
        stdin = command.stdin or b""
        for again in (True, False):
            connection = await self._pool.connection(self.settings)
            if self._shell is None or self._shell.ended:
                self._shell = HostShell(connection, self.settings.name, spare=self._spare)
            if self._shell.busy or self._crowded or b"\0" in stdin:
                break
            try:
                return await self._shell.ask(script, stdin, command.timeout_s)
            except UnreachableError:
                if not again:
                    raise
        return await self._execute(script, command.timeout_s, stdin=stdin, limit_bytes=command.output_limit_bytes)

    def _make_room(self) -> bool:
        """End the shell, and do without it from now on; return False where there is none to end."""
        if self._shell is None or self._shell.ended or self._shell.busy:
            return False
        self._shell.close()
        self._crowded = True
        return True


def _through_stdin(script: str, stdin: bytes | None) -> tuple[str, bytes]:
    """Return a short script, and what it reads: the long one, then `stdin`. No file is written, that might be left."""
    word = secrets.token_hex(8)
    short = (_READ_UNTIL if stdin else _READ_ALL).format(word=word)
    return short, f"{script}\n{word}".encode("utf-8", "surrogateescape") + (b"\n" + stdin if stdin else b"")


def _reason(finished: Finished) -> str:
    lines = finished.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else f"exit code {finished.exit_code}"

"""The transport `local:`: commands and files of this machine, without tmux.

One code serves both ways of calling. Without a running event loop the work is done in the coroutine's own step, as the
one-shot command line wants it; in a loop it is done in a thread of its own, which a cancellation stops.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult, check_limit, path_text
from sane.errors import NotFoundError, RemoteError
from sane.transports.offload import call_blocking, call_streaming
from sane.transports.process import Finished, OnOutput, run_process

ARGUMENT_LIMIT_BYTES = 120_000  # Linux takes 131,072 bytes in one argument
NAME = "local:"


class LocalTransport:
    """Run commands and move files on this machine."""

    def __init__(self, *, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    @property
    def shell(self) -> str:
        """Return the name of the shell that runs the commands."""
        return "bash" if find_program("bash", self._environ.get("PATH")) else "sh"

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        """Run a command with bash, or sh where there is none, in a process group of its own.

        `output` is its stdout and `stderr` the other stream. Cancelling ends the whole group; so does an exception of
        `on_output`, which is raised then, and on Linux the end of this process, also by `kill -9`.
        Raises TransportError when the shell can't be started, RemoteError when `cwd` can't be entered.
        """
        started = time.monotonic()
        finished = await call_streaming(lambda fd, say: self._run_shell(command, say, fd), on_output)
        return CommandResult(
            target=NAME,
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

        A symbolic link is written through. Raises RemoteError naming the path and the reason.
        """
        full = self._expand(path_text(path))
        await call_blocking(lambda _: _put(full, content, mode))

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Return a file's first `limit_bytes`. Raises NotFoundError when absent, RemoteError when it can't be read."""
        check_limit(limit_bytes)
        full = self._expand(path_text(path))
        return await call_blocking(lambda _: _get(full, limit_bytes))

    async def close(self) -> None:
        """Do nothing: no connection is held."""

    def _expand(self, path: str) -> str:
        home = self._environ.get("HOME", "/")
        return home + path[1:] if path == "~" or path.startswith("~/") else path

    def _run_shell(self, command: Command, on_output: OnOutput | None, cancel_fd: int) -> Finished:
        env = {**self._environ, **command.env}
        shell = find_program("bash", env.get("PATH")) or "/bin/sh"
        script, script_fd = os.fsencode(command.script), -1
        if len(script) > ARGUMENT_LIMIT_BYTES:
            script_fd, script = _spool(script), b". /dev/fd/3"
        argv: list[str | bytes] = [shell, "-c", script]
        if command.cwd is not None:
            folder = self._expand(command.cwd)
            _must_be_entered(folder)
            argv = ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", folder, *argv]
        try:
            return run_process(
                argv,
                env=env,
                stdin=command.stdin or b"",
                timeout_s=command.timeout_s,
                limit_bytes=command.output_limit_bytes,
                on_output=on_output,
                cancel_fd=cancel_fd,
                pass_fd=script_fd,
                outlives_caller=command.outlives_caller,
            )
        finally:
            if script_fd >= 0:
                os.close(script_fd)


def find_program(name: str, path: str | None) -> str | None:
    """Return the full path of a program on PATH, or None. (shutil.which would import three compression libraries.)"""
    for directory in (path or os.defpath).split(os.pathsep):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    return None


def _must_be_entered(folder: str) -> None:
    """Raise RemoteError where a command can't start in a folder, which no exit code could tell from its own."""
    try:
        os.stat(os.path.join(folder, ""))
        reason = "" if os.access(folder, os.X_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise RemoteError(f"{folder} can't be entered: {reason}")


def _spool(script: bytes) -> int:
    """Return a descriptor of an unnamed file that holds a script too long for an argument."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(script)
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())


def _put(path: str, content: bytes, mode: int | None) -> None:
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".sane-{os.getpid()}-{time.monotonic_ns()}")
    created = False
    try:
        before = os.stat(path) if os.path.exists(path) else None
        if before is not None:
            _must_be_regular(path, before)
        # A new file gets what the umask leaves; one that was there is not readable by more people for a moment.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if mode or before else 0o666)
        created = True
        try:
            _write_all(fd, content)
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, before.st_uid, before.st_gid)
            if mode is not None or before is not None:
                os.fchmod(fd, mode if mode is not None else stat.S_IMODE(before.st_mode))  # pyright: ignore[reportOptionalMemberAccess]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        created = False
    except OSError as error:
        raise RemoteError(f"{path} can't be written: {error.strerror}") from error
    finally:
        if created:
            os.unlink(temporary)


def _must_be_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RemoteError(f"{path}: Is a directory", hint="Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise RemoteError(f"{path}: Not a regular file")


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _get(path: str, limit_bytes: int) -> bytes:
    try:
        # Without O_NONBLOCK the open of a FIFO would wait for a writer, for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _must_be_regular(path, os.fstat(file.fileno()))
            return file.read(limit_bytes)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise RemoteError(f"{path} can't be read: {error.strerror}") from error

"""Run one process of this machine to its end, blocking, without the subprocess module.

`os.posix_spawn` starts it in a session of its own, so that one signal reaches everything it started. Importing
subprocess would cost more than the call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sane.errors import SaneError, TransportError, UsageError
from sane.transports.lifeline import Lifeline

KILL_GRACE_S = 1.0  # between SIGTERM and SIGKILL
LINGER_S = 0.1  # how long output may still come after the process ended while something else holds its pipe
LONGEST_PAUSE_S = 3600.0  # of one poll, which takes 24 days at most
EXIT_CHECK_S = 0.02  # how often to look for the end where the system has no pidfd
CHUNK_BYTES = 1 << 16
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OnOutput = Callable[[bytes], object]


class Finished(NamedTuple):
    """Hold what a process left; `exit_code` is 128 + N after signal N, and meaningless after a timeout."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    cancelled: bool
    truncated: bool


def run_process(
    argv: list[str | bytes],
    *,
    env: Mapping[str, str],
    stdin: bytes = b"",
    timeout_s: float | None = None,
    limit_bytes: int = 64 << 20,
    on_output: OnOutput | None = None,
    cancel_fd: int = -1,
    pass_fd: int = -1,
    outlives_caller: bool = False,
) -> Finished:
    """Run a program (absolute path first) to its end, its whole process group killed at a timeout or a cancellation.

    Where this process is killed, the group gets SIGTERM, unless `outlives_caller`. `cancel_fd` becoming readable
    cancels; `pass_fd` becomes descriptor 3 of the program. Each stream keeps its first `limit_bytes`.
    Raises TransportError when the program can't be started.
    """
    run = _Run(stdin, limit_bytes, on_output, None if outlives_caller else Lifeline())
    try:
        run.start(argv, env, pass_fd)
        run.pump(None if timeout_s is None else time.monotonic() + timeout_s, cancel_fd)
    except BaseException:
        run.abandon()
        raise
    finally:
        run.release()
    return run.finished()


class _Run:
    def __init__(self, stdin: bytes, limit_bytes: int, on_output: OnOutput | None, lifeline: Lifeline | None) -> None:
        self._lifeline = lifeline
        self._stdin = memoryview(stdin)
        self._limit_bytes = limit_bytes
        self._on_output = on_output
        self._kept: dict[int, list[bytes]] = {}
        self._room: dict[int, int] = {}
        self._timed_out = self._cancelled = self._truncated = False
        self._ended = False
        self._exit_code = 0
        self._open: set[int] = set()
        self._in = self._pidfd = -1
        self.pid = 0

    def start(self, argv: list[str | bytes], env: Mapping[str, str], pass_fd: int) -> None:
        """Start the program. A signal that ends us waits until its id is known, so that `kill` reaches it."""
        child_out, child_err, child_in = self._pipe_from(), self._pipe_from(), self._pipe_to()
        actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, child_in, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, child_out, 1), (os.POSIX_SPAWN_DUP2, child_err, 2)]
        if pass_fd >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, pass_fd, 3))
        if self._lifeline is not None:
            self._lifeline.child_end = end = above_standard(self._lifeline.child_end)
            actions.append((os.POSIX_SPAWN_DUP2, end, end))  # so this child alone inherits it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            defaults = [signal.SIGPIPE, signal.SIGXFSZ]
            self.pid = os.posix_spawn(
                argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=defaults, setsigmask=before
            )
            if self._lifeline is not None:
                self._lifeline.bind_group(self.pid)
        except (OSError, ValueError) as error:
            raise start_error(os.fsdecode(argv[0]), error) from error
        finally:
            for fd in (child_out, child_err, child_in):
                os.close(fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pidfd = pidfd_of(self.pid)

    def _pipe_from(self) -> int:
        ours, theirs = os.pipe()
        theirs = above_standard(theirs)
        os.set_blocking(ours, False)
        self._kept[ours], self._room[ours] = [], self._limit_bytes
        self._open.add(ours)
        return theirs

    def _pipe_to(self) -> int:
        if not self._stdin:
            return above_standard(os.open(os.devnull, os.O_RDONLY))
        theirs, self._in = os.pipe()
        os.set_blocking(self._in, False)
        return above_standard(theirs)

    def pump(self, deadline: float | None, cancel_fd: int) -> None:
        """Move bytes until the process has ended and its output is read."""
        poll = select.poll()
        for fd in self._open:
            poll.register(fd, select.POLLIN)
        if self._in >= 0:
            poll.register(self._in, select.POLLOUT)
        for fd in (self._pidfd, cancel_fd):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        linger_until = 0.0
        while True:
            now = time.monotonic()
            if not self._ended and self._has_ended():
                linger_until = now + LINGER_S
                if self._pidfd >= 0:
                    poll.unregister(self._pidfd)
            if self._ended and (not self._open or now >= linger_until):
                return
            if not self._ended and deadline is not None and now >= deadline:
                self._timed_out = True
                self.kill()
                return
            until = linger_until if self._ended else deadline
            for fd, _ in poll.poll(self._pause_ms(now, until)):
                if fd == cancel_fd:
                    self._cancelled = True
                    self.kill()
                    return
                if fd == self._in:
                    self._feed(poll)
                elif fd != self._pidfd:
                    self._take(fd, poll)

    def _pause_ms(self, now: float, until: float | None) -> float | None:
        pauses_s = [] if until is None else [min(max(0.0, until - now), LONGEST_PAUSE_S)]
        if self._pidfd < 0:
            pauses_s.append(EXIT_CHECK_S)
        return min(pauses_s) * 1000 + 0.5 if pauses_s else None

    def _feed(self, poll: select.poll) -> None:
        try:
            self._stdin = self._stdin[os.write(self._in, self._stdin[:CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # it closed its input, which is its right
            self._stdin = self._stdin[:0]
        if not self._stdin:
            poll.unregister(self._in)
            os.close(self._in)
            self._in = -1

    def _take(self, fd: int, poll: select.poll | None) -> bool:
        try:
            chunk = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            if poll is not None:
                poll.unregister(fd)
            os.close(fd)
            self._open.discard(fd)
            return False
        kept = chunk[: self._room[fd]]
        self._truncated |= len(kept) < len(chunk)
        self._room[fd] -= len(kept)
        if kept:
            self._kept[fd].append(kept)
            if self._on_output is not None:
                self._on_output(kept)
        return True

    def _has_ended(self) -> bool:
        # Not reaped yet: until then nobody else can get this id, so a signal to the group can't go astray.
        self._ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self._ended

    def kill(self) -> None:
        """End the whole group: SIGTERM, then SIGKILL after the grace; keep what it wrote until then."""
        if not self.pid:
            return
        self._signal(signal.SIGTERM)
        until = time.monotonic() + KILL_GRACE_S
        try:
            while time.monotonic() < until:
                self._drain()
                if (self._ended or self._has_ended()) and not self._open:
                    break  # nothing of the group holds a pipe of ours
                time.sleep(0.005)
        finally:  # `on_output` may raise here, and so may a second Ctrl-C
            self._signal(signal.SIGKILL)
        self._drain()

    def abandon(self) -> None:
        """End the whole group and tell nobody what it still writes: `on_output` may be what failed."""
        self._on_output = None
        self.kill()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _drain(self) -> None:
        for fd in list(self._open):
            for _ in range(64):  # bounded: a group that writes without end still gets killed
                if not self._take(fd, None):
                    break

    def release(self) -> None:
        """Wait for the process and close every descriptor."""
        if self.pid:
            self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.pid = 0
        for fd in (*self._open, self._in, self._pidfd):
            if fd >= 0:
                os.close(fd)
        if self._lifeline is not None:
            self._lifeline.release()
        self._open.clear()
        self._in = self._pidfd = -1

    def finished(self) -> Finished:
        """Return what it left."""
        code = self._exit_code
        out, err = (b"".join(chunks) for chunks in self._kept.values())
        return Finished(128 - code if code < 0 else code, out, err, self._timed_out, self._cancelled, self._truncated)


def start_error(program: str, error: OSError | ValueError) -> SaneError:
    """Return why a program could not be started: a word that no program can be given is its caller's fault."""
    if isinstance(error, ValueError):
        return UsageError("an argument can't hold a NUL character, or half of a surrogate pair")
    if error.errno == errno.E2BIG:
        return UsageError(f"the arguments for {program} are longer than the system takes", hint="128 KiB are too much.")
    return TransportError(f"{program} can't be started: {error.strerror}", phase="command")


def pidfd_of(pid: int) -> int:
    """Return a descriptor that becomes readable at a process's end; -1 where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # Python knows it and the kernel, valgrind or a container's filter does not
        return -1


def above_standard(fd: int) -> int:
    """Return a duplicate of a descriptor above 9, so that no dup2 in the child overwrites one it still needs."""
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved

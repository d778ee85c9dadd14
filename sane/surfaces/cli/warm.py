"""Ask a warm helper to carry a call out: everything that a call pays for before it starts is paid there already.

This is the whole program of such a call, so it imports built-in modules only: `socket`, `os` and `signal` would
double its time (docs/benchmarks.md). Where no helper answers, the caller does the work itself, and starts one for the
calls to come.
"""

from __future__ import annotations

import _imp
import _socket
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
else:
    import _signal

# Verbs whose answer depends on nothing of the caller's but its words, its input and the environment below.
VERBS = frozenset(
    [
        "check-pane-health",
        "checksum-file",
        "create-file",
        "detect-mode",
        "detect-platform",
        "edit-file",
        "get-label",
        "label-pane",
        "list-panes",
        "list-windows",
        "read-file",
        "run-command",
        "send-keys",
        "setup-prompt",
        "wait-ready",
    ]
)
# What such a call can see of its environment. A helper serves only callers who have the same.
NAMES = frozenset(
    b"""PATH HOME SHELL LANG LANGUAGE TZ TMUX_TMPDIR XDG_RUNTIME_DIR XDG_STATE_HOME XDG_CONFIG_HOME BASH_ENV SHELLOPTS
    POSIXLY_CORRECT""".split()
)
PREFIXES = (b"SANE_", b"TMUX_SANE_", b"LC_")
# What decides more where a host is reached over SSH; the local tmux does not. Such calls have a helper of their own.
SSH_NAMES = frozenset([b"SSH_AUTH_SOCK", b"LOGNAME", b"USER", b"LNAME", b"USERNAME"])  # the last four: getpass.getuser

ACCEPTED, REFUSED, OUT, ERR, STDIN, EXIT, CANCEL = b"A", b"N", b"1", b"2", b"I", b"X", b"C"
PATH_LIMIT_BYTES = 104  # of a Unix socket's name, on the strictest system
ANSWER_LIMIT_S = 5.0  # for the helper to accept a call
CANCEL_LIMIT_S = 15.0  # for it to stop a command: Ctrl-C three times, and proof that the prompt is back
LOST = """Error: the helper process went away in the middle of this call; whether it was carried out is not known
Look at its target before you call again.
"""


def may_be_warm(name: str, words: Sequence[str]) -> bool:
    """Return whether a helper can carry a call out: a verb for a pane or an SSH host, which is named first."""
    if name not in VERBS or posix.environ.get(b"SANE_HELPER") == b"0" or not hasattr(_socket, "SO_PEERCRED"):
        return False
    if goes_over_ssh(words):  # the helper is in another directory
        return posix.environ.get(b"SANE_INVENTORY", b"/")[:1] in (b"/", b"")
    return bool(words and words[0]) and not words[0].startswith(("-", "local:"))


def goes_over_ssh(words: Sequence[str]) -> bool:
    """Return whether a call's target is a host that is reached over SSH, or a pane there."""
    return bool(words) and words[0].startswith("ssh:")


def seen_environment(*, ssh: bool) -> bytes:
    """Return what decides a call's result: the interpreter, the code's place, and the variables above."""
    environ, code = posix.environ, posix.stat(__file__)
    names = NAMES | SSH_NAMES if ssh else NAMES
    seen = [b"%b=%b" % item for item in sorted(environ.items()) if item[0] in names or item[0].startswith(PREFIXES)]
    if ssh:
        seen.append(b"ssh")
    elif b"TMUX" in environ:
        seen.append(b"TMUX=" + environ[b"TMUX"].rpartition(b",")[0])  # without the caller's own session
    return b"\0".join([sys.executable.encode("utf-8", "surrogateescape"), b"%d %d" % (code.st_dev, code.st_ino), *seen])


def socket_path(seen: bytes) -> bytes:
    """Return where the helper for such an environment listens; b"" where no socket can be made there."""
    environ = posix.environ
    base = environ.get(b"XDG_RUNTIME_DIR")
    folder = base + b"/sane" if base else b"/tmp/sane-%d" % posix.getuid()
    path = folder + b"/" + _imp.source_hash(0, seen).hex().encode() + b".helper"
    return path if len(path) <= PATH_LIMIT_BYTES else b""


def is_private(folder: bytes) -> bool:
    """Return whether a folder belongs to this user and nobody else may enter it."""
    try:
        status = posix.lstat(folder)
    except OSError:
        return False
    return status.st_uid == posix.geteuid() and status.st_mode & 0o170077 == 0o040000


def ask(name: str, words: Sequence[str]) -> int | None:
    """Return the exit status of a call that a helper carried out; None when it did not begin with it."""
    seen = seen_environment(ssh=goes_over_ssh(words))
    path = socket_path(seen)
    if not path or not is_private(path.rpartition(b"/")[0]):
        return None
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if connection.fileno() <= 2:  # standard input or output is closed (`<&-`), and this would be taken for it
        return None
    connection.settimeout(ANSWER_LIMIT_S)
    try:
        connection.connect(path)
        pid_uid_gid = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(pid_uid_gid[4:8], sys.byteorder) != posix.geteuid():
            return None
        parts = [seen, name.encode(), *(word.encode("utf-8", "surrogateescape") for word in words)]
        body = b"".join([b"%d:%b" % (len(part), part) for part in parts])
        send_all(connection, len(body).to_bytes(4, "big") + body)
        if connection.recv(1) != ACCEPTED:
            return None
    except OSError:
        return None
    return _Call(connection).follow()


def send_all(connection: _socket.socket, data: bytes) -> None:
    """Send all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[connection.send(rest) :]


class _Call:
    """Pass on what the helper answers, until it tells the exit status."""

    def __init__(self, connection: _socket.socket) -> None:
        self._connection = connection

    def follow(self) -> int:
        def end(number: int, frame: object) -> None:
            raise SystemExit(128 + number)

        for number in (_signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(number) == _signal.SIG_DFL:
                _signal.signal(number, end)
        try:
            self._connection.settimeout(None)
            return self._read()
        except BrokenPipeError:
            return 1
        except OSError:
            return _lost()
        except KeyboardInterrupt:
            return self._cancel(130)
        except SystemExit as signalled:
            return self._cancel(int(str(signalled.code)))

    def _read(self) -> int:
        while True:
            kind = self._connection.recv(1)
            if not kind:
                return _lost()
            if kind == STDIN:
                data = _read_all(0)
                send_all(self._connection, len(data).to_bytes(4, "big") + data)
                continue
            size = int.from_bytes(self._receive(4), "big")
            if kind == EXIT:
                return size
            data = self._receive(size)
            write_all(1 if kind == OUT else 2, data)

    def _receive(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size:
            piece = self._connection.recv(min(size, 1 << 20))
            if not piece:
                raise ConnectionResetError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _cancel(self, status: int) -> int:
        """Have the command stopped, and wait until it is, as a call without a helper does."""
        try:
            self._connection.settimeout(CANCEL_LIMIT_S)
            send_all(self._connection, CANCEL)
            while self._connection.recv(1 << 16):
                pass
        except (OSError, KeyboardInterrupt):
            pass
        return status


def _lost() -> int:
    write_all(2, LOST.encode())
    return 1


def _read_all(fd: int) -> bytes:
    pieces: list[bytes] = []
    while piece := posix.read(fd, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(fd, rest) :]

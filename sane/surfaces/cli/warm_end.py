"""What a warm helper looks at to know that its time is over: the code it runs, the tmux server it serves."""

from __future__ import annotations

import os
import socket
import struct
import sys


def process_behind(path: str) -> int | None:
    """Return a descriptor of the process that listens on a Unix socket, readable when it ends; None without one."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(1.0)
        try:
            peer.connect(path)
            return os.pidfd_open(peer_of(peer)[0])
        except OSError:
            return None


def peer_of(peer: socket.socket) -> tuple[int, int, int]:
    """Return process, user and group id behind a Unix socket."""
    return struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))


class CodeOnDisk:
    """Notice that a file of the code that runs here, or the interpreter, is another one now."""

    def __init__(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self._times: dict[str, int] = {}

    def has_changed(self) -> bool:
        """Return whether one has changed since it was loaded."""
        files = [sys.executable]
        for name in [name for name in sys.modules if name == "sane" or name.startswith("sane.")]:
            file = getattr(sys.modules[name], "__file__", None)
            if file:
                files.append(file)
        return any(self._is_other(file) for file in files)

    def _is_other(self, file: str) -> bool:
        try:
            now_ns = os.stat(file).st_mtime_ns
        except OSError:
            return True
        then_ns = self._times.setdefault(file, now_ns)
        return now_ns != then_ns or now_ns > self._since_ns

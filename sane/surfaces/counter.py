"""How many hosts have answered, on one line of a terminal, for as long as it takes."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

QUIET_S = 0.5  # what is done sooner shows nothing
REFRESH_S = 0.25


class HostCounter:
    """Show `3/6 hosts, 4 s` on a terminal until left; a pipe, NO_COLOR and a dumb terminal see nothing."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._stream = sys.stderr if stream is None else stream
        moving = os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
        self._live = self._stream.isatty() and moving
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> HostCounter:
        if self._live:
            self._thread.start()
        return self

    def count(self, _: object = None) -> None:
        """Count one more answer."""
        self._done += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._live:
            self._thread.join()

    def _show(self) -> None:
        began = time.monotonic()
        if self._ended.wait(QUIET_S):
            return
        while True:
            self._stream.write(f"\r{self._done}/{self._total} hosts, {time.monotonic() - began:.0f} s\x1b[K")
            self._stream.flush()
            if self._ended.wait(REFRESH_S):
                break
        self._stream.write("\r\x1b[K")
        self._stream.flush()

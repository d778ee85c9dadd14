"""Drive coroutines that never suspend, without asyncio.

The one-shot command line calls a verb through implementations whose coroutines block instead of suspending; then a
coroutine is an ordinary call. Importing asyncio costs 40 ms (docs/benchmarks.md), more than the rest of such a call.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends. Raises RuntimeError when it does suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("a blocking transport suspended")

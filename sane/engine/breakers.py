"""A circuit breaker around each model, in this process: which calls may be made now, and what their outcomes change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from sane.core.breaker import Breaker
from sane.errors import UnavailableError

IsLate = Callable[[], bool]  # whether a cancellation means that the call's time was up


def never_late() -> bool:
    """Say that every cancellation comes from somebody who no longer wants the answer."""
    return False


class Breakers(Protocol):
    """Guard calls by name, wherever the breakers are kept."""

    def guard(self, name: str, *, is_late: IsLate = never_late) -> AbstractAsyncContextManager[None]:
        """Allow one call for the length of a block.

        Raises UnavailableError with `retry_after_s` while the breaker is open. An exception out of the block is a
        failure; so is a cancellation when `is_late` says so then, and any other is neither.
        """
        ...


class LocalBreakers:
    """Keep breakers in this process; belongs to one event loop."""

    def __init__(self, now_ms: Callable[[], int], *, threshold: int = 5, reset_ms: int = 30_000) -> None:
        self._now_ms = now_ms
        self._new = Breaker(threshold=threshold, reset_ms=reset_ms)
        self._kept: dict[str, Breaker] = {}

    def find(self, name: str) -> Breaker:
        """Return the breaker of that name as it is now."""
        return self._kept.get(name, self._new)

    def reset(self, name: str) -> None:
        """Close a breaker, as an operator asked."""
        self._kept[name] = self.find(name).reset(self._now_ms())

    @asynccontextmanager
    async def guard(self, name: str, *, is_late: IsLate = never_late) -> AsyncGenerator[None]:
        """Allow one call for the length of a block; see `Breakers.guard`."""
        self._kept[name], permit = self.find(name).ask(self._now_ms())
        if permit is None:
            wait_s = self._kept[name].retry_after_ms(self._now_ms()) / 1000
            hint = f"It failed several times; it is tried again in {wait_s:.0f} s."
            raise UnavailableError(f"the breaker of {name} is open", retry_after_s=wait_s, hint=hint)
        outcome = "release"
        try:
            yield
            outcome = "succeed"
        except (Exception, asyncio.CancelledError) as error:
            outcome = outcome_of(error, is_late)
            raise
        finally:
            self._kept[name] = getattr(self.find(name), outcome)(permit, self._now_ms())


def outcome_of(error: BaseException, is_late: IsLate) -> str:
    """Return what an exception out of a guarded call means to its breaker: `fail`, or `release`, which counts not."""
    return "release" if isinstance(error, asyncio.CancelledError) and not is_late() else "fail"

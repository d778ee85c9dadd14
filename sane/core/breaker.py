"""A circuit breaker as a value: closed, open, half-open with exactly one probe. Time is an argument.

| state | what happens | next |
|---|---|---|
| closed | a call fails, `threshold` in a row | open |
| closed | a call succeeds | closed, failures 0 |
| open | asked before `reset_ms` is over | open: refused |
| open | asked after it | half_open: this caller is the probe |
| half_open | asked | half_open: refused, the probe is out |
| half_open | the probe succeeds | closed |
| half_open | the probe fails | open, from now |
| half_open | the probe is cancelled, or silent for `probe_limit_ms` | the next caller is the probe |

Use: `breaker, permit = breaker.ask(now)`; with a permit make the call, then `succeed`, `fail` or, in a `finally` for a
cancelled one, `release` with that permit. A late answer of a call from before the breaker opened changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Permit:
    """Allow one call; `era` tells answers of an earlier state from those of this one."""

    era: int
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Breaker:
    """Hold a breaker's settings and state. `era` counts its changes of state."""

    threshold: int = 5
    reset_ms: int = 30_000
    probe_limit_ms: int = 300_000
    state: str = "closed"
    failures: int = 0
    since_ms: int = 0
    era: int = 0

    def ask(self, now_ms: int) -> tuple[Breaker, Permit | None]:
        """Return the breaker and a permit, or None: refused, try again in `retry_after_ms`."""
        if self.state == "closed":
            return self, Permit(self.era, False)
        if self.retry_after_ms(now_ms) > 0:
            return self, None
        probing = self._to("half_open", now_ms)
        return probing, Permit(probing.era, True)

    def retry_after_ms(self, now_ms: int) -> int:
        """Return for how long calls are refused; 0 when one may be made now."""
        wait_ms = {"closed": 0, "open": self.reset_ms, "half_open": self.probe_limit_ms}[self.state]
        return max(0, self.since_ms + wait_ms - now_ms) if wait_ms else 0

    def succeed(self, permit: Permit, now_ms: int) -> Breaker:
        """Return the breaker after the call succeeded."""
        if permit.era != self.era:
            return self
        return self._to("closed", now_ms) if permit.is_probe else replace(self, failures=0)

    def fail(self, permit: Permit, now_ms: int) -> Breaker:
        """Return the breaker after the call failed."""
        if permit.era != self.era:
            return self
        failing = replace(self, failures=self.failures + 1)
        return failing._to("open", now_ms) if permit.is_probe or failing.failures >= self.threshold else failing

    def release(self, permit: Permit, now_ms: int) -> Breaker:
        """Return the breaker after the call was cancelled: a probe's place is free at once, nothing is counted."""
        if permit.era != self.era or not permit.is_probe:
            return self
        return replace(self._to("open", now_ms), since_ms=now_ms - self.reset_ms)

    def reset(self, now_ms: int) -> Breaker:
        """Return the breaker closed, as an operator asked."""
        return self._to("closed", now_ms)

    def _to(self, state: str, now_ms: int) -> Breaker:
        failures = 0 if state == "closed" else self.failures
        return replace(self, state=state, since_ms=now_ms, era=self.era + 1, failures=failures)

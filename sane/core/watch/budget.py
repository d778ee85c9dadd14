"""What models may cost: per hour (a sliding window) and per episode, in tokens and in millionths of a currency
unit."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
_SLOT_MS = 60_000  # the window slides by whole minutes, so it holds 61 numbers however many calls there are


@dataclass(frozen=True, slots=True)
class Spending:
    """Hold tokens (in and out together) and money in micro-units."""

    tokens: int = 0
    cost_micro: int = 0

    def plus(self, other: Spending) -> Spending:
        """Return the sum."""
        return Spending(self.tokens + other.tokens, self.cost_micro + other.cost_micro)


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """Limit spending; 0 is no limit of that sort. The defaults allow some 60 planner calls an hour, 10 an episode."""

    tokens_per_hour: int = 600_000
    cost_micro_per_hour: int = 5_000_000
    tokens_per_episode: int = 100_000
    cost_micro_per_episode: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """Hold what was spent in each minute of the last hour, oldest first: (minute, spending)."""

    slots: tuple[tuple[int, Spending], ...] = ()

    def add(self, at_ms: int, spent: Spending, policy: BudgetPolicy) -> Budget:
        """Return the budget with one more call. A clock that went back counts into the last minute."""
        minute = at_ms // _SLOT_MS
        if self.slots:
            minute = max(minute, self.slots[-1][0])
        kept = tuple(slot for slot in self.slots if minute - slot[0] <= HOUR_MS // _SLOT_MS)
        if kept and kept[-1][0] == minute:
            return Budget((*kept[:-1], (minute, kept[-1][1].plus(spent))))
        return Budget((*kept, (minute, spent)))

    def spent(self, now_ms: int) -> Spending:
        """Return what was spent in the hour before `now_ms`, with the whole of the minute in which that hour began."""
        first = now_ms // _SLOT_MS - HOUR_MS // _SLOT_MS
        total = Spending()
        for minute, spending in self.slots:
            total = total.plus(spending) if minute >= first else total
        return total

    def refusal(self, now_ms: int, of_episode: Spending, policy: BudgetPolicy) -> str:
        """Return why no further call may be made now, or "" when one may.

        A call is refused once a limit is reached, so the last one may pass it: no limit knows the cost of a call
        before it is made.
        """
        hour = self.spent(now_ms)
        limits = (
            (hour.tokens, policy.tokens_per_hour, "the hour's budget of tokens is spent"),
            (hour.cost_micro, policy.cost_micro_per_hour, "the hour's budget of money is spent"),
            (of_episode.tokens, policy.tokens_per_episode, "the episode's budget of tokens is spent"),
            (of_episode.cost_micro, policy.cost_micro_per_episode, "the episode's budget of money is spent"),
        )
        return next((reason for used, limit, reason in limits if limit and used >= limit), "")

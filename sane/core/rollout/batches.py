"""Which hosts change together: canaries first, then group after group, at most max_parallel at once.

Hosts that are only looked at (they have the digest, or a retry leaves them) and stand right behind a batch are looked
at with it. No host changes sooner for that, and a fleet that has nothing to change is seen in a few round trips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeVar

from sane.core.rollout import table as t
from sane.core.rollout.host_rows import bits, first_bits
from sane.core.rollout.state import HostSpec, RolloutState

LOOK_AHEAD = 64  # hosts behind a batch that are looked at with it: as many as a fan-out asks at once
T = TypeVar("T")


class Batch(NamedTuple):
    """Name hosts that change together; `kind` is canary, switch (green hosts get traffic) or batch."""

    kind: str
    group: str
    hosts: tuple[str, ...]


def next_batch(state: RolloutState) -> int:
    """Return the set of hosts to begin now that nothing is in flight: 0 when none is left."""
    waiting = state.unswitched or state.among(t.PENDING)
    if state.canaries and not state.promoted:
        waiting = state.canaries & state.among(t.PENDING)
    for group in state.groups:
        if waiting & group:
            batches = _batches(bits(waiting & group), state.is_only_looked_at, state.policy.parallel(state.total))
            return sum(1 << number for number in next(batches))
    return 0


def _batches(hosts: Iterable[T], is_only_looked_at: Callable[[T], bool], parallel: int) -> Iterator[list[T]]:
    """Yield `parallel` hosts at a time, each time with those behind them that are only looked at."""
    batch: list[T] = []
    for host in hosts:
        room = LOOK_AHEAD if is_only_looked_at(host) else 0
        if len(batch) >= parallel + room:
            yield batch
            batch = []
        batch.append(host)
    if batch:
        yield batch


def groups_of(hosts: Sequence[HostSpec]) -> tuple[int, ...]:
    """Return the ordered groups as sets of host numbers: a group is a run of hosts that name the same one."""
    groups: list[int] = []
    last = None
    for number, host in enumerate(hosts):
        if host.group != last or not groups:
            groups.append(0)
            last = host.group
        groups[-1] |= 1 << number
    return tuple(groups)


def plan_batches(state: RolloutState, *, unchanged: int = 0, left_out: int = 0) -> tuple[Batch, ...]:
    """Return every batch in order, if each host turns out well, as `sane plan` prints it.

    `unchanged` and `left_out` are sets of hosts: the first are only probed, with a batch that does not name
    them; the others are not begun. The cost is that of one look at each host.
    """
    members = list(_members(state, unchanged))
    pending = (1 << state.total) - 1 & ~left_out
    changing = pending & ~unchanged
    count = 0 if state.skip_canary else state.policy.canaries(state.total)
    canaries = first_bits(changing, count)
    parallel = state.policy.parallel(state.total)
    first = [members[number] for number in bits(canaries)]
    rest = [members[number] for number in bits(pending & ~canaries)]
    plan = _cut("canary", first, parallel)
    if state.green_first:
        plan += _cut("switch", first, parallel)
    plan += _cut("batch", rest, parallel)
    return tuple(batch for batch in plan if batch.hosts)


class _Member(NamedTuple):
    run: int  # groups are runs: a name may come again behind another one
    group: str
    host: str
    same: bool


def _members(state: RolloutState, unchanged: int) -> Iterator[_Member]:
    run, last = 0, None
    same = set(bits(unchanged))
    for number, host in enumerate(state.hosts):
        if host.spec.group != last:
            run, last = run + 1, host.spec.group
        yield _Member(run, host.spec.group, host.spec.name, number in same)


def _cut(kind: str, members: list[_Member], parallel: int) -> list[Batch]:
    plan: list[Batch] = []
    for _, run in groupby(members, key=itemgetter(0)):
        for batch in _batches(run, lambda member: member.same, parallel):
            plan.append(Batch(kind, batch[0].group, tuple(member.host for member in batch if not member.same)))
    return plan


def peak_exposure(plan: Sequence[Batch]) -> int:
    """Return how many hosts change at once at most."""
    return max((len(batch.hosts) for batch in plan), default=0)

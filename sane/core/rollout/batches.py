"""Which hosts change together: canaries first, then group after group, at most max_parallel at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from sane.core.rollout import table as t
from sane.core.rollout.host_rows import bits, first_bits
from sane.core.rollout.state import HostSpec, RolloutState


class Batch(NamedTuple):
    """Name hosts that change together; `kind` is canary, switch (green hosts get traffic) or batch."""

    kind: str
    group: str
    hosts: tuple[str, ...]


def next_batch(state: RolloutState) -> int:
    """Return the set of hosts to begin now that nothing is in flight: 0 when none is left."""
    parallel = state.policy.parallel(state.total)
    if state.canaries and not state.promoted:
        return _first_of_a_group(state.groups, state.canaries & state.among(t.PENDING), parallel)
    waiting = state.unswitched or state.among(t.PENDING)
    return _first_of_a_group(state.groups, waiting, parallel)


def _first_of_a_group(groups: tuple[int, ...], waiting: int, count: int) -> int:
    for group in groups:
        if waiting & group:
            return first_bits(waiting & group, count)
    return 0


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

    `unchanged` and `left_out` are sets of hosts: the first are only probed, each in its place of a batch that does not
    name it; the others are not begun. The cost is that of one look at each host.
    """
    members = list(_members(state))
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
    if not unchanged:
        return tuple(plan)
    same = {members[number].host for number in bits(unchanged)}
    named = (batch._replace(hosts=tuple(host for host in batch.hosts if host not in same)) for batch in plan)
    return tuple(batch for batch in named if batch.hosts)


class _Member(NamedTuple):
    run: int  # groups are runs: a name may come again behind another one
    group: str
    host: str


def _members(state: RolloutState) -> Iterator[_Member]:
    run, last = 0, None
    for host in state.hosts:
        if host.spec.group != last:
            run, last = run + 1, host.spec.group
        yield _Member(run, host.spec.group, host.spec.name)


def _cut(kind: str, members: list[_Member], parallel: int) -> list[Batch]:
    plan: list[Batch] = []
    for _, run in groupby(members, key=itemgetter(0)):
        found = list(run)
        for at in range(0, len(found), parallel):
            plan.append(Batch(kind, found[0].group, tuple(member.host for member in found[at : at + parallel])))
    return plan


def peak_exposure(plan: Sequence[Batch]) -> int:
    """Return how many hosts change at once at most."""
    return max((len(batch.hosts) for batch in plan), default=0)

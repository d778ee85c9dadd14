"""Which hosts change together: canaries first, then group after group, at most max_parallel at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sane.core import rollout_table as t
from sane.core.host_rows import first_bits
from sane.core.rollout_state import HostSpec, RolloutState


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


def plan_batches(state: RolloutState) -> tuple[Batch, ...]:
    """Return every batch in order, if each host turns out well, as `sane plan` prints it."""
    count = state.policy.canaries(state.total)
    if state.skip_canary:
        count = 0
    names = [host.spec.name for host in state.hosts]
    group_names = [host.spec.group for host in state.hosts]
    parallel = state.policy.parallel(state.total)
    canaries = range(count)
    plan = _cut("canary", canaries, names, group_names, parallel)
    if state.green_first:
        plan += _cut("switch", canaries, names, group_names, parallel)
    return (*plan, *_cut("batch", range(count, len(names)), names, group_names, parallel))


def _cut(kind: str, numbers: range, names: list[str], groups: list[str], parallel: int) -> list[Batch]:
    plan: list[Batch] = []
    batch: list[str] = []
    for number in numbers:
        full = len(batch) == parallel
        if batch and (full or groups[number] != groups[number - 1]):
            plan.append(Batch(kind, groups[number - 1], tuple(batch)))
            batch = []
        batch.append(names[number])
    if batch:
        plan.append(Batch(kind, groups[numbers[-1]], tuple(batch)))
    return plan


def peak_exposure(plan: Sequence[Batch]) -> int:
    """Return how many hosts change at once at most."""
    return max((len(batch.hosts) for batch in plan), default=0)

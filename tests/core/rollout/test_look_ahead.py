"""Hosts that are only looked at stand in no host's way, and no host changes sooner because of them."""

from __future__ import annotations

from sane.core.rollout.batches import LOOK_AHEAD
from sane.core.rollout.controller import HostSpec
from sane.core.rollout.policy import RolloutPolicy
from tests.core.rollout.rollout_world import QUICK, Run, World, begin, drive, statuses

ONE_BY_ONE = RolloutPolicy(**QUICK)  # type: ignore[arg-type]


def run_of(fates: str, policy: RolloutPolicy = ONE_BY_ONE) -> Run:
    """Roll out to a host for each letter: Changed, Same, Bad in its health and the same, | begins another group."""
    hosts: list[HostSpec] = []
    world = World({})
    group = 0
    for letter in fates:
        group += letter == "|"
        if letter != "|":
            hosts.append(HostSpec(f"h{len(hosts)}", str(group)))
            world.fates[hosts[-1].name] = {"C": "ok", "S": "same", "B": "same_sick"}[letter]
    return drive(begin(hosts, policy), world, limit=100_000)


def rounds(run: Run) -> list[str]:
    """Return which hosts begin together, by their numbers."""
    found: list[list[str]] = []
    seen: set[str] = set()
    last = 0
    for number, event in enumerate(run.log):
        begun = event.kind == "action_started" and event.data["action"] in ("stage", "probe")
        if begun and event.host not in seen:
            seen.add(event.host)
            if number != last + 1 or not found:
                found.append([])
            found[-1].append(event.host[1:])
            last = number
    return [" ".join(batch) for batch in found]


def test_fifty_unchanged_hosts_are_looked_at_together() -> None:
    run = run_of("S" * 50)
    assert len(rounds(run)) == 1
    assert run.state.reason == "50 of 50 hosts are healthy (50 unchanged)"


def test_no_more_are_looked_at_together_than_a_fan_out_asks_at_once() -> None:
    assert [len(batch.split()) for batch in rounds(run_of("S" * 2 * LOOK_AHEAD))] == [LOOK_AHEAD + 1, LOOK_AHEAD - 1]


def test_one_that_changes_begins_when_all_before_it_are_known() -> None:
    assert rounds(run_of("SSCSSCC")) == ["0 1", "2 3 4", "5", "6"]
    assert rounds(run_of("CS|SSC")) == ["0 1", "2 3", "4"]


def test_a_bad_one_among_them_stops_those_that_change_behind_it() -> None:
    run = run_of("SBSC")
    assert run.state.status == "failed"
    assert statuses(run.state) == {"h0": "unchanged", "h1": "failed", "h2": "unchanged", "h3": "not_attempted"}


def test_the_healthy_hosts_of_a_retry_are_looked_at_together() -> None:
    hosts = [HostSpec(f"h{i}", task="redeploy" if i == 3 else "probe") for i in range(9)]
    run = drive(begin(hosts, ONE_BY_ONE), World({}))
    assert rounds(run) == ["0 1 2", "3 4 5 6 7 8"]

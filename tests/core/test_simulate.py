"""The batches that a deployment would have, played through the pure core."""

from __future__ import annotations

import time
from typing import Any

from sane.core.policy import RolloutPolicy
from sane.core.revisions import create
from sane.core.rollout_state import HostSpec
from sane.core.simulate import Present, Simulation, simulate
from sane.core.units import parse_amount

NAMES = ("a", "b", "c", "d", "e")


def play(
    *, present: dict[str, Present] | None = None, unreachable: tuple[str, ...] = (), groups: str = "", **policy: Any
) -> Simulation:
    amounts = {n: parse_amount(v, n) for n, v in policy.items() if n in ("max_parallel", "canary", "max_failures")}
    values: dict[str, Any] = {**policy, **amounts}
    specs = [HostSpec(name, groups[i : i + 1], "2", "new") for i, name in enumerate(NAMES)]
    event = create("d", "k", 1, "2", specs, RolloutPolicy(**values), 0)
    return simulate(event, present or {}, unreachable)


def shapes(played: Simulation) -> list[tuple[str, str]]:
    return [(batch.kind, "".join(batch.hosts)) for batch in played.batches]


def test_rolling_goes_batch_after_batch_within_a_group() -> None:
    played = play(max_parallel="2", groups="xxxyy")
    assert shapes(played) == [("batch", "ab"), ("batch", "c"), ("batch", "de")]
    assert (played.peak, played.status) == (2, "successful")


def test_canaries_go_first_and_are_promoted() -> None:
    played = play(strategy="canary", canary="1", max_parallel="4")
    assert shapes(played) == [("canary", "a"), ("batch", "bcde")]
    assert (played.peak, played.status) == (4, "successful")


def test_blue_green_stages_all_then_switches() -> None:
    played = play(strategy="blue-green", max_parallel="5")
    assert shapes(played) == [("canary", "abcde"), ("switch", "abcde")]


def test_hosts_with_the_digest_are_no_part_of_a_batch() -> None:
    played = play(present={"a": Present("2", "new"), "b": Present("1", "old")}, max_parallel="5")
    assert shapes(played) == [("batch", "bcde")]
    assert play(present=dict.fromkeys(NAMES, Present("2", "new"))).batches == []


def test_unreachable_hosts_beyond_the_budget_end_it_before_any_batch() -> None:
    played = play(unreachable=("b",))
    assert (played.status, played.batches, played.peak) == ("failed", [], 0)
    assert play(unreachable=("b",), max_failures="1").status == "partial"


def test_a_thousand_hosts_are_played_in_a_few_seconds() -> None:
    specs = [HostSpec(f"h{number}", "", "2", "new") for number in range(1_000)]
    event = create("d", "k", 1, "2", specs, RolloutPolicy(max_parallel=parse_amount("5%", "max_parallel")), 0)
    began = time.process_time()
    played = simulate(event, {}, ())
    assert len(played.batches) == 20
    assert played.peak == 50
    assert time.process_time() - began < 5

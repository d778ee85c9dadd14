"""The batches that a deployment would have, played through the pure core."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.events import Event
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import PARTS, create
from sane.core.rollout.simulate import Present, Simulation, simulate
from sane.core.rollout.state import HostSpec
from sane.core.units import parse_amount
from tests.core.rollout.rollout_replay import replay

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


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Event, dict[str, Present], set[str]]:
    count = draw(st.integers(1, 9))
    names = [f"h{number}" for number in range(count)]
    strategy = draw(st.sampled_from(("rolling", "canary", "blue-green")))
    amount = st.sampled_from(("1", "2", "3", "30%", "100%"))
    values: dict[str, Any] = {
        "strategy": strategy,
        "max_parallel": parse_amount(draw(amount), "max_parallel"),
        "canary": parse_amount(draw(amount) if strategy != "rolling" else "0", "canary"),
        "max_failures": parse_amount(draw(st.sampled_from(("0", "1", "50%", "100%"))), "max_failures"),
        "progress_deadline_ms": draw(st.sampled_from((0, 600_000))),
        "on_failure": draw(st.sampled_from(("stop", "revert_all"))),
    }
    if strategy == "blue-green" and draw(st.booleans()):
        del values["canary"]
    groups = draw(st.lists(st.sampled_from("xy"), min_size=count, max_size=count))
    specs = [HostSpec(name, group, "2", "new") for name, group in zip(names, groups, strict=True)]
    parts = tuple(part for part in PARTS if part not in ("switch", "revert", "probe") or draw(st.booleans()))
    event = create("d", "k", 1, "2", specs, RolloutPolicy(**values), 0, parts=parts, skip_canary=draw(st.booleans()))
    has = st.sampled_from((Present(), Present("1", "old"), Present("2", "new")))
    present = {name: draw(has) for name in names if draw(st.booleans())}
    return event, present, {name for name in names if draw(st.integers(0, 5)) == 0}


@settings(max_examples=150, deadline=None)
@given(deployments())
def test_it_says_what_the_controller_itself_does(deployment: tuple[Event, dict[str, Present], set[str]]) -> None:
    assert asdict(simulate(*deployment)) == asdict(replay(*deployment))


def test_ten_thousand_hosts_take_less_than_a_second() -> None:
    specs = [HostSpec(f"h{number}", "", "2", "new") for number in range(10_000)]
    event = create("d", "k", 1, "2", specs, RolloutPolicy(max_parallel=parse_amount("5%", "max_parallel")), 0)
    began = time.process_time()
    played = simulate(event, {"h1": Present("2", "new")}, ())
    assert (len(played.batches), played.peak) == (20, 500)
    assert time.process_time() - began < 1

"""What a watch takes from what is deployed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sane.core.fleet.inventory import Host, Inventory
from sane.core.watch.config import NEVER_STALE_MS, WatchConfig
from sane.core.watch.plan import PlanLimits
from sane.core.workflow.workflow import HealthFile, Workflow
from sane.errors import UsageError
from sane.operations.watch import with_options
from sane.operations.watch_fleet import Fleet, WatchRequest, find_fleet, with_age, with_rungs
from sane.store import open_store

HOST = Host("web1")


def fleet(key: str, max_age_ms: int | None) -> Fleet:
    workflow = Workflow(name="app", key="app", health=HealthFile(max_age_ms=max_age_ms))
    return Fleet(Inventory((HOST,), {}), (HOST,), workflow, key, "watch/app", {})


@pytest.mark.parametrize(
    ("key", "max_age_ms", "configured_ms", "expected_ms"),
    [
        ("app", 7_000, 0, 7_000),  # the workflow's
        ("app", None, 0, NEVER_STALE_MS),  # written once
        ("app", 7_000, 9_000, 9_000),  # a person's word goes first
        ("", None, 0, 15_000),  # an inventory: three polls
    ],
)
def test_the_age_that_counts(key: str, max_age_ms: int | None, configured_ms: int, expected_ms: int) -> None:
    config = WatchConfig()
    config = replace(config, watch=replace(config.watch, stale_after_ms=configured_ms))
    assert with_age(config, fleet(key, max_age_ms)).watch.stale_limit_ms == expected_ms


def test_options_go_first_and_an_interval_that_no_host_keeps_is_refused() -> None:
    assert with_options(WatchConfig(), interval_ms=200, max_age_ms=None).watch.interval_ms == 200
    with pytest.raises(UsageError, match="100ms"):
        with_options(WatchConfig(), interval_ms=50, max_age_ms=None)


@pytest.mark.parametrize(
    ("key", "tier", "may"),
    [("app", "rollback", True), ("app", "write", True), ("app", "retry", False), ("", "write", False)],
)
def test_the_rules_roll_back_where_something_is_deployed_and_the_tier_is_enough(key: str, tier: str, may: bool) -> None:
    config = WatchConfig(limits=PlanLimits(tier=tier))
    assert with_rungs(config, fleet(key, None)).escalation.may_roll_back is may


async def test_two_groups_never_have_one_watch_key(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("hosts: {web1: {}}\ngroups: {web: {hosts: [web1]}}\n")
    store = await open_store(None, tmp_path)
    try:
        groups = ("all", "web", "web*", "web?", "web1,web")
        keys = [(await find_fleet(store, WatchRequest(inventory, group=group))).watch_key for group in groups]
    finally:
        await store.close()
    assert len({*keys}) == len(groups)
    assert keys[1] == f"{keys[0]}/web"

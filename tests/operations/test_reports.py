"""What a list and a report say of a deployment whose controller went away: that, and since when nothing was heard of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sane.core.events import Event
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create
from sane.core.rollout.state import HostSpec
from sane.operations.reports import build_report, list_summaries
from sane.store import open_store
from sane.store.base import Store

HEARD_MS = 1_700_000_005_000
HEARD = "its controller went away, last heard of at 2023-11-14T22:13:25Z"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


async def descriptions(store: Store) -> tuple[str, str]:
    (listed,) = await list_summaries(store, limit=5)
    return listed["description"], (await build_report(store, "app-1"))["description"]


async def begin(store: Store, *changes: tuple[str, str, str], reason: str = "") -> None:
    """Leave a deployment behind these changes, and a last word of its controller."""
    policy = RolloutPolicy()
    at_ms = HEARD_MS - 5_000
    first = create("app-1", "app", 1, "2", [HostSpec("web1")], policy, at_ms, parts=["stage"], reason=reason)
    await store.create_deployment(first)
    for source, target, why in changes:
        data = {"from": source, "to": target, "reason": why}
        await store.append([Event("deployment_transition", at_ms, "app", "app-1", data=data)])
    await store.append([Event("message", HEARD_MS, "app", "app-1", data={"text": "so far"})])


async def test_one_that_was_killed_in_its_preflight(store: Store) -> None:
    await begin(store)
    assert await descriptions(store) == (HEARD, HEARD)


async def test_why_it_was_asked_for_stays_and_the_preflight_is_no_news(store: Store) -> None:
    await begin(
        store, ("pending", "running", "preflight is within the failure budget; asked for: speed"), reason="speed"
    )
    assert await descriptions(store) == (f"{HEARD}; asked for: speed",) * 2


async def test_another_reason_for_what_it_was_doing_stays_behind(store: Store) -> None:
    await begin(store, ("pending", "running", "preflight is within the failure budget"), ("running", "paused", "lunch"))
    assert await descriptions(store) == ("lunch", "lunch")  # it waits for a person, not for a controller
    data = {"from": "paused", "to": "running", "reason": "resumed by an operator"}
    await store.append([Event("deployment_transition", HEARD_MS, "app", "app-1", data=data)])
    assert await descriptions(store) == (f"{HEARD}; resumed by an operator",) * 2


async def test_one_that_is_driven_says_what_it_does(store: Store) -> None:
    await begin(store, ("pending", "running", "preflight is within the failure budget"))
    await store.take_lease("app", "me", 60_000, int(time.time() * 1000))
    assert await descriptions(store) == ("preflight is within the failure budget",) * 2

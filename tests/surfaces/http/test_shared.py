"""What processes share, the same contract for memory, Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sane.core.breaker import Breaker, Permit
from sane.engine.shared_state import Memory, Shared, SharedBreakers, settle_permit, take_permit
from sane.errors import UnavailableError
from sane.surfaces.http.service import open_shared
from sane.surfaces.http.settings import Settings
from tests.surfaces.http.servers import redis_server

# What is refused within these times has to be asked within them, also on a machine that is busy.
BREAKER = Breaker(threshold=3, reset_ms=500, probe_limit_ms=2_000)


def settings_of(kind: str, request: pytest.FixtureRequest) -> Settings:
    if kind == "redis":
        return Settings(redis_url=request.getfixturevalue("redis_url"))
    return Settings(database_url=request.getfixturevalue("postgres_schema_url")) if kind == "postgres" else Settings()


@pytest.fixture(params=["memory", "redis", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings for each place where things are shared."""
    return settings_of(request.param, request)


@pytest.fixture(params=["redis", "postgres"])
def settings_across(request: pytest.FixtureRequest) -> Settings:
    """Return settings for each place that several processes share."""
    return settings_of(request.param, request)


@pytest.fixture
async def pair(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Shared, Shared]]:
    """Yield what two processes have; of memory the same one, since one process is all that it serves."""
    first = await open_shared(settings, BREAKER, tmp_path)
    second = first if isinstance(first, Memory) else await open_shared(settings, BREAKER, tmp_path)
    assert await first.is_healthy()
    yield first, second
    for shared in (first, second):
        await shared.close()


async def take_when_allowed(shared: Shared) -> Permit:
    """Return the permit for the next call that the breaker allows."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await take_permit(shared, "b")
            except UnavailableError:
                await asyncio.sleep(0.02)


async def test_never_more_places_than_the_limit(pair: tuple[Shared, Shared]) -> None:
    taken = await asyncio.gather(*(pair[n % 2].take_slot(f"s{n}", 7, 5_000) for n in range(60)))
    assert sum(taken) == 7
    assert await pair[0].count_slots() == await pair[1].count_slots() == 7
    mine = next(n for n in range(60) if taken[n])
    await pair[0].free_slot(f"s{mine}")
    assert await pair[1].take_slot("another", 7, 5_000)
    assert not await pair[0].take_slot("one more", 7, 5_000)


async def test_places_of_a_killed_process_come_back_and_renewed_ones_stay(
    settings_across: Settings, tmp_path: Path
) -> None:
    shared = await open_shared(settings_across, BREAKER, tmp_path)
    try:
        assert await shared.take_slot("killed", 2, 300)
        assert await shared.take_slot("alive", 2, 300)
        await shared.renew_slots(["alive"], 60_000)
        assert not await shared.take_slot("early", 2, 60_000)
        async with asyncio.timeout(5):  # the bound: the place's time, 0.3 s
            while not await shared.take_slot("late", 2, 60_000):
                await asyncio.sleep(0.02)
        await shared.sweep()
        assert await shared.count_slots() == 2
    finally:
        await shared.close()


async def test_a_hundred_callers_find_exactly_one_probe(pair: tuple[Shared, Shared]) -> None:
    for _ in range(3):
        await settle_permit(pair[0], "b", await take_permit(pair[1], "b"), "fail")
    assert (await pair[1].read_breaker("b")).state == "open"
    with pytest.raises(UnavailableError) as refused:
        await take_permit(pair[0], "b")
    assert 1 <= (refused.value.retry_after_s or 0) <= 30
    await asyncio.sleep(BREAKER.reset_ms / 1000 + 0.05)
    asked = await asyncio.gather(*(take_permit(pair[n % 2], "b") for n in range(100)), return_exceptions=True)
    permits = [permit for permit in asked if not isinstance(permit, BaseException)]
    assert len(permits) == 1
    assert all(isinstance(other, UnavailableError) for other in asked if other is not permits[0])
    await settle_permit(pair[1], "b", permits[0], "release")  # cancelled: the next caller is the probe
    probe = await take_permit(pair[0], "b")
    await settle_permit(pair[1], "b", probe, "succeed")
    assert (await pair[0].read_breaker("b")).state == "closed"


async def test_a_probe_that_is_never_heard_of_again_frees_its_place(pair: tuple[Shared, Shared]) -> None:
    for _ in range(3):
        await settle_permit(pair[0], "b", await take_permit(pair[0], "b"), "fail")
    assert (await take_when_allowed(pair[0])).is_probe
    with pytest.raises(UnavailableError):
        await take_permit(pair[1], "b")
    assert (await take_when_allowed(pair[1])).is_probe


async def test_failures_of_all_processes_are_counted_once_each(pair: tuple[Shared, Shared]) -> None:
    permits = [await take_permit(pair[n % 2], "b") for n in range(2)]
    await asyncio.gather(*(settle_permit(pair[n], "b", permits[n], "fail") for n in range(2)))
    assert (await pair[0].read_breaker("b")).failures == 2


async def test_a_key_is_used_once(pair: tuple[Shared, Shared]) -> None:
    used = await asyncio.gather(*(pair[n % 2].use_once("k", 60_000) for n in range(20)))
    assert sum(used) == 1
    assert await pair[0].use_once("short", 1)
    await asyncio.sleep(0.02)
    assert await pair[1].use_once("short", 60_000)


async def test_memory_remembers_used_keys_over_a_restart(tmp_path: Path) -> None:
    for expected in (True, False):
        memory = Memory(BREAKER, tmp_path / "signatures.db")
        assert await memory.use_once("k", 60_000) is expected
        await memory.close()
    assert (tmp_path / "signatures.db").stat().st_mode & 0o077 == 0


async def test_breakers_of_models_count_failures_and_not_cancellations(pair: tuple[Shared, Shared]) -> None:
    breakers = SharedBreakers(pair[0])
    for error in (asyncio.CancelledError, GeneratorExit, ValueError, ValueError, ValueError):
        with pytest.raises(error):
            async with breakers.guard("m"):
                raise error
    with pytest.raises(UnavailableError):
        async with SharedBreakers(pair[1]).guard("m"):
            pass
    assert (await pair[1].read_breaker("model:m")).failures == 3


async def test_the_outcome_of_a_call_stands_where_redis_goes_away_meanwhile(tmp_path: Path) -> None:
    with ExitStack() as servers:
        shared = await open_shared(Settings(redis_url=servers.enter_context(redis_server())), BREAKER, tmp_path)
        breakers = SharedBreakers(shared)

        async def refuse() -> None:
            async with breakers.guard("other"):
                servers.close()
                raise ValueError("the model's own words")

        async def answer() -> str:
            async with breakers.guard("m"):
                with pytest.raises(ValueError, match="the model's own words"):
                    await refuse()
                return "answer"

        assert await answer() == "answer"
    await shared.close()


async def test_redis_that_went_away_is_an_error_within_five_seconds(tmp_path: Path) -> None:
    with redis_server() as url:
        shared = await open_shared(Settings(redis_url=url), BREAKER, tmp_path)
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError, match="can't be used"):
            await shared.take_slot("s", 1, 1_000)
        assert not await shared.is_healthy()
    await shared.close()

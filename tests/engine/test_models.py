"""Models over real HTTP on loopback: both protocols, every fault, breakers, fallbacks, costs."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from typing import Any

import pytest

from sane.core.rollout.hints import install_hint
from sane.core.watch.model_settings import ModelSettings
from sane.engine.breakers import LocalBreakers
from sane.engine.model_clients import build_model, reason_of
from sane.engine.models import ModelCall, ModelChain
from sane.errors import ConfigError, UnavailableError
from tests.engine import model_servers as fake

KEY = "sk-verysecretkey1234567890"
ENVIRON = {"MODEL_KEY": KEY}


def breakers(**options: Any) -> LocalBreakers:
    return LocalBreakers(lambda: time.monotonic_ns() // 1_000_000, **options)


def settings(url: str, provider: str = "openai", name: str = "big", **more: Any) -> ModelSettings:
    given = {
        "key_env": "MODEL_KEY",
        "timeout_ms": 5_000,
        "input_price_micro": 3_000_000,
        "output_price_micro": 15_000_000,
    }
    return ModelSettings(name, provider, "fake-model", url, **{**given, **more})


def chain(*models: ModelSettings, **options: Any) -> ModelChain:
    return ModelChain(models, breakers(**options), ENVIRON)


async def collect(stream: Any) -> str:
    return "".join([piece async for kind, piece in stream if kind == "content"])


@pytest.mark.parametrize("provider", ["openai", "ollama", "anthropic"])
async def test_each_protocol_answers_whole_and_streamed_with_its_cost(provider: str) -> None:
    calls: list[ModelCall] = []
    with fake.ModelServer(fake.text("one two three")) as server:
        url = server.anthropic_url if provider == "anthropic" else server.openai_url
        model = chain(settings(url, provider))
        assert await model.ask("be brief", "hello", on_call=calls.append) == "one two three"
        assert await collect(model.stream("be brief", "hello", on_call=calls.append)) == "one two three"
        assert KEY in server.requests[0].headers["authorization"]
        assert "be brief" in server.requests[0].prompt
    assert [(c.outcome, c.input_tokens, c.output_tokens, c.cost_micro) for c in calls] == [
        ("answered", 120, 30, 810)
    ] * 2


FAULTS = {
    "hang": (fake.hang(), "in time"),
    "half": (fake.half(), ""),
    "nonsense": (fake.nonsense(), ""),
    "500": (fake.status(500), "500"),
    "401": (fake.status(401), "401"),
    "429": (fake.status(429, retry_after=300), "429"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_fault_hands_over_to_the_next_model_and_is_recorded(fault: str, provider: str) -> None:
    reply, reason = FAULTS[fault]
    calls: list[ModelCall] = []
    with fake.ModelServer(reply) as bad, fake.ModelServer(fake.text("fine")) as good:
        url = bad.anthropic_url if provider == "anthropic" else bad.openai_url
        model = chain(settings(url, provider, timeout_ms=400), settings(good.openai_url, name="small"))
        async with asyncio.timeout(5):
            assert await model.ask("i", "p", on_call=calls.append) == "fine"
    assert [(call.model, call.outcome) for call in calls] == [("big", "failed"), ("small", "answered")]
    assert reason in calls[0].error


async def test_a_refused_connection_is_named_and_the_key_is_in_no_message() -> None:
    model = chain(settings(fake.closed_url()))
    with pytest.raises(UnavailableError, match="big: ") as refused:
        await model.ask("i", "p")
    assert KEY not in str(refused.value) + refused.value.hint


def test_a_key_in_an_errors_text_is_not_repeated() -> None:
    assert "swordfish" not in reason_of(ValueError("bad header: swordfish\n at line 1"), "swordfish")
    assert "hunter22" not in reason_of(ValueError("password=hunter22"), "")


async def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    for key in ("swordfish\x01", "swördfish"):
        model = ModelChain([settings("http://127.0.0.1:9/v1")], breakers(), {"MODEL_KEY": key})
        with pytest.raises(UnavailableError, match="MODEL_KEY") as refused:
            await model.ask("i", "p")
        assert key not in refused.value.message
    with fake.ModelServer(fake.text("fine")) as server:
        model = ModelChain([settings(server.openai_url)], breakers(), {"MODEL_KEY": "swordfish\n"})
        assert await model.ask("i", "p") == "fine"
        await model.close()


async def test_a_short_retry_after_is_waited_for_once() -> None:
    with fake.ModelServer(fake.status(429, retry_after=1), fake.text("fine")) as server:
        began = time.monotonic()
        assert await chain(settings(server.openai_url)).ask("i", "p") == "fine"
        assert time.monotonic() - began >= 1
        assert len(server.requests) == 2


async def test_a_long_retry_after_is_told_to_the_caller() -> None:
    with fake.ModelServer(fake.status(429, retry_after=77)) as server:
        with pytest.raises(UnavailableError) as refused:
            await chain(settings(server.openai_url)).ask("i", "p")
        assert refused.value.retry_after_s == pytest.approx(77)
        assert len(server.requests) == 1


async def test_half_a_stream_is_an_error_after_what_was_shown() -> None:
    with fake.ModelServer(fake.half("one two three four")) as server, fake.ModelServer(fake.text("other")) as other:
        model = chain(settings(server.openai_url), settings(other.openai_url, name="small"))
        shown: list[str] = []

        async def show() -> None:
            async for kind, piece in model.stream("i", "p"):
                shown.extend([piece] if kind == "content" else [])

        with pytest.raises(UnavailableError):
            await show()
    assert "".join(shown) in "one two three four"
    assert shown
    assert other.requests == []


async def test_a_reader_that_goes_away_ends_the_call_and_counts_as_no_failure() -> None:
    with fake.ModelServer(fake.text("one two three four", hold=True)) as server:
        guards = breakers(threshold=1)
        model = ModelChain([settings(server.openai_url)], guards, ENVIRON)
        calls: list[ModelCall] = []
        async with aclosing(model.stream("i", "p", on_call=calls.append)) as stream:
            assert await anext(stream) == ("model", "big")
        await asyncio.to_thread(server.wait_for, lambda s: s.gone == 1, 5)
        assert guards.find("big").state == "closed"
        assert [call.outcome for call in calls] == ["cancelled"]


async def test_the_breaker_opens_lets_one_of_100_callers_probe_and_closes() -> None:
    with fake.ModelServer(*[fake.status(500)] * 3, fake.text("fine", hold=True)) as server:
        now = [0]
        guards = LocalBreakers(lambda: now[0], threshold=3, reset_ms=1_000)
        model = ModelChain([settings(server.openai_url)], guards, ENVIRON)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="500"):
                await model.ask("i", "p")
        with pytest.raises(UnavailableError, match="breaker") as refused:
            await model.ask("i", "p")
        assert refused.value.retry_after_s == pytest.approx(1.0)
        now[0] = 1_000
        outcomes = await asyncio.gather(*(model.ask("i", "p") for _ in range(100)), return_exceptions=True)
        assert [o for o in outcomes if isinstance(o, str)] == ["fine"]
        assert len(server.requests) == 4
        assert guards.find("big").state == "closed"


async def test_a_missing_key_names_its_variable_before_anything_is_sent() -> None:
    with pytest.raises(UnavailableError, match="MODEL_KEY"):
        await ModelChain([settings("http://127.0.0.1:9/v1")], breakers(), {}).ask("i", "p")


async def test_a_limit_of_tokens_ends_a_conversation() -> None:
    with fake.ModelServer(fake.text("hi", input_tokens=900, output_tokens=200)) as server:
        calls: list[ModelCall] = []
        with pytest.raises(UnavailableError, match="(?i)limit"):
            await chain(settings(server.openai_url)).ask("i", "p", token_limit=1_000, on_call=calls.append)
    assert (calls[0].input_tokens, calls[0].output_tokens) == (900, 200)


def test_a_package_that_is_missing_is_installed_as_from_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match="not installed: openai") as refused:
        build_model(settings("http://127.0.0.1:1"), ENVIRON)
    assert install_hint("agents") in refused.value.hint


@pytest.mark.parametrize(("is_late", "failures"), [(True, 1), (False, 0)])
async def test_a_cancelled_call_is_a_failure_only_where_its_time_was_up(is_late: bool, failures: int) -> None:
    guards = breakers()

    async def call() -> None:
        async with guards.guard("m", is_late=lambda: is_late):
            await asyncio.sleep(60)

    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    assert guards.find("m").failures == failures

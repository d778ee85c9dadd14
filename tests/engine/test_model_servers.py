"""The made-up model endpoint speaks the protocols that the real clients of the two providers understand."""

from __future__ import annotations

import asyncio

import anthropic
import openai
import pytest

from tests.engine import model_servers as fake


def openai_client(server: fake.ModelServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=server.openai_url, max_retries=0, timeout=5)


def anthropic_client(server: fake.ModelServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=server.anthropic_url, max_retries=0, timeout=5)


SAY = [{"role": "user", "content": "hi"}]


async def test_openai_whole_and_streamed() -> None:
    with fake.ModelServer(fake.text("one two three")) as server:
        client = openai_client(server)
        whole = await client.chat.completions.create(model="m", messages=SAY)
        assert (whole.choices[0].message.content, whole.usage.total_tokens) == ("one two three", 150)
        stream = await client.chat.completions.create(model="m", messages=SAY, stream=True)
        pieces = [c.choices[0].delta.content async for c in stream if c.choices and c.choices[0].delta.content]
        assert "".join(pieces) == "one two three"
        assert len(pieces) > 1


async def test_anthropic_whole_and_streamed() -> None:
    with fake.ModelServer(fake.text("one two three"), fake.output({"a": [1, 2]})) as server:
        client = anthropic_client(server)
        whole = await client.messages.create(model="m", messages=SAY, max_tokens=9)
        assert whole.content[0].text == "one two three"
        async with client.messages.stream(model="m", messages=SAY, max_tokens=9) as stream:
            message = await stream.get_final_message()
        assert message.content[0].input == {"a": [1, 2]}
        assert server.requests[0].headers["authorization"] == "Bearer k"


async def test_faults_are_those_of_the_network() -> None:
    with fake.ModelServer(fake.status(429, retry_after=7), fake.half(), fake.nonsense()) as server:
        client = openai_client(server)
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="m", messages=SAY)
        assert limited.value.response.headers["retry-after"] == "7"
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="m", messages=SAY)
        assert isinstance(await client.chat.completions.create(model="m", messages=SAY), str)
    client = openai.AsyncOpenAI(api_key="k", base_url=fake.closed_url(), max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="m", messages=SAY)


async def test_a_client_that_goes_away_is_counted() -> None:
    with fake.ModelServer(fake.hang()) as server:
        asking = asyncio.create_task(openai_client(server).chat.completions.create(model="m", messages=SAY))
        await asyncio.to_thread(server.wait_for_requests, 1)
        asking.cancel()
        await asyncio.to_thread(server.wait_for, lambda s: s.gone == 1, 5)
        assert server.most_active == 1

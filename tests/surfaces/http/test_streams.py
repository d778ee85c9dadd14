"""Answers of agents over real connections, by real model protocols on loopback."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sane.engine.stream_agents import headline
from sane.engine.stream_hub import BREAKER, StreamLimits
from sane.engine.streams import KEPT_BYTES, Stream
from sane.errors import ConflictError
from sane.surfaces.http.credentials import CredentialFile
from sane.surfaces.http.settings import Settings
from tests.engine import model_servers as fake
from tests.surfaces.http.servers import QUESTION, Served, serving, write_agent

LIMITS = StreamLimits(most_streams=3, timeout_s=10, resume_s=0.3, heartbeat_s=0.1)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("content", "") for event in events)


async def read_until(lines: Any, count: int) -> list[dict[str, Any]]:
    """Return the first events of a response that is not over, heartbeats left out."""
    found: list[dict[str, Any]] = []
    async for line in lines:
        event = json.loads(line)
        if event["type"] != "heartbeat":
            found.append(event)
        if len(found) == count:
            break
    return found


async def test_the_agent_without_a_model_answers_from_the_log(served: Served) -> None:
    answer = await served.ask()
    events = events_of(answer.text)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert [event["type"] for event in events] == ["start", "content", "done"]
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert (events[0]["agent"], events[0]["stream"]) == ("fleet", answer.headers["x-sane-stream"])
    assert "Nothing was deployed yet" in events[1]["content"]
    assert (events[2]["model"], events[2]["usage"]) == ("rules", {"input_tokens": 0, "output_tokens": 0})


async def test_a_model_streams_in_pieces_with_its_usage(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("one two three four")) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path) as served:
            body = {
                "messages": [
                    {"role": "user", "content": "password=hunter2hunter2"},
                    {"role": "assistant", "content": "b"},
                    *QUESTION["messages"],
                ]
            }
            events = events_of((await served.ask("helper", body)).text)
            recorded = await served.service.store.read(kinds=["model_called"])
        assert text_of(events) == "one two three four"
        assert len([event for event in events if event["type"] == "content"]) > 1
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert (events[-1]["model"], events[-1]["usage"]) == ("m0", {"input_tokens": 120, "output_tokens": 30})
        assert [(event.data["agent"], event.data["outcome"]) for event in recorded] == [("helper", "answered")]
        assert "hunter2" not in model.requests[0].prompt
        assert "be brief" in model.requests[0].prompt
        assert "assistant: b" in model.requests[0].prompt


async def test_over_the_limit_is_429_and_the_end_frees_the_place(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("one two", hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=LIMITS) as served:
            asked = [asyncio.create_task(served.ask("helper")) for _ in range(3)]
            await served.wait_for_active(3)
            refused = await served.ask("fleet")
            health = (await served.client.get("/system/streaming-health")).json()
            assert (refused.status_code, refused.json()["code"]) == (429, "limit")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
            assert health["web_worker_streams"] == {"active": 3, "max": 3, "available": 0}
            assert health["redis_streams"]["active_streams"] == 3
            model.release()
            for answer in await asyncio.gather(*asked):
                assert text_of(events_of(answer.text)) == "one two"
                assert (await served.ask()).status_code == 200  # whoever saw the end finds the place free


async def test_a_client_that_goes_away_cancels_the_model_and_frees_its_place(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("one two three four", hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=LIMITS) as served:
            async with served.client.stream("POST", "/agent/stream/helper", json=QUESTION) as answer:
                assert (await read_until(answer.aiter_lines(), 2))[0]["type"] == "start"
            await served.wait_for_active(0, timeout_s=3)  # resume_s is 0.3 s
            await asyncio.to_thread(model.wait_for, lambda server: server.gone == 1, 3)
            breaker = await served.service.hub.shared.read_breaker(BREAKER)
            assert (breaker.state, breaker.failures) == ("closed", 0)


async def test_a_stream_ends_by_its_timeout_and_the_model_is_cancelled(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("one two three four", hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=StreamLimits(timeout_s=0.8)) as served:
            async with asyncio.timeout(4):
                events = events_of((await served.ask("helper")).text)
            assert (events[-1]["type"], events[-1]["code"]) == ("error", "timeout")
            assert "STREAM_TIMEOUT_SECONDS" in events[-1]["hint"]
            await asyncio.to_thread(model.wait_for, lambda server: server.gone == 1, 3)
            await served.wait_for_active(0)


async def test_a_model_that_hangs_until_the_stream_is_ended_fails_for_its_own_breaker(tmp_path: Path) -> None:
    with fake.ModelServer(fake.hang()) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=StreamLimits(timeout_s=0.8)) as served:
            assert events_of((await served.ask("helper")).text)[-1]["code"] == "timeout"
            await served.wait_for_active(0)
            breaker = await served.service.hub.shared.read_breaker("model:m0")
            assert (breaker.state, breaker.failures) == ("closed", 1)


async def test_a_client_that_goes_away_is_no_failure_of_the_model_that_was_asked(tmp_path: Path) -> None:
    with fake.ModelServer(fake.hang()) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=LIMITS) as served:
            async with served.client.stream("POST", "/agent/stream/helper", json=QUESTION):
                await asyncio.to_thread(model.wait_for_requests, 1)
            await served.wait_for_active(0, timeout_s=3)
            assert (await served.service.hub.shared.read_breaker("model:m0")).failures == 0


@pytest.mark.parametrize("how", ["after", "last-event-id"])
async def test_a_stream_is_resumed_without_a_gap(tmp_path: Path, how: str) -> None:
    words = " ".join(f"w{n}" for n in range(40))
    with fake.ModelServer(fake.text(words, pieces=40, hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, limits=LIMITS) as served:
            async with served.client.stream("POST", "/agent/stream/helper", json=QUESTION) as answer:
                path = f"/agent/stream/helper/{answer.headers['x-sane-stream']}"
                first = await read_until(answer.aiter_lines(), 4)
            again = {"params": {"after": 4}} if how == "after" else {"headers": {"last-event-id": "4"}}
            text = ""
            async with served.client.stream("GET", path, **again) as resumed:
                async for piece in resumed.aiter_text():
                    text += piece
                    if "heartbeat" in text:
                        model.release()
            rest = events_of(text)
            beats = [event for event in rest if event["type"] == "heartbeat"]
            whole = first + [event for event in rest if event["type"] != "heartbeat"]
            assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
            assert (text_of(whole), whole[-1]["type"]) == (words, "done")
            assert beats
            assert all(4 <= beat["seq"] < len(whole) for beat in beats)
            later = await served.client.get(path, params={"after": len(whole) - 1})
            assert [event["type"] for event in events_of(later.text)] == ["done"]
            assert (await served.client.get(path, params={"after": 999})).status_code == 409
            assert (await served.client.get(path.replace("helper", "fleet"))).status_code == 404
            assert (await served.client.get("/agent/stream/helper/none")).status_code == 404


async def test_a_stream_is_resumed_by_nobody_else(tmp_path: Path) -> None:
    credentials = CredentialFile(tmp_path)
    tokens = [{"authorization": f"Bearer {credentials.add(name, ['read'])}"} for name in ("one", "two")]
    async with serving(tmp_path) as served:
        answer = await served.ask(headers=tokens[0])
        path = f"/agent/stream/fleet/{answer.headers['x-sane-stream']}"
        assert (await served.client.get(path, headers=tokens[0])).text == answer.text
        assert (await served.client.get(path, headers=tokens[1])).status_code == 404


async def test_the_next_model_and_at_last_the_rules_answer_for_one_that_is_down(tmp_path: Path) -> None:
    with (
        fake.ModelServer(fake.status(500)) as down,
        fake.ModelServer(fake.text("from the second"), fake.status(500)) as second,
    ):
        write_agent(tmp_path, "helper", down, second)
        async with serving(tmp_path, Settings(circuit_breaker_threshold=2)) as served:
            first = events_of((await served.ask("helper")).text)
            assert (text_of(first), first[-1]["model"]) == ("from the second", "m1")
            for _ in range(3):
                answer = events_of((await served.ask("helper")).text)
                assert (answer[-1]["type"], answer[-1]["model"]) == ("done", "rules")
            assert (len(down.requests), len(second.requests)) == (2, 3)  # then both breakers are open
            health = (await served.client.get("/system/streaming-health")).json()
            assert health["circuit_breakers"]["model:m0"] == {"state": "open", "failure_count": 2, "threshold": 2}
            assert health["circuit_breakers"]["agent_streaming"]["state"] == "closed"
            reset = await served.client.post("/system/circuit-breaker/reset/model:m0")
            assert reset.json() == {"name": "model:m0", "state": "closed", "failure_count": 0, "threshold": 2}
            await served.ask("helper")
            assert len(down.requests) == 3


async def test_answers_that_break_off_open_the_breaker_until_it_is_reset(tmp_path: Path) -> None:
    with fake.ModelServer(fake.half()) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path, Settings(circuit_breaker_threshold=2)) as served:
            for _ in range(2):
                events = events_of((await served.ask("helper")).text)
                assert (events[0]["type"], events[-1]["type"]) == ("start", "error")
                assert events[-1]["code"] == "unavailable"
            refused = await served.ask("fleet")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
            health = (await served.client.get("/system/streaming-health")).json()
            assert health["status"] == "degraded"
            assert health["circuit_breakers"]["agent_streaming"] == {
                "state": "open",
                "failure_count": 2,
                "threshold": 2,
            }
            reset = await served.client.post("/system/circuit-breaker/reset/agent_streaming")
            assert (reset.status_code, reset.json()["state"]) == (200, "closed")
            assert (await served.ask("fleet")).status_code == 200


async def test_a_hundred_callers_make_one_probe_of_a_half_open_breaker(tmp_path: Path) -> None:
    with fake.ModelServer(fake.half(), fake.text("well again", hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        settings = Settings(circuit_breaker_threshold=1, max_concurrent_streams=100)
        async with serving(tmp_path, settings) as served:
            shared = served.service.hub.shared
            assert events_of((await served.ask("helper")).text)[-1]["type"] == "error"
            for name in (BREAKER, "model:m0"):  # as 30 s later
                await shared.change_breaker(name, lambda b, now: (replace(b, since_ms=now - b.reset_ms), None))
            asked = [asyncio.create_task(served.ask("helper")) for _ in range(100)]
            await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            while sum(task.done() for task in asked) < 99:
                await asyncio.sleep(0.01)
            assert {task.result().status_code for task in asked if task.done()} == {503}
            await asyncio.to_thread(model.wait_for_requests, 2)
            assert len(model.requests) == 2
            model.release()
            (last,) = [task for task in asked if not task.done()]
            assert text_of(events_of((await last).text)) == "well again"
            assert (await shared.read_breaker(BREAKER)).state == "closed"


async def test_an_agent_that_is_none_or_wrong_is_an_error_before_the_stream(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("hi")) as model:
        write_agent(tmp_path, "helper", model)
        async with serving(tmp_path) as served:
            missing = await served.ask("flet")
            assert (missing.status_code, missing.json()["hint"]) == (404, "Did you mean 'fleet'?")
            assert (await served.ask("..%2f..%2fetc")).status_code == 404
            (tmp_path / "agents" / "broken.yaml").write_text("instrctions: x\n")
            wrong = await served.ask("broken")
            assert (wrong.status_code, wrong.json()["code"]) == (422, "config")
            assert (await served.ask("helper")).status_code == 200  # those that were known go on
            (tmp_path / "agents" / "broken.yaml").write_text("instructions: x\nmodel: rules\n")
            assert (await served.ask("broken")).status_code == 200  # found without a restart
            (tmp_path / "agents" / "late.yml").write_text("instructions: x\nmodel: rules\n")
            assert (await served.ask("late")).status_code == 200


async def test_a_stop_ends_streams_and_followers_with_a_word(tmp_path: Path) -> None:
    with fake.ModelServer(fake.text("one two", hold=True)) as model:
        write_agent(tmp_path, "helper", model)
        async with asyncio.timeout(8):
            async with serving(tmp_path) as served:
                answer = asyncio.create_task(served.ask("helper"))
                follower = asyncio.create_task(served.client.get("/api/events"))
                await served.wait_for_active(1)
                await asyncio.to_thread(model.wait_for_requests, 1)
                while not served.service.followers:
                    await asyncio.sleep(0.01)
                await served.service.close()
                last = events_of((await answer).text)[-1]
                assert (last["type"], last["code"]) == ("error", "interrupted")
                assert (await follower).status_code == 200
                assert (await served.ask()).status_code == 503


async def test_a_reader_that_takes_nothing_stops_the_agent_and_not_memory() -> None:
    stream = Stream("s", "a", "", lambda _: None)
    filled = 0

    async def fill() -> None:
        nonlocal filled
        for _ in range(1000):
            await stream.put("content", {"content": "x" * 4096})
            filled += 1
        stream.add("done", {})

    filling = asyncio.create_task(fill())
    async with aclosing(stream.read(0, 1)) as lines:
        first = await anext(lines)
        while filled < KEPT_BYTES // 4200:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert first is not None
        assert filled < 100
        assert stream.kept_bytes < KEPT_BYTES + 5000
        seqs = [1] + [json.loads(line)["seq"] async for line in lines if line is not None]
        assert seqs == list(range(1, 1002))
        assert stream.kept_bytes < KEPT_BYTES + 5000
    await filling
    with pytest.raises(ConflictError):
        stream.check(3)
    stream.check(1000)


async def test_a_reader_that_comes_back_where_nothing_is_kept_any_more_is_a_conflict() -> None:
    stream = Stream("s", "a", "", lambda _: None)
    stream.add("content", {"content": "x" * KEPT_BYTES})
    async with aclosing(stream.read(0, 0.01)) as lines:
        assert await anext(lines)
        assert await anext(lines) is None  # it came back for more: what it has is dropped
    assert stream.kept_bytes == 0
    with pytest.raises(ConflictError, match="keeps no event behind 0"):
        await anext(stream.read(0, 0.01))
    stream.add("content", {"content": "tail"})
    async with aclosing(stream.read(1, 1)) as lines:
        assert json.loads(await anext(lines) or b"")["content"] == "tail"


@pytest.mark.parametrize(
    ("keys", "named", "said"),
    [
        (1, 0, "1 deployment key.\n"),
        (3, 0, "3 deployment keys.\n"),
        (3, 2, "3 deployment keys, 2 of them named in the question.\n"),
    ],
)
def test_the_first_line_counts_in_words_that_fit(keys: int, named: int, said: str) -> None:
    assert headline(keys, named, named > 0) == said

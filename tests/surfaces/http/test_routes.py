"""Every route's contract, and what is refused before one is reached."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.events import Event
from sane.core.signing import sign_request
from sane.engine.stream_hub import StreamLimits
from sane.errors import UsageError
from sane.surfaces.http.agents import AgentSources
from sane.surfaces.http.app import listen, make_app
from sane.surfaces.http.credentials import CredentialFile
from sane.surfaces.http.guard import MOST_BODY_BYTES
from sane.surfaces.http.service import open_service
from sane.surfaces.http.settings import Settings
from tests.surfaces.http.servers import QUESTION, Served, serving

CREATED = {"revision": 1, "version": "1.0", "hosts": ["web1"], "policy": {}}


def refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert isinstance(body["hint"], str)
    assert body["detail"]


async def test_health_is_as_written(served: Served) -> None:
    assert (await served.client.get("/system/client-health-check")).json() == {"data": "System client is healthy"}
    assert (await served.client.get("/system/streaming-health")).json() == {
        "status": "healthy",
        "circuit_breakers": {"agent_streaming": {"state": "closed", "failure_count": 0, "threshold": 5}},
        "redis_streams": {"active_streams": 0, "redis_healthy": False},
        "web_worker_streams": {"active": 0, "max": 10, "available": 10},
    }
    assert (await served.client.get("/health")).json()["status"] == "healthy"


async def test_health_says_whether_redis_answers(tmp_path: Path, redis_url: str) -> None:
    async with serving(tmp_path, Settings(redis_url=redis_url)) as served:
        health = (await served.client.get("/system/streaming-health")).json()
    assert (health["status"], health["redis_streams"]["redis_healthy"]) == ("healthy", True)


async def test_paths_and_metrics_are_listed(served: Served) -> None:
    await served.ask()
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/agent/stream/{id}", "/agent/stream/{id}/{stream}", "/api/events", "/health", "/metrics",
        "/system/circuit-breaker/reset/{name}", "/system/client-health-check", "/system/streaming-health",
    }  # fmt: skip
    metrics = (await served.client.get("/metrics")).text
    assert 'sane_streams_total{outcome="succeed"} 1\n' in metrics
    assert 'sane_breaker_state{name="agent_streaming",state="closed"} 1\n' in metrics


async def test_wrong_requests_are_problems(served: Served) -> None:
    client = served.client
    refused(await client.get("/nowhere"), 404, "not_found")
    refused(await client.get("/agent/stream/fleet"), 405, "method")
    refused(await client.post("/system/circuit-breaker/reset/other"), 404, "not_found")
    refused(await client.get("/api/events", params={"after": -1}), 422, "invalid")
    refused(await client.get("/api/events", headers={"last-event-id": "x"}), 422, "invalid")
    refused(
        await client.post("/agent/stream/fleet", content=b"{", headers={"content-type": "application/json"}),
        422,
        "invalid",
    )
    for body in ({}, [], {"messages": "x"}, {**QUESTION, "stream_workflows": 1}, {**QUESTION, "more": 1}):
        refused(await served.ask(body=body), 422, "invalid")
    refused(await client.post("/agent/stream/fleet", content=b"x" * (MOST_BODY_BYTES + 1)), 413, "too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    refused(await client.post("/agent/stream/fleet", content=endless()), 413, "too_large")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (None, "no Content-Type"),
        ("application/x-www-form-urlencoded", "'application/x-www-form-urlencoded'"),  # what curl sends by itself
        ("text/plain", "'text/plain'"),
        ("application/xml", "'application/xml'"),
    ],
)
async def test_a_body_that_is_not_said_to_be_json_is_refused_in_words_of_what_to_send(
    served: Served, kind: str | None, said: str
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = await served.client.post("/agent/stream/fleet", content=json.dumps(QUESTION), headers=headers)
    refused(answer, 415, "media_type")
    assert said in answer.json()["detail"]
    assert "-H 'Content-Type: application/json'" in answer.json()["hint"]


async def test_what_is_wrong_is_said_in_words(served: Served) -> None:
    half = {"content": b'{"messages', "headers": {"content-type": "application/json"}}
    assert (await served.client.post("/agent/stream/fleet", **half)).json()["detail"] == (
        "the body is not JSON, from character 2 on"
    )
    assert (await served.client.get("/nowhere")).json()["detail"] == "there is nothing at /nowhere"
    assert (await served.client.get("/agent/stream/fleet")).json()["detail"] == "there is no GET of /agent/stream/fleet"


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_known_by_any_spelling_of_its_type(served: Served, kind: str) -> None:
    body = json.dumps(QUESTION)
    answer = await served.client.post("/agent/stream/fleet", content=body, headers={"content-type": kind})
    assert answer.status_code == 200


async def test_pages_in_a_browser_reach_nothing(served: Served) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        refused(
            await served.client.post("/system/circuit-breaker/reset/agent_streaming", headers=headers), 403, "access"
        )
    fine = {"host": "localhost:1", "origin": "http://127.0.0.1:3"}
    assert (await served.client.post("/system/circuit-breaker/reset/agent_streaming", headers=fine)).status_code == 200


async def test_events_are_followed_and_resumed_without_a_gap(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=StreamLimits(heartbeat_s=0.1)) as served:
        store = served.service.store
        await store.append([Event("deployment_created", 1, "web", "web-1", data=CREATED)])
        seen: list[dict[str, Any]] = []
        async with served.client.stream("GET", "/api/events", params={"after": 0}) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            lines = answer.aiter_lines()
            seen.append(json.loads(await anext(lines)))
            await store.append([Event("message", 2, "web", data={"text": "live"})])
            while len(seen) < 2 or seen[-1]["kind"] != "message":
                seen.append(json.loads(await anext(lines)))
        stored = [event for event in seen if event["kind"] != "heartbeat"]
        assert [event["seq"] for event in stored] == [1, 2]
        await store.append(
            [Event("message", 3, "db", data={"text": "three"}), Event("message", 4, "web", data={"text": "a\nb"})]
        )
        headers = {"accept": "text/event-stream", "last-event-id": "2"}
        async with served.client.stream("GET", "/api/events", params={"key": "web"}, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            message = [await anext(lines) for _ in range(4)]
            assert message[:2] == ["id: 4", "event: message"]
            assert json.loads(message[2].removeprefix("data: "))["data"] == {"text": "a\nb"}
            assert await anext(lines) == ": heartbeat"
        async with asyncio.timeout(3):
            while served.service.followers:
                await asyncio.sleep(0.01)


async def test_tokens_and_their_scopes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = CredentialFile(tmp_path)
    token, admin = credentials.add("ci", ["read"]), credentials.add("boss", ["admin"])
    kept = (tmp_path / "credentials.json").read_text()
    assert token not in kept
    assert hashlib.sha256(token.encode()).hexdigest() in kept
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    async with serving(tmp_path) as served:
        reset = "/system/circuit-breaker/reset/agent_streaming"
        for wrong in (
            {},
            {"authorization": "Bearer x"},
            {"authorization": "Basic eDp5"},
            {"authorization": f"Bearer {token}x"},
        ):
            answer = await served.client.get("/api/events", headers=wrong)
            refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        refused(await served.client.get("/nowhere"), 401, "unauthenticated")
        assert (await served.client.get("/system/streaming-health")).status_code == 200
        mine = {"authorization": f"Bearer {token}"}
        assert (await served.ask(headers=mine)).status_code == 200
        refused(await served.client.post(reset, headers=mine), 403, "access")
        assert (await served.client.post(reset, headers={"authorization": f"bearer {admin}"})).status_code == 200
        credentials.remove("ci")
        refused(await served.ask(headers=mine), 401, "unauthenticated")
        (tmp_path / "credentials.json").chmod(0o644)
        refused(await served.client.get("/metrics", headers={"authorization": f"Bearer {admin}"}), 503, "unavailable")
    assert token not in caplog.text
    assert admin not in caplog.text


async def test_signed_requests_are_accepted_once(tmp_path: Path) -> None:
    secret = CredentialFile(tmp_path).add("signer", ["read"], signed=True).encode()
    body = json.dumps(QUESTION).encode()

    def headers(
        stamp: int, path: str = "/agent/stream/fleet?x=%2F1", key: str = "signer", **more: str
    ) -> dict[str, str]:
        signature = sign_request(secret, stamp, "POST", path, body)
        names = {"x-sane-key-id": key, "x-sane-timestamp": str(stamp), "x-sane-signature": signature}
        return {"content-type": "application/json", **names, **more}

    now = int(time.time())
    async with serving(tmp_path) as served:

        async def send(given: dict[str, str], content: bytes = body) -> Any:
            return await served.client.post("/agent/stream/fleet?x=%2F1", content=content, headers=given)

        assert (await send(headers(now))).status_code == 200
        refused(await send(headers(now)), 401, "unauthenticated")  # used before
        assert (await send(headers(now - 270))).status_code == 200
        for wrong in (
            headers(now - 302), headers(now + 360), headers(now + 1, path="/agent/stream/fleet"),
            headers(now + 1, key="other"), {**headers(now + 1), "x-sane-timestamp": "later"},
            {**headers(now + 1), "x-sane-signature": "=="},
        ):  # fmt: skip
            refused(await send(wrong), 401, "unauthenticated")
        refused(await send(headers(now + 1), body + b" "), 401, "unauthenticated")
        assert (await send(headers(now + 1))).status_code == 200
    async with serving(tmp_path) as again:  # a restart forgets no signature
        answer = await again.client.post("/agent/stream/fleet?x=%2F1", content=body, headers=headers(now + 1))
        refused(answer, 401, "unauthenticated")


def test_elsewhere_than_on_loopback_a_credential_is_needed() -> None:
    with pytest.raises(UsageError, match="no credential"):
        listen(("0.0.0.0", 0), has_credential=False)
    for host, has in (("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)):
        listen((host, 0), has_credential=has).close()
    with listen(("127.0.0.1", 0), has_credential=False) as taken, pytest.raises(UsageError, match="can't listen"):
        listen(taken.getsockname(), has_credential=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["messages", "role", "content", "stream_workflows", "x"]) | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": st.text(max_size=30)}
)
requests = st.fixed_dictionaries(
    {"messages": st.lists(message, max_size=3)}, optional={"stream_workflows": json_values}
)


async def call(app: Any, body: bytes) -> tuple[int, bytes]:
    """Send one request straight to the application."""
    sent: list[dict[str, Any]] = []
    gone = asyncio.Event()
    bodies = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/agent/stream/fleet", "raw_path": b"/agent/stream/fleet", "root_path": "", "query_string": b"", "headers": headers, "client": None, "server": None,
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 10)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])


def test_any_body_is_answered_or_refused(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        opened = open_service(Settings(circuit_breaker_threshold=1), tmp_path, AgentSources())
        service = runner.run(opened.__aenter__())
        app = make_app(service, CredentialFile(tmp_path), on_loopback=True)

        @settings(max_examples=150, deadline=None)
        @given(
            st.one_of(requests.map(json.dumps), json_values.map(json.dumps), st.text(max_size=40)).map(
                lambda text: text.encode("utf-8", "surrogatepass")
            )
        )
        def answers(body: bytes) -> None:
            status, answer = runner.run(call(app, body))
            if status == 200:
                lines = [json.loads(line) for line in answer.splitlines()]
                assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
                assert lines[-1]["type"] == "done"
            else:
                assert status in (400, 422)
                assert json.loads(answer)["code"] in ("invalid", "usage")

        answers()
        runner.run(opened.__aexit__(None, None, None))

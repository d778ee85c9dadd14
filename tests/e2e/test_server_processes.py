"""Two server processes that share limits, breakers and streams through Redis; the command line around them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engine import model_servers as fake
from tests.surfaces.http.servers import QUESTION, redis_server, write_agent

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e


@contextmanager
def server(directory: Path, *options: str, **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `sane server` in a directory and yield its URL; it must end by SIGTERM within 10 s, with status 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sane.surfaces.cli.main", "server", "--listen", "127.0.0.1:0", *options],
        cwd=directory, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip
    log: list[str] = []
    try:
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], 30)[0], "it said nothing in 30 s"
        found = re.fullmatch(r"sane server listens on (http://\S+)\n", process.stderr.readline())
        assert found, process.stderr.read()
        reading = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
        reading.start()
        yield found[1], process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise
    assert status in (0, -signal.SIGKILL), log


def sane(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sane.surfaces.cli.main", *words],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


def events_of(text: str) -> list[dict[str, Any]]:
    return [event for line in text.splitlines() if (event := json.loads(line))["type"] != "heartbeat"]


def test_two_processes_share_places_breakers_and_streams(short_dir: Path) -> None:
    with ExitStack() as opened:
        url = opened.enter_context(redis_server())
        model = opened.enter_context(fake.ModelServer(fake.text("one two three four", hold=True), fake.half()))
        write_agent(short_dir, "helper", model)
        (short_dir / ".env").write_text(f"REDIS_URL={url}\nMAX_CONCURRENT_STREAMS=1\nCIRCUIT_BREAKER_THRESHOLD=1\n")
        first, killed = opened.enter_context(server(short_dir, "--config", "watch.yaml"))
        second, _ = opened.enter_context(server(short_dir, "--config", "watch.yaml"))
        with httpx2.Client(timeout=15, trust_env=False) as client:
            with client.stream("POST", f"{first}/agent/stream/helper", json=QUESTION) as answer:
                lines = answer.iter_lines()
                seen = [json.loads(next(lines)) for _ in range(2)]
                busy = client.post(f"{second}/agent/stream/fleet", json=QUESTION)
                assert (busy.status_code, busy.json()["code"]) == (429, "limit")
                health = client.get(f"{second}/system/streaming-health").json()
                assert health["redis_streams"] == {"active_streams": 1, "redis_healthy": True}
                assert health["web_worker_streams"] == {"active": 0, "max": 1, "available": 0}
                path = f"/agent/stream/helper/{answer.headers['x-sane-stream']}"
                other = opened.enter_context(client.stream("GET", f"{second}{path}", params={"after": 1}))
                resumed = other.iter_lines()
                assert events_of(next(resumed)) == seen[1:]  # it is read there; now the first reader goes away
            time.sleep(2.5)  # past STREAM_RESUME_SECONDS: who reads elsewhere keeps it alive
            model.release()
            whole = [*seen, *events_of("\n".join(resumed))]
            assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
            assert "".join(event.get("content", "") for event in whole) == "one two three four"
            assert client.get(f"{second}{path}", params={"after": 99}).status_code == 409
            assert client.get(f"{second}/agent/stream/fleet/{path.rpartition('/')[2]}").status_code == 404

            broken = events_of(client.post(f"{first}/agent/stream/helper", json=QUESTION).text)
            assert broken[-1]["type"] == "error"
            refused = client.post(f"{second}/agent/stream/fleet", json=QUESTION)
            assert refused.status_code == 503  # the breaker of one is the breaker of all
            assert int(refused.headers["retry-after"]) >= 1
            assert client.post(f"{second}/system/circuit-breaker/reset/agent_streaming").status_code == 200
            assert client.post(f"{first}/agent/stream/fleet", json=QUESTION).status_code == 200
            killed.kill()
            killed.wait(5)
            assert client.post(f"{second}/agent/stream/fleet", json=QUESTION).status_code == 200


def test_a_stop_ends_a_stream_with_a_word_and_status_0(short_dir: Path) -> None:
    with fake.ModelServer(fake.text("one two", hold=True)) as model:
        write_agent(short_dir, "helper", model)
        with (
            server(short_dir, "--config", "watch.yaml") as (url, process),
            httpx2.Client(timeout=15, trust_env=False) as client,
        ):
            with client.stream("POST", f"{url}/agent/stream/helper", json=QUESTION) as answer:
                lines = answer.iter_lines()
                assert json.loads(next(lines))["type"] == "start"
                model.wait_for_requests(1)  # else there is no call yet that the stop could end
                began = time.monotonic()
                process.terminate()
                last = [json.loads(line) for line in lines][-1]
            assert (last["type"], last["code"]) == ("error", "interrupted")
            assert process.wait(10) == 0
            assert time.monotonic() - began < 8
        model.wait_for(lambda it: it.gone == 1, 3)


def test_credentials_and_refusals_of_the_command(short_dir: Path) -> None:
    open_to_all = sane("server", "--listen", "0.0.0.0:0")
    assert (open_to_all.returncode, "sane server credential add" in open_to_all.stderr) == (2, True)
    wrong = sane("server", MAX_CONCURRENT_STREAMS="many")
    assert (wrong.returncode, "MAX_CONCURRENT_STREAMS must be" in wrong.stderr) == (2, True)
    away = sane("server", "--listen", "127.0.0.1:0", REDIS_URL=f"unix://{short_dir}/none")
    assert (away.returncode, "can't be used" in away.stderr) == (4, True)
    added = sane("server", "credential", "add", "ci", "--scope", "read")
    token = added.stdout.strip()
    assert (added.returncode, len(token) >= 40) == (0, True)
    assert sane("server", "credential", "add", "ci").returncode == 7
    listed = sane("server", "credential", "list", "--output", "json")
    assert json.loads(listed.stdout) == [{"name": "ci", "kind": "token", "scopes": ["read"]}]
    with server(short_dir) as (url, _), httpx2.Client(timeout=15, trust_env=False) as client:
        assert client.get(f"{url}/metrics").status_code == 401
        mine = {"authorization": f"Bearer {token}"}
        assert client.get(f"{url}/metrics", headers=mine).status_code == 200
        assert sane("server", "credential", "remove", "ci").returncode == 0
        assert client.get(f"{url}/metrics", headers=mine).status_code == 401  # taking the last one away lets nobody in
    assert sane("server", "credential", "remove", "ci").returncode == 2

"""Alerts over real processes, real HTTP and a real tmux: signed, bounded, once, and never through a shell."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sane.core.signing import sign_request
from sane.core.watch.config import AlertSettings
from sane.engine.alerts import Alerts, text_of
from tests.listeners import listening

HOSTILE = "#(touch pwned) $(touch pwned) `touch pwned` ; touch pwned %H #{pane_id}"
ALERT = {
    "operation": "e1-alert-1",
    "episode": "e1",
    "fault": "crash",
    "hosts": "web[1-3]",
    "reason": "the plan did not help",
}


def alerts(said: list[str], environ: dict[str, str] | None = None, **settings: Any) -> Alerts:
    return Alerts(AlertSettings(**settings), environ or {}, said.append, first_pause_s=0.01, timeout_s=2)


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        code = self.server.codes.pop(0) if self.server.codes else 204  # type: ignore[attr-defined]
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def webhook() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.seen, server.codes = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook?team=ops"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


async def test_a_hook_gets_json_on_its_input_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "import sys; open(sys.argv[1], 'w').write(sys.argv[2] + '\\n' + sys.stdin.read())"
    said: list[str] = []
    sender = alerts(said, command=(sys.executable, "-c", script, str(out), HOSTILE))
    assert (await sender.send({**ALERT, "reason": HOSTILE})).outcome == "sent"
    argument, _, body = out.read_text().partition("\n")
    assert argument == HOSTILE
    assert json.loads(body)["reason"] == HOSTILE
    assert said == [text_of({**ALERT, "reason": HOSTILE})]


async def test_a_hook_that_fails_is_tried_three_times_and_one_that_hangs_ends_in_time(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"open({str(count)!r}, 'a').write('x'); raise SystemExit(3)"
    assert "ended with 3" in (await alerts([], command=(sys.executable, "-c", script)).send(ALERT)).outcome
    assert count.read_text() == "xxx"
    began = time.monotonic()
    hanging = Alerts(
        AlertSettings(command=("sh", "-c", "sleep 60 & sleep 60")), {}, str, first_pause_s=0, timeout_s=0.1
    )
    assert "did not end" in (await hanging.send(ALERT)).outcome
    assert time.monotonic() - began < 3


async def test_a_webhook_is_signed_as_the_controller_checks_it(webhook: Any) -> None:
    webhook.codes = [500]
    sender = alerts([], {"HOOK": "s3cret"}, webhook_url=webhook.url, webhook_key_id="k1", webhook_secret_env="HOOK")
    assert (await sender.send(ALERT)).outcome == "sent"
    assert len(webhook.seen) == 2
    path, headers, body = webhook.seen[1]
    expected = sign_request(b"s3cret", int(headers["X-Sane-Timestamp"]), "POST", path, body)
    assert path == "/hook?team=ops"
    assert (
        headers["X-Sane-Key-Id" if "X-Sane-Key-Id" in headers else "X-Sane-Key-ID"],
        headers["X-Sane-Signature"],
    ) == ("k1", expected)
    assert abs(int(headers["X-Sane-Timestamp"]) - time.time()) < 60
    assert json.loads(body)["episode"] == "e1"


async def test_a_webhook_follows_no_redirect_and_names_what_failed(webhook: Any) -> None:
    webhook.codes = [302, 302, 302]
    sender = alerts([], {"HOOK": "s3cret"}, webhook_url=webhook.url, webhook_secret_env="HOOK")
    assert "302" in (await sender.send(ALERT)).outcome
    assert {path for path, _, _ in webhook.seen} == {"/hook?team=ops"}
    unset = alerts([], {}, webhook_url=webhook.url, webhook_secret_env="HOOK")
    assert "secret is not set" in (await unset.send(ALERT)).outcome


async def test_a_webhook_that_answers_byte_by_byte_is_given_up_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
        for _ in range(100):  # 5 s of it
            writer.write(b"x")
            await asyncio.sleep(0.05)
        writer.write(b"\r\n\r\n")
        writer.close()

    async with listening(drip) as port:
        settings = AlertSettings(webhook_url=f"http://127.0.0.1:{port}/", webhook_secret_env="HOOK")
        sender = Alerts(settings, {"HOOK": "s"}, str, first_pause_s=0, timeout_s=0.3)
        async with asyncio.timeout(4):
            assert "did not answer in 0.3 s" in (await sender.send(ALERT)).outcome


async def test_an_alert_of_a_known_name_goes_out_once(webhook: Any) -> None:
    sender = alerts([], {"HOOK": "s"}, webhook_url=webhook.url, webhook_secret_env="HOOK")
    for _ in range(3):
        assert (await sender.send(ALERT)).outcome == "sent"
    assert (await sender.send({**ALERT, "operation": "e2-alert-9"})).outcome == "sent"
    assert len(webhook.seen) == 2


def test_the_signature_is_the_one_of_the_contract() -> None:
    # printf '1700000000;POST;/a?b=1;%s' "$(printf x | sha256sum | cut -d' ' -f1)" | openssl dgst -sha256 -hmac key -binary | base64
    told = subprocess.run(
        "printf '1700000000;POST;/a?b=1;%s' \"$(printf x | sha256sum | cut -d' ' -f1)\""
        " | openssl dgst -sha256 -hmac key -binary | base64",
        shell=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sign_request(b"key", 1_700_000_000, "post", "/a?b=1", b"x") == told.stdout.strip()


@pytest.fixture
def tmux(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    monkeypatch.chdir(short_dir)

    def run(*arguments: str) -> str:
        done = subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout

    run("-f", "/dev/null", "new-session", "-d", "-s", "ops", "-x", "120", "-y", "20", "cat")
    run("new-window", "-d", "-t", "=ops:", "cat")
    yield run
    run("kill-server")


async def test_tmux_shows_the_text_as_text_and_flags_the_window(tmux: Callable[..., str], short_dir: Path) -> None:
    tmux("select-window", "-t", "=ops:0")
    client = subprocess.Popen(
        ["script", "-qfec", "TERM=xterm tmux attach -t ops", "/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        async with asyncio.timeout(5):
            while not tmux("list-clients", "-t", "=ops"):
                await asyncio.sleep(0.02)
        delivery = await alerts([], tmux_session="ops").send({**ALERT, "reason": HOSTILE})
    finally:
        tmux("detach-client", "-s", "ops")
        shown, _ = client.communicate(timeout=5)
    assert delivery.outcome == "sent"
    assert tmux("show-options", "-v", "-t", "=ops:", "@sane_alert").strip() == text_of({**ALERT, "reason": HOSTILE})
    assert "#(touch pwned)" in shown
    assert not (short_dir / "pwned").exists()


async def test_a_session_that_is_not_there_is_named(tmux: Callable[..., str]) -> None:
    assert "tmux: " in (await alerts([], tmux_session="gone").send(ALERT)).outcome


async def test_one_way_that_works_is_enough_and_the_other_is_named(webhook: Any, tmp_path: Path) -> None:
    webhook.codes = [500] * 3
    out = tmp_path / "out"
    hook = {"webhook_url": webhook.url, "webhook_secret_env": "HOOK"}
    delivery = await alerts([], {"HOOK": "s"}, command=("sh", "-c", f"cat > {out}"), **hook).send(ALERT)
    assert (delivery.outcome, delivery.failed) == ("sent", ("webhook: the webhook answered 500",))
    assert (len(webhook.seen), json.loads(out.read_text())["episode"]) == (3, "e1"), "each way has its three tries"
    webhook.codes = [500] * 3
    neither = await alerts([], {"HOOK": "s"}, command=("sh", "-c", "exit 3"), **hook).send(ALERT)
    assert neither.outcome == "command: sh ended with 3; webhook: the webhook answered 500"


async def test_a_webhook_that_speaks_no_http_fails_and_takes_no_other_way_along(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    async with listening(answer) as port:
        hook = {"webhook_url": f"http://127.0.0.1:{port}/", "webhook_secret_env": "HOOK"}
        delivery = await alerts([], {"HOOK": "s"}, command=("true",), **hook).send(ALERT)
    assert delivery.outcome == "sent"
    assert delivery.failed[0].startswith("webhook: ")


async def test_the_window_that_nobody_looks_at_gets_its_flag(tmux: Callable[..., str]) -> None:
    tmux("select-window", "-t", "=ops:0")
    tmux("new-session", "-d", "-s", "other", "cat")
    assert (await alerts([], tmux_session="ops").send(ALERT)).outcome == "sent"
    async with asyncio.timeout(5):
        while "!" not in tmux("list-windows", "-t", "=ops", "-F", "#{window_flags}"):
            await asyncio.sleep(0.02)

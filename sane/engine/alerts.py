"""Tell a person: a command, a signed webhook, the tmux that they look at. Each tried a few times, none for long.

Whoever was told by one way knows, so an alert has failed only where every way did.

An alert has an `operation`; one that was sent under it is not sent again by this process, and receivers drop one that
they know (a process that died may or may not have sent it).
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sane.core.redact import redact
from sane.core.signing import KEY_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_request
from sane.core.watch.config import AlertSettings
from sane.errors import SaneError, UnavailableError
from sane.transports.http_post import post
from sane.transports.local_machine import LocalMachine
from sane.transports.threaded import make_future
from sane.transports.tmux import TmuxServer
from sane.transports.tmux import text_of as text_of_server

TRIES = 3
FIRST_PAUSE_S = 0.5
TIMEOUT_S = 10.0
KNOWN_LIMIT = 1_000
TEXT_CHARS = 300
Send = Callable[[Mapping[str, Any]], Awaitable[str]]  # "" when it went out, else why not


@dataclass(frozen=True, slots=True)
class Delivery:
    """Hold what became of an alert: `outcome` is `sent`, or why no way took it; `failed` the ways that did not."""

    outcome: str = "sent"
    failed: tuple[str, ...] = ()

    @property
    def is_sent(self) -> bool:
        """Return whether somebody was told."""
        return self.outcome == "sent"

    def __str__(self) -> str:
        return f"sent, but not by {'; '.join(self.failed)}" if self.is_sent and self.failed else self.outcome


class Alerts:
    """Send alerts over every configured way; `say` shows them to whoever looks at this terminal."""

    def __init__(
        self,
        settings: AlertSettings,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._say = say
        self._first_pause_s = first_pause_s
        self._ways: dict[str, Send] = {}
        self._sent: OrderedDict[tuple[str, str], None] = OrderedDict()
        if settings.command:
            self._ways["command"] = lambda alert: run_hook(settings.command, alert, timeout_s)
        if settings.webhook_url:
            secret = environ.get(settings.webhook_secret_env, "")
            self._ways["webhook"] = lambda alert: post_signed(
                settings.webhook_url, settings.webhook_key_id, secret, alert, timeout_s
            )
        if settings.tmux_session:
            self._ways["tmux"] = lambda alert: show_in_tmux(settings.tmux_session, text_of(alert), timeout_s)

    async def send(self, alert: Mapping[str, Any]) -> Delivery:
        """Send an alert over every way at once: it is sent when one of them took it.

        `alert` has `operation`, which names it, `episode`, `fault`, `hosts` and `reason`.
        """
        self._say(text_of(alert))
        outcomes = await asyncio.gather(*(self._try(name, way, alert) for name, way in self._ways.items()))
        failed = tuple(f"{name}: {why}" for name, why in zip(self._ways, outcomes, strict=True) if why)
        return Delivery("; ".join(failed) if failed and all(outcomes) else "sent", failed)

    async def _try(self, name: str, way: Send, alert: Mapping[str, Any]) -> str:
        known = (name, str(alert["operation"]))
        if known in self._sent:
            return ""
        why, pause_s = "", self._first_pause_s
        for number in range(TRIES):
            why = await way(alert)
            if not why:
                self._sent[known] = None
                while len(self._sent) > KNOWN_LIMIT:
                    self._sent.popitem(last=False)
                return ""
            if number + 1 < TRIES:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        return redact(why)[:TEXT_CHARS]


def text_of(alert: Mapping[str, Any]) -> str:
    """Return an alert in one line of plain text."""
    where = f" on {alert['hosts']}" if alert.get("hosts") else ""
    text = f"sane: {alert.get('fault') or 'alert'}{where}: {alert['reason']}"
    return "".join(c if c.isprintable() else " " for c in text)[:TEXT_CHARS]


async def run_hook(argv: Sequence[str], alert: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> str:
    """Run a command with the alert as JSON on its input; its arguments are those of the configuration, unchanged."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{argv[0]} can't be run: {error.strerror or error}"
    try:
        async with asyncio.timeout(timeout_s):
            await process.communicate(json.dumps(alert, ensure_ascii=False).encode() + b"\n")
    except TimeoutError:
        return f"{argv[0]} did not end in {timeout_s:g} s"
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()
    return "" if process.returncode == 0 else f"{argv[0]} ended with {process.returncode}"


def _kill_group(pid: int) -> None:
    import signal

    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def post_signed(
    url: str, key_id: str, secret: str, alert: Mapping[str, Any], timeout_s: float = TIMEOUT_S
) -> str:
    """Post the alert as JSON, signed as requests to a controller are; any answer of 2xx is a success."""
    if not secret:
        return "the webhook's secret is not set"
    body = json.dumps(alert, ensure_ascii=False).encode()
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    now_s = int(time.time())
    headers = {
        "Content-Type": "application/json",
        KEY_ID_HEADER: key_id,
        TIMESTAMP_HEADER: str(now_s),
        SIGNATURE_HEADER: sign_request(secret.encode(), now_s, "POST", path, body),
    }
    try:
        async with asyncio.timeout(timeout_s):
            await _in_thread_of_its_own(lambda: post("the webhook", url, body, headers, timeout_s))
    except UnavailableError as error:
        return error.message
    except TimeoutError:  # the thread goes on for as long as the receiver says a byte now and then
        return f"the webhook did not answer in {timeout_s:g} s"
    return ""


async def _in_thread_of_its_own(work: Callable[[], object]) -> None:
    """Wait for the end of `work`; whoever is cancelled waits for nothing, and neither does the end of the process.

    (A loop that ends waits for the threads of its pool, and a receiver may be silent for the whole time limit.)
    """
    future, done = make_future()

    def body() -> None:
        try:
            done(work(), None)
        except Exception as error:
            done(None, error)

    threading.Thread(target=body, daemon=True, name="sane-webhook").start()
    await future


async def show_in_tmux(session: str, text: str, timeout_s: float = TIMEOUT_S) -> str:
    """Show a text on the clients of a session, and ring its windows' bell flag so that it stays visible.

    The text goes through an option of its own: tmux expands what display-message is given, and that runs commands.
    """
    target = f"={session}:"
    why, _ = await _tmux(("set-option", "-t", target, "@sane_alert", text), timeout_s)
    if why:
        return why
    _, clients = await _tmux(("list-clients", "-t", f"={session}", "-F", "#{client_name}"), timeout_s)
    for client in clients.splitlines():
        message = ("display-message", "-c", client, "-t", target, "#{@sane_alert}")
        why = why or (await _tmux(message, timeout_s))[0]
    _, panes = await _tmux(("list-panes", "-t", target, "-F", "#{pane_tty}"), timeout_s)
    await asyncio.to_thread(_ring, panes.splitlines()[:1])
    return why


def _ring(ttys: Sequence[str]) -> None:
    for tty in ttys:
        try:
            descriptor = os.open(Path(tty), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            continue  # the pane went away: there is nothing left to flag
        try:
            os.write(descriptor, b"\a")
        except OSError:
            continue
        finally:
            os.close(descriptor)


async def _tmux(arguments: Sequence[str], timeout_s: float) -> tuple[str, str]:
    """Run one tmux command and return why it failed ("": it did not) and what it printed."""
    try:
        async with asyncio.timeout(timeout_s):
            done = await TmuxServer(LocalMachine()).run(*arguments)
    except TimeoutError:
        return f"tmux did not answer in {timeout_s:g} s", ""
    except SaneError as error:
        return error.message, ""
    return text_of_server(done.stderr).strip() if done.exit_code else "", text_of_server(done.stdout)

"""A watch of made-up hosts: real loop, real log, real models over loopback; the hosts answer what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sane.core.command import Command, CommandResult
from sane.core.events import Event
from sane.core.target import Target
from sane.core.watch.config import WatchConfig
from sane.core.watch.escalation_state import EscalationPolicy
from sane.core.watch.policy import FlapPolicy, WatchPolicy
from sane.engine.alerts import Alerts
from sane.engine.breakers import LocalBreakers
from sane.engine.escalate import Escalator
from sane.engine.models import ModelChain
from sane.engine.planner import Classifier, primitive_rules
from sane.engine.poller import PolledHost, Poller
from sane.engine.runner import steady_clock
from sane.engine.watcher import Announced, Watcher
from sane.errors import LostError, UnreachableError
from sane.operations.plan_run import PlanRunner
from sane.operations.watch_desk import WatchDesk, planner_of
from sane.store.base import Store

KEY = "watch/test"
# the same rules in small: what fades in half an hour fades in 50 ms here
FAST = WatchPolicy(interval_ms=20, stale_after_ms=1 << 50, good_samples=3, flap=FlapPolicy(fade_ms=50))
QUICK = EscalationPolicy(settle_ms=30, backoff_ms=30, patience_ms=60_000)


class Machines:
    """Answer probes for hosts by name; `say[host]` is a health document, None a dead host.

    An Event is a host that hangs until it is set, `stopped` one that does not even confirm the end of a command.
    """

    def __init__(self, *names: str) -> None:
        self.say: dict[str, Any] = {name: {"status": "healthy", "version": "1.0"} for name in names}
        self.logs: dict[str, str] = {}
        self.asked: dict[str, int] = dict.fromkeys(names, 0)
        self.ran: list[tuple[str, str]] = []
        self.state_dir = Path("/nonexistent")

    async def transport(self, target: Target) -> _Machine:
        return _Machine(self, target.host or "")

    async def machine(self, host: str | None) -> Any:
        raise NotImplementedError

    def report(self, message: str) -> None:
        return

    async def close(self) -> None:
        return


class _Machine:
    def __init__(self, machines: Machines, name: str) -> None:
        self._machines, self._name = machines, name

    async def run(self, command: Command, **_: Any) -> CommandResult:
        if "SANE_LOG" in command.env:
            return self._answer(command, self._machines.logs.get(self._name, "").encode())
        if "SANE_HEALTH_PATH" not in command.env:
            self._machines.ran.append((self._name, command.script))
            return self._answer(command, b"")
        self._machines.asked[self._name] += 1
        said = self._machines.say[self._name]
        if isinstance(said, asyncio.Event):
            await said.wait()
            said = None
        if said == "stopped":
            await _stopped(self._name)
        if said is None:
            raise UnreachableError("refused", host=self._name)
        body = json.dumps(said).encode()
        return self._answer(command, b"sane-health 1\nnow 1000.5\nsize %d\nmtime 1000.0\ncontent\n" % len(body) + body)

    def _answer(self, command: Command, output: bytes) -> CommandResult:
        return CommandResult(self._name, command.script, output, 0, 1.0)

    async def close(self) -> None:
        return


async def _stopped(name: str) -> None:
    """Be a host that confirms nothing, the end of a command least of all: sane.transports.ssh_session waits 5 s for it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        raise LostError("it did not confirm the end", phase="command", host=name) from None


class World:
    """Hold a watch over `machines`; run it as often as needed, each time as a new process would."""

    def __init__(self, store: Store, *names: str, config: WatchConfig | None = None, environ: Any = None) -> None:
        self.store = store
        self.names = names
        self.machines = Machines(*names)
        self.config = config or WatchConfig(watch=FAST, escalation=QUICK)
        self.environ = environ or {}
        self.said: list[str] = []
        self.now_ms = steady_clock()
        breakers = LocalBreakers(self.now_ms)
        self.planner, self.cheap = (
            ModelChain(self.config.chain(name), breakers, self.environ)
            for name in (self.config.planner_model, self.config.poller_model)
        )

    def watcher(self, owner: str = "me", *, once: bool = False, **options: Any) -> Watcher:
        wake = asyncio.Event()
        targets = {name: Target(name, None) for name in self.names}
        texts = {name: str(target) for name, target in targets.items()}
        hosts = [PolledHost(name, targets[name], "health.json", zone="z") for name in self.names]
        context: Any = self.machines
        poller = Poller(context, hosts, interval_ms=self.config.watch.interval_ms, now_ms=self.now_ms, once=once)
        desk = WatchDesk(
            self.config,
            context,
            targets,
            planner_of(self.config, self.planner, context, texts),
            Classifier(self.cheap) if self.cheap.names else None,
            Alerts(self.config.alerts, self.environ, self.said.append, first_pause_s=0.01),
            primitive_rules(),
            now_ms=self.now_ms,
            versions=lambda _: [],
        )
        desk.runner = PlanRunner(self.store, context, texts, "", notify=desk.alert, say=self.said.append)
        escalator = Escalator(
            self.store,
            KEY,
            desk,
            policy=self.config.escalation,
            zone_sizes={"z": len(self.names)},
            now_ms=self.now_ms,
            on_event=lambda _: None,
            wake=wake,
        )
        desk.state = lambda: escalator.state
        return Watcher(
            self.store,
            KEY,
            owner,
            poller,
            escalator,
            policy=self.config.watch,
            now_ms=self.now_ms,
            wake=wake,
            announced=lambda: Announced({}),
            on_sample=lambda *_: None,
            **options,
        )

    async def events(self, *kinds: str) -> list[Event]:
        return await self.store.read(key=KEY, kinds=kinds, limit=10_000)

    async def run_until(
        self, kind: str, *, where: Callable[[Event], bool] = lambda _: True, timeout_s: float = 10
    ) -> Event:
        """Watch until an event of a kind is in the log, then stop as a process that is asked to."""
        running = asyncio.create_task(self.watcher().run())
        try:
            async with asyncio.timeout(timeout_s):
                async for event in self.store.follow(0, key=KEY, kinds=(kind,)):
                    if where(event):
                        return event
                    if running.done():
                        running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.gather(self.planner.close(), self.cheap.close())
        raise AssertionError(f"no {kind} came")

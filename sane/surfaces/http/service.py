"""What the routes serve from, opened and closed as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sane.core.breaker import Breaker
from sane.engine.context import AsyncContext
from sane.engine.shared_state import Memory, Shared, SharedBreakers
from sane.engine.stream_hub import BREAKER, Relay, StreamHub, StreamLimits
from sane.errors import UnavailableError
from sane.store import open_store
from sane.store.base import Store
from sane.surfaces.context import report_on_stderr
from sane.surfaces.http.agents import Agents, AgentSources
from sane.surfaces.http.settings import Settings

STATES = ("closed", "open", "half_open")
PROBE_EXTRA_MS = 5_000  # a probe ends by the stream's timeout; only one whose process was killed takes this long


@dataclass
class Service:
    """Hold the service's parts. `closing` is done once it is being stopped; `followers` counts readers of the log."""

    store: Store
    hub: StreamHub
    agents: Agents
    model_breakers: SharedBreakers
    closing: asyncio.Future[None]
    followers: int = 0
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("sane.http"))

    @property
    def breaker_names(self) -> list[str]:
        """Return the names of the breakers: the service's, and one of each model that was asked."""
        return [BREAKER, *sorted(self.model_breakers.names)]

    async def close(self) -> None:
        """End all streams and all readers of the log, so that their responses end."""
        if not self.closing.done():
            self.closing.set_result(None)
        await self.hub.close()

    async def streaming_health(self) -> dict[str, Any]:
        """Return the state of breakers and places; `unhealthy` where what processes share can't be reached.

        `redis_streams.active_streams` is the count of all processes, `web_worker_streams.active` that of this one;
        `available` is how many more would be accepted now.
        """
        shared, most = self.hub.shared, self.hub.limits.most_streams
        try:
            total = await shared.count_slots()
            breakers = {name: await shared.read_breaker(name) for name in self.breaker_names}
            reachable = True
        except UnavailableError:
            total, breakers, reachable = self.hub.active, {BREAKER: None}, False
        relay_healthy = self.hub.relay is None or await self.hub.relay.is_healthy()
        has_redis = shared.name == "redis" or self.hub.relay is not None
        states = {name: _show(breaker) for name, breaker in breakers.items()}
        status = "healthy" if relay_healthy and states[BREAKER]["state"] == "closed" else "degraded"
        return {
            "status": status if reachable else "unhealthy",
            "circuit_breakers": states,
            "redis_streams": {
                "active_streams": total,
                "redis_healthy": has_redis and relay_healthy and (reachable or shared.name != "redis"),
            },
            "web_worker_streams": {
                "active": self.hub.active,
                "max": most,
                "available": max(0, most - total) if reachable else 0,
            },
        }

    async def metrics(self) -> str:
        """Return counters in the text format of Prometheus."""
        health = await self.streaming_health()
        lines = [
            "# TYPE sane_streams_active gauge",
            f"sane_streams_active {self.hub.active}",
            "# TYPE sane_streams_max gauge",
            f"sane_streams_max {self.hub.limits.most_streams}",
            "# TYPE sane_event_followers gauge",
            f"sane_event_followers {self.followers}",
            "# TYPE sane_streams_total counter",
            *(f'sane_streams_total{{outcome="{name}"}} {n}' for name, n in sorted(self.hub.outcomes.items())),
            "# TYPE sane_breaker_state gauge",
        ]
        for name, breaker in health["circuit_breakers"].items():
            quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            for state in STATES:
                lines.append(f'sane_breaker_state{{name="{quoted}",state="{state}"}} {int(breaker["state"] == state)}')
        return "\n".join(lines) + "\n"


def _show(breaker: Breaker | None) -> dict[str, Any]:
    if breaker is None:
        return {"state": "unknown", "failure_count": 0, "threshold": 0}
    return {"state": breaker.state, "failure_count": breaker.failures, "threshold": breaker.threshold}


@asynccontextmanager
async def open_service(
    settings: Settings,
    state_dir: Path,
    sources: AgentSources,
    *,
    limits: StreamLimits | None = None,
) -> AsyncGenerator[Service]:
    """Open everything for the length of a block. Raises StoreError, UnavailableError, UsageError."""
    limits = limits or StreamLimits(
        settings.max_concurrent_streams, settings.stream_timeout_seconds, settings.stream_resume_seconds
    )
    probe_ms = round(limits.timeout_s * 1000) + PROBE_EXTRA_MS
    breaker = Breaker(threshold=settings.circuit_breaker_threshold, probe_limit_ms=probe_ms)
    async with AsyncExitStack() as opened:
        store = await open_store(sources.environ.get("SANE_DATABASE_URL"), state_dir)
        opened.push_async_callback(store.close)
        shared = await open_shared(settings, breaker, state_dir)
        opened.push_async_callback(shared.close)
        relay = await open_relay(settings)
        if relay is not None:
            opened.push_async_callback(relay.close)
        hub = StreamHub(shared, limits, relay=relay, sweeps=settings.schedulers)
        hub.start()
        breakers = SharedBreakers(shared)
        agents = Agents(sources, store, breakers, AsyncContext(sources.inventory, report=report_on_stderr))
        opened.push_async_callback(agents.close)
        service = Service(store, hub, agents, breakers, asyncio.get_running_loop().create_future())
        opened.push_async_callback(service.close)
        yield service


async def open_shared(settings: Settings, breaker: Breaker, state_dir: Path) -> Shared:
    """Return what limits and breakers are kept in: Redis, else PostgreSQL, else this process."""
    if settings.redis_url:
        from sane.engine.shared_redis import RedisShared

        shared = RedisShared(breaker, settings.redis_url)
        try:
            await shared.count_slots()
        except BaseException:
            await shared.close()
            raise
        return shared
    if settings.database_url:
        from sane.engine.shared_postgres import open_postgres_shared

        return await open_postgres_shared(breaker, settings.database_url)
    return Memory(breaker, state_dir / "signatures.db")


async def open_relay(settings: Settings) -> Relay | None:
    """Return what carries streams between processes: Redis, where it is configured."""
    url = settings.redis_pubsub_url or settings.redis_url
    if not url:
        return None
    from sane.engine.shared_redis import RedisRelay

    return RedisRelay(url)

"""Which agents there are: those of `agents/*.yaml`, and `fleet`, which needs no file and no model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sane.core.fleet.inventory import Inventory
from sane.core.watch.agent_file import AgentFile
from sane.core.watch.config import WatchConfig
from sane.engine.breakers import Breakers
from sane.engine.context import AsyncContext
from sane.engine.stream_agents import StreamingAgent
from sane.errors import SaneError
from sane.operations.agents import open_agent
from sane.operations.watch_files import (
    agent_directories,
    agent_files,
    config_home,
    find_agent,
    load_agents,
    load_watch_config,
)
from sane.store.base import Store

log = logging.getLogger("sane.http")


@dataclass(frozen=True, slots=True)
class AgentSources:
    """Say where agents come from; None is where `sane agent` looks. Their tools read the inventory's hosts alone."""

    directory: Path | None = None
    config: Path | None = None
    inventory: Inventory | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str])


class Agents:
    """Find agents by name. A file that is added or changed counts from the next request on."""

    def __init__(self, sources: AgentSources, store: Store, breakers: Breakers, context: AsyncContext) -> None:
        self._sources, self._store, self._breakers, self._context = sources, store, breakers, context
        self._lock = threading.Lock()
        self._stamp: object = None
        self._files: dict[str, AgentFile] = {}
        self._config = WatchConfig()
        self._opened: dict[str, StreamingAgent] = {}
        self._replaced: list[StreamingAgent] = []  # streams that still run use them

    def find(self, name: str) -> StreamingAgent:
        """Return an agent; called in threads. Raises NotFoundError, and ConfigError for a file that is wrong."""
        with self._lock:
            agent = self._find(name)
            agent.prepare()
            return agent

    def _find(self, name: str) -> StreamingAgent:
        self._load(name)
        if name not in self._opened:
            file = find_agent(self._files, name)
            self._opened[name] = open_agent(
                file,
                self._store,
                self._config,
                self._breakers,
                self._context,
                self._sources.inventory,
                self._sources.environ,
            )
        return self._opened[name]

    async def close(self) -> None:
        """Close the connections of all models."""
        for agent in (*self._opened.values(), *self._replaced):
            await agent.close()
        await self._context.close()

    def _load(self, name: str) -> None:
        """Read the files when one of them changed; while one is wrong, the agents that were known go on."""
        sources = self._sources
        stamp = self._make_stamp()
        if stamp == self._stamp:
            return
        try:
            files = load_agents(sources.environ, sources.directory)
            config = load_watch_config(sources.config, sources.environ)
        except SaneError as error:
            if name not in self._files:
                raise
            log.warning("the agents are as they were before: %s", error.message)
            return
        self._replaced += self._opened.values()
        self._opened, self._files, self._config, self._stamp = {}, files, config, stamp

    def _make_stamp(self) -> object:
        environ = self._sources.environ
        chosen = self._sources.config or environ.get("SANE_WATCH_CONFIG") or config_home(environ) / "watch.yaml"
        directories = agent_directories(environ, self._sources.directory)
        paths = [Path(chosen), *(file for directory in directories for file in agent_files(directory))]
        return [(path, stamp_of(path)) for path in paths]


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None when there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size

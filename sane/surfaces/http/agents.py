"""Which agents there are: `agents/*.yaml`, and `fleet`, which needs no file and no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sane.core.agent_file import AgentFile, read_agent
from sane.core.document import Problems
from sane.core.model_settings import RULES, chain_of, model_from_text
from sane.core.nearest import nearest_hint
from sane.core.watch_config import WatchConfig, apply_environment, read_watch_config
from sane.engine.breakers import Breakers
from sane.engine.models import ModelChain
from sane.engine.stream_agents import ModelAgent, RuleAgent, StreamingAgent
from sane.errors import ConfigError, NotFoundError
from sane.operations.files import parse_yaml, read_bytes
from sane.store.base import Store
from sane.verbs.registry import VERB_NAMES

DEFAULT_AGENT = "fleet"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Agents:
    """Find agents by id. A file that is added or changed counts from the next request on."""

    def __init__(
        self, directory: Path, store: Store, breakers: Breakers, environ: Mapping[str, str], watch_file: Path
    ) -> None:
        self._directory, self._store = directory, store
        self._breakers, self._environ, self._watch_file = breakers, environ, watch_file
        self._built: dict[str, tuple[object, StreamingAgent]] = {}

    def find(self, id: str) -> StreamingAgent:
        """Return an agent. Raises NotFoundError, and ConfigError for a file that is wrong."""
        path = self._directory / f"{id}.yaml"
        if _ID.fullmatch(id) and path.is_file():
            stamp = (stamp_of(path), stamp_of(self._watch_file))
            if self._built.get(id, (None, None))[0] != stamp:  # else its models' connections are open already
                self._built[id] = stamp, self._build(load_agent(path))
            return self._built[id][1]
        if id == DEFAULT_AGENT:
            return RuleAgent(DEFAULT_AGENT, self._store)
        raise NotFoundError(f"there is no agent '{id[:64]}'", hint=nearest_hint(id, self.names()))

    async def close(self) -> None:
        """Close the connections of all models."""
        for _, agent in self._built.values():
            await agent.close()
        self._built.clear()

    def names(self) -> list[str]:
        """Return the ids of all agents."""
        return sorted({DEFAULT_AGENT, *(path.stem for path in self._directory.glob("*.yaml"))})

    def _build(self, agent: AgentFile) -> StreamingAgent:
        rules = RuleAgent(agent.name, self._store)
        config = load_models(self._watch_file, self._environ)
        wanted = agent.model or config.planner_model
        models = dict(config.models)
        if ":" in wanted and wanted not in models:
            key_env = f"{wanted.partition(':')[0].upper()}_API_KEY"
            models[wanted] = model_from_text(wanted, wanted, key_env=key_env if self._environ.get(key_env) else "")
        chain = chain_of(models, wanted)
        if not chain and wanted not in ("", RULES):
            raise ConfigError(f"there is no model '{wanted}'", file=agent.file, hint=nearest_hint(wanted, models))
        if not chain:
            return rules
        return ModelAgent(agent.name, agent.instructions, ModelChain(chain, self._breakers, self._environ), rules)


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None when there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def load_agent(path: Path) -> AgentFile:
    """Return the agent in a file. Raises ConfigError with every mistake."""
    problems = Problems()
    root = parse_yaml(read_bytes(path), str(path), problems)
    agent = read_agent(root, problems, default_name=path.stem, verbs=VERB_NAMES)
    problems.check()
    return agent


def load_models(path: Path, environ: Mapping[str, str]) -> WatchConfig:
    """Return the models that `watch.yaml` (where there is one) and the environment configure. Raises ConfigError."""
    config = WatchConfig()
    if path.is_file():
        problems = Problems()
        config = read_watch_config(parse_yaml(read_bytes(path), str(path), problems), problems)
        problems.check()
    return apply_environment(config, environ)

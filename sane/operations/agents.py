"""Open an agent from its file: a model with its tools, and the rules where there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sane.core.fleet.inventory import Inventory
from sane.core.nearest import nearest_hint
from sane.core.watch.agent_file import AgentFile
from sane.core.watch.config import WatchConfig
from sane.core.watch.model_settings import RULES, chain_of, model_from_text
from sane.engine.breakers import Breakers
from sane.engine.context import AsyncContext
from sane.engine.models import ModelChain
from sane.engine.planner import readable_verbs, tool_of
from sane.engine.stream_agents import ModelAgent, RuleAgent, StreamingAgent
from sane.errors import ConfigError
from sane.store.base import Store


def open_agent(
    agent: AgentFile,
    store: Store,
    config: WatchConfig,
    breakers: Breakers,
    context: AsyncContext,
    inventory: Inventory | None,
    environ: Mapping[str, str] = os.environ,
) -> StreamingAgent:
    """Return an agent that answers.

    Its tools read the inventory's hosts alone, whatever its tier. Raises ConfigError for a model that nobody
    configured, UsageError for a tool that is none.
    """
    rules = RuleAgent(agent.name, store)
    wanted = agent.model or config.planner_model
    models = dict(config.models)
    if ":" in wanted and wanted not in models:
        key_env = f"{wanted.partition(':')[0].upper()}_API_KEY"
        models[wanted] = model_from_text(wanted, wanted, key_env=key_env if environ.get(key_env) else "")
    chain = chain_of(models, wanted)
    if not chain and wanted not in ("", RULES):
        raise ConfigError(f"there is no model '{wanted}'", file=agent.file, hint=nearest_hint(wanted, [*models, RULES]))
    if not chain:
        return rules
    targets = {host.name: host.target or f"ssh:{host.name}" for host in (inventory.hosts if inventory else ())}
    tools = [tool_of(verb, context, targets) for verb in readable_verbs(agent.tools)] if agent.tools else []
    return ModelAgent(agent.name, agent.instructions, ModelChain(chain, breakers, environ), rules, tools, store)

"""What a watch does when its controller decides: gather evidence, ask models or rules, run plans, tell people."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sane.core.command import Command
from sane.core.fleet.hostset import fold
from sane.core.target import Target
from sane.core.watch.config import WatchConfig
from sane.core.watch.escalation_state import Episode, EscalationState
from sane.core.watch.packet import LOG_LINES, make_packet
from sane.core.watch.plan import Decision, Plan, VerbRule, allowed_verbs, check_plan
from sane.engine.alerts import Alerts, Delivery
from sane.engine.escalate import OnCall
from sane.engine.models import ModelChain
from sane.engine.planner import Classifier, ModelPlanner, Planner, Proposal, RulePlanner, readable_verbs, tool_of
from sane.errors import SaneError
from sane.operations.plan_run import PlanRunner
from sane.transports.context import Context

LOG_TIMEOUT_S = 8.0
LOG_LIMIT_BYTES = 64 << 10
# the path is data in a variable; tail takes no option from it
LOG_SCRIPT = 'f=$SANE_LOG; case $f in "~/"*) f=$HOME/${f#??} ;; -*) f=./$f ;; esac; exec tail -n 40 "$f"'


class WatchDesk:
    """Serve one watch. `versions` are those that the hosts last reported, `state` what the log says."""

    def __init__(
        self,
        config: WatchConfig,
        context: Context,
        targets: Mapping[str, Target],
        planner: Planner,
        classifier: Classifier | None,
        alerts: Alerts,
        primitives: Mapping[str, VerbRule],
        *,
        now_ms: Callable[[], int],
        versions: Callable[[Sequence[str]], Sequence[str]],
    ) -> None:
        self._config = config
        self._context = context
        self._targets = targets
        self._planner = planner
        self._rules = RulePlanner(config.limits.tier)
        self._classifier = classifier
        self._alerts = alerts
        self._primitives = primitives
        self._now_ms = now_ms
        self._versions = versions
        self.runner: PlanRunner | None = None
        self.state: Callable[[], EscalationState] = EscalationState

    async def classify(self, episode: Episode, on_call: OnCall) -> tuple[str, float]:
        """Return what the cheap model takes the episode for."""
        if self._classifier is None:
            return "incident", 0.0
        return await self._classifier.classify(await self._packet(episode), on_call=on_call)

    async def propose(self, episode: Episode, on_call: OnCall) -> Proposal:
        """Return a plan, within what is left of the episode's and the hour's budget; the next rung is the rules'."""
        if episode.rung:
            return await self._rules.propose(episode, "", token_limit=0, on_call=on_call)
        packet = await self._packet(episode)
        return await self._planner.propose(episode, packet, token_limit=self._tokens_left(episode), on_call=on_call)

    def decide(self, plan: Plan) -> Decision:
        """Return what becomes of a plan: the tier and the hosts are the configuration's, whatever the plan says."""
        return check_plan(
            plan, limits=self._config.limits, known_hosts=frozenset(self._targets), primitives=self._primitives
        )

    async def run(self, episode: Episode, plan: Plan) -> tuple[str, str]:
        """Carry a plan out."""
        if self.runner is None:
            return "failed", "nobody can run plans here"
        return await self.runner.run(episode, plan)

    async def alert(self, episode: Episode, reason: str, operation: str) -> Delivery:
        """Tell a person about an episode."""
        return await self._alerts.send(
            {
                "kind": "alert",
                "operation": f"{operation}-{episode.opened_ms}",
                "episode": episode.id,
                "fault": episode.fault,
                "scope": episode.scope,
                "zone": episode.zone,
                "hosts": fold(episode.hosts or episode.all_hosts),
                "rule": episode.rule,
                "reason": reason,
                "plan": episode.plan if episode.awaits_approval else "",
                "tried": list(episode.tried),
                "opened_ms": episode.opened_ms,
                "at_ms": self._now_ms(),
            }
        )

    def _tokens_left(self, episode: Episode) -> int:
        """Return how many tokens one call may take; 0 is no limit."""
        budget = self._config.escalation.budget
        hour = self.state().budget.spent(self._now_ms()).tokens
        left = [
            max(1, limit - used)
            for limit, used in (
                (budget.tokens_per_hour, hour),
                (budget.tokens_per_episode, episode.spending.tokens),
            )
            if limit
        ]
        return min(left, default=0)

    async def _packet(self, episode: Episode) -> str:
        example = (episode.hosts or episode.all_hosts)[0]
        return make_packet(
            episode,
            now_ms=self._now_ms(),
            verbs=allowed_verbs(self._config.limits.tier, self._primitives),
            versions=Counter(version for version in self._versions(episode.hosts) if version),
            example=example,
            log=await self._log_of(example),
        )

    async def _log_of(self, host: str) -> str:
        """Return the end of a host's log, "" where there is none to be had; a dead host holds nobody up."""
        if not self._config.log_path or host not in self._targets:
            return ""
        command = Command(
            f"sh -c '{LOG_SCRIPT}'",
            env={"SANE_LOG": self._config.log_path},
            timeout_s=LOG_TIMEOUT_S,
            output_limit_bytes=LOG_LIMIT_BYTES,
            display=f"# the last {LOG_LINES} lines of {self._config.log_path}",
        )
        try:
            async with asyncio.timeout(LOG_TIMEOUT_S):
                transport = await self._context.transport(self._targets[host])
                result = await transport.run(command)
        except (SaneError, TimeoutError):
            return ""
        return result.text if result.exit_code == 0 else ""


def planner_of(
    config: WatchConfig, chain: ModelChain, context: Context, targets: Mapping[str, str], *, deploys: bool = True
) -> Planner:
    """Return the configured planner; without a model, the rules. Raises UsageError for a tool that is none."""
    rules = RulePlanner(config.limits.tier, deploys=deploys)
    if not chain.names:
        return rules
    tools = [tool_of(verb, context, targets) for verb in readable_verbs(config.planner_tools)]
    return ModelPlanner(chain, tools, rules if config.planner_fallback else None)

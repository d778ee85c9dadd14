"""The configuration of a watch: what `watch.yaml` and the environment say, checked, with every default.

interval: 5s
log_path: ~/app.log
poller: {model: cheap}
planner: {model: big, tier: retry, max_hosts: 5}
models:
  big: {provider: anthropic, model: NAME, key_env: ANTHROPIC_API_KEY, price: {input: 3, output: 15}, fallback: [cheap]}
  cheap: {provider: ollama, model: NAME, base_url: "http://127.0.0.1:11434/v1"}
budget: {tokens_per_hour: 600000, money_per_hour: 5}
alerts:
  command: [notify-me, --channel, ops]
  webhook: {url: "https://…", key_id: sane, secret_env: HOOK_SECRET}
  tmux: {session: ops}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sane.core.document import Fields, Node, Problems, with_units
from sane.core.nearest import nearest_hint
from sane.core.watch.budget import BudgetPolicy
from sane.core.watch.escalation_state import EscalationPolicy
from sane.core.watch.model_settings import (
    RULES,
    ModelSettings,
    chain_of,
    is_variable,
    model_from_text,
    parse_money_micro,
    read_model,
)
from sane.core.watch.plan import TIERS, PlanLimits
from sane.core.watch.policy import WatchPolicy
from sane.errors import UsageError

NEVER_STALE_MS = 1 << 50
_TOP = ("poller", "planner", "models", "budget", "alerts", "log_path", "probe")
_BUDGET = ("tokens_per_hour", "tokens_per_episode", "money_per_hour", "money_per_episode")
_DELAYS = ("settle", "backoff", "patience", "approval")


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Say how a person is told. `command` is an argument vector that gets the alert as JSON on its input."""

    command: tuple[str, ...] = ()
    webhook_url: str = ""
    webhook_key_id: str = "sane"
    webhook_secret_env: str = ""
    tmux_session: str = ""


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """Hold how a fleet is watched. `planner_fallback`: the rules plan where no model answers (else: ask again)."""

    models: Mapping[str, ModelSettings] = field(default_factory=dict[str, ModelSettings])
    poller_model: str = ""
    planner_model: str = ""
    planner_tools: tuple[str, ...] | None = None
    planner_fallback: bool = True
    limits: PlanLimits = field(default_factory=PlanLimits)
    watch: WatchPolicy = field(default_factory=lambda: WatchPolicy(interval_ms=5_000))
    escalation: EscalationPolicy = field(default_factory=EscalationPolicy)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    log_path: str = ""
    probe: str = ""

    def chain(self, name: str) -> tuple[ModelSettings, ...]:
        """Return the models that are asked one after another."""
        return chain_of(self.models, name)


def read_watch_config(root: Node, problems: Problems) -> WatchConfig:
    """Return the configuration in a document; mistakes are recorded, each at its line."""
    fields = Fields(root, problems, "the watch", (*_TOP, *with_units(["interval", "max_age"]), *with_units(_DELAYS)))
    models = {
        key.text: read_model(key.text, node, problems) for key, node in fields.mapping("models") if key.text != RULES
    }
    _check_fallbacks(fields.mapping("models"), models, problems)
    planner = fields.mapping("planner", ("model", "tier", "max_hosts", "min_confidence", "tools", "fallback"))
    poller = fields.mapping("poller", ("model",))
    chosen = _model_name(poller, models)
    alerts, hourly = _alerts(fields.mapping("alerts", ("command", "webhook", "tmux", "per_hour")))
    interval_ms = fields.duration_ms("interval", 5_000, bare="s")
    budget = _budget(fields.mapping("budget", _BUDGET))
    delay = {name: fields.duration_ms(name, getattr(EscalationPolicy(), f"{name}_ms")) for name in _DELAYS}
    tools = tuple(text for text, _ in planner.strings("tools")) if "tools" in planner else None
    return WatchConfig(
        models=models,
        poller_model=chosen,
        planner_model=_model_name(planner, models),
        planner_tools=tools,
        planner_fallback=planner.choice("fallback", RULES, (RULES, "none")) == RULES,
        limits=_limits(planner),
        watch=WatchPolicy(interval_ms=interval_ms, stale_after_ms=_max_age(fields)),
        escalation=EscalationPolicy(
            use_classifier=chosen != "",
            budget=budget,
            alerts_per_hour=hourly,
            settle_ms=delay["settle"],
            backoff_ms=delay["backoff"],
            patience_ms=delay["patience"],
            approval_ms=delay["approval"],
        ),
        alerts=alerts,
        log_path=fields.text("log_path"),
        probe=fields.text("probe"),
    )


def apply_environment(config: WatchConfig, environ: Mapping[str, str]) -> WatchConfig:
    """Return the configuration with what `SANE_POLLER_*` and `SANE_PLANNER_*` say put first. Raises UsageError.

    `…_MODEL` is `PROVIDER:MODEL`, the name of a configured model, or `rules`; `…_URL` is its address, `…_KEY_ENV`
    names the variable of its key, `SANE_PLANNER_TIER` is the tier.
    """
    for role in ("poller", "planner"):
        prefix = f"SANE_{role.upper()}"
        if text := environ.get(f"{prefix}_MODEL", ""):
            config = _with_model(
                config, role, text, environ.get(f"{prefix}_URL", ""), environ.get(f"{prefix}_KEY_ENV", "")
            )
    if tier := environ.get("SANE_PLANNER_TIER", ""):
        if tier not in TIERS:
            raise UsageError(f"SANE_PLANNER_TIER is '{tier[:40]}'", hint=f"Write one of {', '.join(TIERS)}.")
        config = replace(config, limits=replace(config.limits, tier=tier))
    return config


def _with_model(config: WatchConfig, role: str, text: str, url: str, key_env: str) -> WatchConfig:
    if text == RULES:
        name, models = "", config.models
    elif text in config.models:
        name, models = text, config.models
    else:
        name = role
        models = {**config.models, role: model_from_text(role, text, url, key_env)}
    if role == "planner":
        return replace(config, models=models, planner_model=name)
    escalation = replace(config.escalation, use_classifier=name != "")
    return replace(config, models=models, poller_model=name, escalation=escalation)


def _model_name(fields: Fields, models: Mapping[str, ModelSettings]) -> str:
    name, node = fields.text("model"), fields.get("model")
    if node is None or name == RULES:
        return ""
    if name not in models:
        fields.problems.add(node, f"there is no model '{name}'", nearest_hint(name, [*models, RULES]))
        return ""
    return name


def _check_fallbacks(entries: Fields, models: Mapping[str, ModelSettings], problems: Problems) -> None:
    for key, node in entries:
        if key.text == RULES:
            problems.add(key, "'rules' is the name of the planner without a model", "Choose another name.")
            continue
        for name in models[key.text].fallback:
            if name not in models:
                problems.add(
                    node, f"model {key.text} falls back to '{name}', which is none", nearest_hint(name, models)
                )


def _max_age(fields: Fields) -> int:
    node = fields.get("max_age")
    if node is not None and node.kind == "scalar" and node.text in ("none", "never"):
        return NEVER_STALE_MS
    return fields.duration_ms("max_age", 0, bare="s")


def _limits(planner: Fields) -> PlanLimits:
    default = PlanLimits()
    node = planner.get("min_confidence")
    least = default.least_confidence
    if node is not None:
        least = planner.problems.attempt(node, lambda: _share(node.text), least)
    return PlanLimits(
        planner.choice("tier", default.tier, TIERS),
        planner.integer("max_hosts", default.host_limit, low=0, high=1_000_000),
        least,
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"min_confidence must be a number from 0 to 1, got '{text[:40]}'")
    return value


def _budget(fields: Fields) -> BudgetPolicy:
    default = BudgetPolicy()
    tokens = {
        name: fields.integer(name, getattr(default, name), low=0, high=10**12)
        for name in ("tokens_per_hour", "tokens_per_episode")
    }
    money = {"hour": default.cost_micro_per_hour, "episode": default.cost_micro_per_episode}
    for span in money:
        node = fields.get(f"money_per_{span}")
        if node is not None:
            read = partial(parse_money_micro, node.text, f"money_per_{span}")
            money[span] = fields.problems.attempt(node, read, money[span])
    return BudgetPolicy(cost_micro_per_hour=money["hour"], cost_micro_per_episode=money["episode"], **tokens)


def _alerts(fields: Fields) -> tuple[AlertSettings, int]:
    webhook = fields.mapping("webhook", ("url", "key_id", "secret_env"))
    tmux = fields.mapping("tmux", ("session",))
    url = webhook.text("url")
    if url and not url.startswith(("http://", "https://")):
        webhook.problems.add(webhook.key("url"), "url must start with http:// or https://")
    secret = webhook.text("secret_env")
    if secret and not is_variable(secret):
        webhook.problems.add(webhook.key("secret_env"), "secret_env must be the name of an environment variable")
        secret = ""
    if url and not secret and "secret_env" not in webhook:
        hint = "Name the environment variable that holds the secret."
        webhook.problems.add(webhook.key("url"), "a webhook is signed, and needs secret_env", hint)
    per_hour = fields.integer("per_hour", EscalationPolicy().alerts_per_hour, low=1, high=10_000)
    command = tuple(text for text, _ in fields.strings("command"))
    return AlertSettings(command, url, webhook.text("key_id", "sane"), secret, tmux.text("session")), per_hour

"""The configuration of a watch: every field, the environment, and mistakes named with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sane.core.watch.budget import BudgetPolicy
from sane.core.watch.config import NEVER_STALE_MS, WatchConfig, apply_environment
from sane.core.watch.model_settings import is_variable, model_from_text
from sane.errors import ConfigError, UsageError
from sane.operations.watch_files import load_watch_config

FULL = """
interval: 10s
max_age: 1m
log_path: ~/app.log
probe: test -e ready
settle: 5s
poller: {model: cheap}
planner: {model: big, tier: rollback, max_hosts: 2, min_confidence: 0.8, tools: [read-file], fallback: none}
models:
  big: {provider: anthropic, model: m, key_env: BIG_KEY, timeout: 30s, price: {input: 3, output: 15.5}, fallback: [cheap]}
  cheap: {provider: ollama, model: q, base_url: "http://127.0.0.1:11434/v1", fallback: [big]}
budget: {tokens_per_hour: 10, money_per_hour: 0.5, money_per_episode: 0}
alerts:
  command: [notify, "a b"]
  webhook: {url: "http://127.0.0.1:1/x", key_id: k, secret_env: HOOK}
  tmux: {session: ops}
  per_hour: 3
"""


def load(tmp_path: Path, text: str, **environ: str) -> WatchConfig:
    file = tmp_path / "watch.yaml"
    file.write_text(text)
    return load_watch_config(file, {"HOME": str(tmp_path), **environ})


def test_every_field_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert (config.watch.interval_ms, config.watch.stale_limit_ms, config.escalation.settle_ms) == (
        10_000,
        60_000,
        5_000,
    )
    assert (config.limits.tier, config.limits.host_limit, config.limits.least_confidence) == ("rollback", 2, 0.8)
    assert (config.planner_tools, config.planner_fallback) == (("read-file",), False)
    assert [model.name for model in config.chain("big")] == ["big", "cheap"]
    assert config.models["big"].cost_micro(1_000_000, 1_000_000) == 18_500_000
    assert config.models["big"].cost_micro(1, 0) == 3
    assert config.models["cheap"].cost_micro(1, 1) is None
    assert config.escalation.budget == BudgetPolicy(10, 500_000, BudgetPolicy().tokens_per_episode, 0)
    assert config.escalation.use_classifier
    assert config.escalation.alerts_per_hour == 3
    assert (config.alerts.command, config.alerts.webhook_secret_env) == (("notify", "a b"), "HOOK")
    assert (config.log_path, config.probe, config.alerts.tmux_session) == ("~/app.log", "test -e ready", "ops")


def test_without_a_file_all_is_default_and_the_rules_plan(tmp_path: Path) -> None:
    config = load_watch_config(None, {"HOME": str(tmp_path)})
    assert config == WatchConfig()
    assert config.chain(config.planner_model) == ()
    assert not config.escalation.use_classifier


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("planer: {}", "watch.yaml:1: unknown key 'planer'"),
        (
            "\nplanner: {model: bigg}\nmodels:\n  big: {provider: ollama, model: m}",
            "watch.yaml:2: there is no model 'bigg'",
        ),
        ("models:\n  big: {provider: opnai, model: m}", "watch.yaml:2: provider must be one of"),
        ("models:\n  big: {model: m}", "watch.yaml:2: model big lacks provider"),
        ("models:\n  big: {provider: ollama, model: m, fallback: [x]}", "falls back to 'x'"),
        ("models:\n  rules: {provider: ollama, model: m}", "'rules' is the name of"),
        ("models:\n  big: {provider: ollama, model: m, price: {input: cheap}}", "input must be an amount of money"),
        ("planner:\n  tier: root", "watch.yaml:2: tier must be one of read, retry, rollback, write"),
        ("planner:\n  min_confidence: 2", "watch.yaml:2: min_confidence must be a number from 0 to 1"),
        ("alerts:\n  webhook: {url: 'http://h/'}", "a webhook is signed, and needs secret_env"),
        ("alerts:\n  webhook: {url: 'file:///etc/passwd', secret_env: A}", "url must start with http"),
        ("interval: 5 parsecs", "watch.yaml:1: "),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert told in error.value.message


def test_a_key_in_the_file_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "models:\n  big: {provider: openai, model: m, key_env: sk-abcdef}")
    assert "key_env must be the name of an environment variable" in error.value.message
    assert "sk-abcdef" not in error.value.message + error.value.hint
    assert not is_variable("sk-abc")
    assert not is_variable("")
    assert is_variable("OPENAI_API_KEY")


def test_the_environment_goes_first(tmp_path: Path) -> None:
    given = {
        "SANE_PLANNER_MODEL": "openai:gpt",
        "SANE_PLANNER_URL": "http://127.0.0.1:1/v1",
        "SANE_PLANNER_KEY_ENV": "K",
        "SANE_PLANNER_TIER": "read",
        "SANE_POLLER_MODEL": "rules",
    }
    config = load(tmp_path, FULL, **given)
    assert config.chain(config.planner_model) == (
        model_from_text("planner", "openai:gpt", "http://127.0.0.1:1/v1", "K"),
    )
    assert (config.limits.tier, config.escalation.use_classifier) == ("read", False)
    assert apply_environment(config, {"SANE_PLANNER_MODEL": "big"}).planner_model == "big"
    for wrong in ({"SANE_PLANNER_TIER": "root"}, {"SANE_PLANNER_MODEL": "gpt"}, {"SANE_POLLER_MODEL": "bigg:x"}):
        with pytest.raises(UsageError):
            apply_environment(config, wrong)


def test_max_age_none_is_never_stale(tmp_path: Path) -> None:
    assert load(tmp_path, "max_age: none").watch.stale_limit_ms == NEVER_STALE_MS
    assert load(tmp_path, "interval: 2s").watch.stale_limit_ms == 6_000

"""Which models there are, as configured: where, under which name, with which key's variable, at which price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sane.core.document import Fields, Node, Problems, with_units
from sane.core.nearest import nearest_hint
from sane.errors import UsageError

PROVIDERS = ("openai", "ollama", "anthropic", "bedrock")
RULES = "rules"
_KNOWN = (
    "provider",
    "model",
    "base_url",
    "key_env",
    "price",
    "fallback",
    "max_output_tokens",
    *with_units(["timeout"]),
)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Say how one model is called.

    `provider` is one of `PROVIDERS`; `base_url` "" is the provider's own. `key_env` names the environment variable
    that holds the key, "" where none is needed; the key itself is never here. Prices are micro-units of money per
    million tokens, None where they are looked up. `fallback` names the models that are asked when this one can't be.
    """

    name: str
    provider: str
    model: str
    base_url: str = ""
    key_env: str = ""
    timeout_ms: int = 60_000
    max_output_tokens: int = 2_000
    input_price_micro: int | None = None
    output_price_micro: int | None = None
    fallback: tuple[str, ...] = ()

    def cost_micro(self, input_tokens: int, output_tokens: int) -> int | None:
        """Return the cost of a call in micro-units by the configured prices; None where there are none."""
        if self.input_price_micro is None or self.output_price_micro is None:
            return None
        return -(-(input_tokens * self.input_price_micro + output_tokens * self.output_price_micro) // 1_000_000)


def read_model(name: str, node: Node, problems: Problems) -> ModelSettings:
    """Return the model that a mapping describes; mistakes are recorded."""
    fields = Fields(node, problems, f"model {name}", _KNOWN)
    provider = fields.choice("provider", "", PROVIDERS)
    model = fields.text("model")
    for wanted, value in (("provider", provider), ("model", model)):
        if not value and wanted not in fields:
            problems.add(node, f"model {name} lacks {wanted}", "Write provider: openai, ollama, anthropic or bedrock.")
    base_url = fields.text("base_url")
    if base_url and not base_url.startswith(("http://", "https://")):
        problems.add(fields.key("base_url"), f"base_url must start with http:// or https://, got '{base_url[:60]}'")
    key_env = fields.text("key_env")
    if key_env and not is_variable(key_env):
        # a key that was written here by mistake must not be shown again
        hint = "Put the key into an environment variable, and the name of that variable here."
        problems.add(fields.key("key_env"), "key_env must be the name of an environment variable", hint)
        key_env = ""
    price = fields.mapping("price", ("input", "output"))
    return ModelSettings(
        name,
        provider,
        model,
        base_url,
        key_env,
        fields.duration_ms("timeout", 60_000, bare="s"),
        fields.integer("max_output_tokens", 2_000, low=1, high=1_000_000),
        _money(price, "input"),
        _money(price, "output"),
        tuple(text for text, _ in fields.strings("fallback")),
    )


def is_variable(text: str) -> bool:
    """Return whether a text can be the name of an environment variable: capitals, digits, underscores."""
    return text.isascii() and text.replace("_", "a").isalnum() and text == text.upper() and not text[:1].isdigit()


def _money(fields: Fields, name: str) -> int | None:
    node = fields.get(name)
    return None if node is None else fields.problems.attempt(node, lambda: parse_money_micro(node.text, name), None)


def parse_money_micro(text: str, name: str) -> int:
    """Return an amount of money in micro-units. Raises UsageError."""
    whole, _, part = text.partition(".")
    if not (whole.isdigit() and len(whole) < 10 and (not part or part.isdigit())):
        raise UsageError(f"{name} must be an amount of money, got '{text[:40]}'", hint="Write for example 2.50.")
    return int(whole) * 1_000_000 + int((part + "000000")[:6])


def model_from_text(name: str, text: str, base_url: str = "", key_env: str = "") -> ModelSettings:
    """Return the model that `PROVIDER:MODEL` (an environment variable's value) describes. Raises UsageError."""
    provider, colon, model = text.partition(":")
    if not colon or not model or provider not in PROVIDERS:
        hint = nearest_hint(provider, PROVIDERS) or "Write PROVIDER:MODEL, for example ollama:qwen3."
        raise UsageError(f"the {name}'s model must be PROVIDER:MODEL, got '{text[:60]}'", hint=hint)
    if key_env and not is_variable(key_env):
        raise UsageError(f"the {name}'s key must be named by its environment variable")
    return ModelSettings(name, provider, model, base_url, key_env)


def chain_of(models: Mapping[str, ModelSettings], name: str) -> tuple[ModelSettings, ...]:
    """Return a model and its fallbacks, theirs after them, each once. "" and `rules` are no models."""
    found: dict[str, ModelSettings] = {}
    waiting = [name]
    while waiting:
        settings = models.get(waiting.pop(0))
        if settings is not None and settings.name not in found:
            found[settings.name] = settings
            waiting[:0] = settings.fallback
    return tuple(found.values())

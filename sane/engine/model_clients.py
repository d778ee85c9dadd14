"""The clients of the providers, made from configuration alone, and what is told of their errors and prices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sane.core.redact import redact
from sane.core.rollout.hints import install_hint
from sane.core.watch.model_settings import ModelSettings
from sane.errors import ConfigError, SaneError

if TYPE_CHECKING:
    from pydantic_ai.models import Model

ERROR_CHARS = 300


def build_model(settings: ModelSettings, environ: Mapping[str, str]) -> Model[Any]:
    """Return pydantic-ai's model. Raises ConfigError where its key's variable is not set, or the package is missing."""
    key = environ.get(settings.key_env, "").strip() if settings.key_env else None
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key in {settings.key_env} holds characters that no header can carry", hint="Set it again."
        )
    if settings.key_env and not key:
        raise ConfigError(
            f"model {settings.name} needs a key, and {settings.key_env} is not set", hint=f"export {settings.key_env}=…"
        )
    try:
        return _build(settings, key)
    except ImportError as error:
        raise ConfigError(
            f"model {settings.name} needs a package that is not installed: {error.name or 'pydantic_ai'}",
            hint=f"{install_hint('agents')}. Without a model, the rules plan.",
        ) from None


def _build(settings: ModelSettings, key: str | None) -> Model[Any]:
    match settings.provider:
        case "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            # given, not looked up: a client takes no key or address from variables that nobody named
            client = AsyncAnthropic(
                api_key=key or "none", base_url=settings.base_url or "https://api.anthropic.com", max_retries=0
            )
            return AnthropicModel(settings.model, provider=AnthropicProvider(anthropic_client=client))
        case "bedrock":
            from pydantic_ai.models.bedrock import BedrockConverseModel

            return BedrockConverseModel(settings.model)
        case _:
            from openai import AsyncOpenAI
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            local = "http://127.0.0.1:11434/v1" if settings.provider == "ollama" else "https://api.openai.com/v1"
            openai = AsyncOpenAI(api_key=key or "none", base_url=settings.base_url or local, max_retries=0)
            return OpenAIChatModel(settings.model, provider=OpenAIProvider(openai_client=openai))


def reason_of(error: BaseException, key: str) -> str:
    """Return why a call failed, in one line without the key."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    status = getattr(error, "status_code", None)
    said = f"the provider answered {status}" if status is not None else f"{type(error).__name__}: {error}"
    if isinstance(error, SaneError):
        said = error.message
    if key:
        said = said.replace(key, "[redacted]")
    return re.sub(r"\s+", " ", redact(said))[:ERROR_CHARS]


def looked_up_cost(settings: ModelSettings, input_tokens: int, output_tokens: int) -> int:
    """Return a cost by the public price list that ships with pydantic-ai; 0 for a model that is not on it."""
    if settings.provider not in ("anthropic", "openai") or settings.base_url or not input_tokens + output_tokens:
        return 0
    try:
        from genai_prices import Usage, calc_price

        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        found = calc_price(usage, model_ref=settings.model, provider_id=settings.provider)
        return int(found.total_price * 1_000_000)
    except (LookupError, ValueError, ImportError):  # an unpriced model raises; its tokens still count
        return 0

"""sane-validate-with-ai: would this command line work? Checked here first, by a cheap model where that can't tell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from sane.core.command import Command
from sane.core.target import parse_target
from sane.errors import UnavailableError
from sane.primitives._cheap_model import ask_validity, configured_model
from sane.primitives._state_file import change_json, read_json
from sane.primitives._tool_flags import SAFE_TO_ASK, ToolFlags, lists_flag, tools_in
from sane.primitives.get_tool import is_tool_name
from sane.primitives.validate_bash import check_bash
from sane.transports.base import Transport
from sane.transports.context import Context
from sane.verbs.registry import verb

Kind = Literal["bash", "jq", "tool-flag", "bash-or-tool-flag"]
CACHE_LIMIT = 1000
JQ_COMPILE_ERROR = 3  # exit status of jq


@dataclass(frozen=True, slots=True)
class AiVerdict:
    """Answer whether a text is valid (None: nobody could tell) and who said so; `method` is local, ai or error."""

    valid: bool | None
    method: str
    error: str | None = None
    tool: str | None = None
    flags: list[str] | None = None
    platform: str | None = None
    cached: bool | None = None


def _is_answered(answer: Mapping[str, object]) -> bool:
    return answer.get("method") != "error"


@verb(access="read", example="sane-validate-with-ai tool-flag 'grep -P x'", ok=_is_answered)
async def validate_with_ai(
    context: Context,
    kind: Annotated[Kind, "what the text is"],
    text: Annotated[str, "a script, a jq filter, or a command line"],
    platform: Annotated[str | None, "as `uname -s` has it; default: the target's own"] = None,
    *,
    target: Annotated[str, "where it would run"] = "local:",
) -> AiVerdict:
    """Check a text with what the target has (bash -n, jq, a tool's own help); ask a model only where that can't tell.

    The model is the OpenAI-compatible one of SANE_AI_URL, SANE_AI_MODEL and SANE_AI_KEY. Its answers are kept, by
    platform, tool and flags, in the state directory.
    """
    transport = await context.transport(parse_target(target))
    if kind == "jq":
        return await _validate_jq(context.state_dir, transport, text, platform)
    verdict = await check_bash(transport, text)
    if not verdict.valid:
        return AiVerdict(False, "local", f"line {verdict.line}, column {verdict.column}: {verdict.error}")
    if kind == "bash":
        return AiVerdict(True, "local")
    own = (await transport.run(Command("uname -s", timeout_s=10.0, display="uname -s"))).text.strip()
    last = AiVerdict(True, "local", platform=platform or own)
    for used in tools_in(text):
        last = await _validate_flags(context.state_dir, transport, used, platform or own, own)
        if last.valid is not True:
            break
    return last


async def _validate_flags(state_dir: Path, transport: Transport, used: ToolFlags, platform: str, own: str) -> AiVerdict:
    """Return the verdict on one tool's flags: by its own help where the platform is the target's own."""
    facts: dict[str, Any] = {"tool": used.tool, "flags": list(used.flags), "platform": platform}
    if not used.flags:
        return AiVerdict(True, "local", **facts)
    unlisted = list(used.flags)
    if platform == own and used.tool in SAFE_TO_ASK:
        said = await _help_of(transport, used.tool)
        unlisted = [flag for flag in used.flags if not lists_flag(said, flag)] if said else unlisted
        if not unlisted:
            return AiVerdict(True, "local", **facts)
        if said and configured_model(os.environ) is None:
            return AiVerdict(False, "local", f"the help of {used.tool} does not list {', '.join(unlisted)}", **facts)
    key = "\0".join((platform, used.tool, *sorted(used.flags)))
    question = {"question": "Does this tool accept these flags?", **{k: str(v) for k, v in facts.items()}}
    return await _ask_model(state_dir, key, question, facts)


async def _help_of(transport: Transport, tool: str) -> str:
    if not is_tool_name(tool):
        return ""
    command = Command(
        f"{tool} --help 2>&1 </dev/null", timeout_s=5.0, display=f"{tool} --help", output_limit_bytes=1 << 20
    )
    result = await transport.run(command)
    return "" if result.timed_out or result.exit_code in (None, 126, 127) else result.text


async def _validate_jq(state_dir: Path, transport: Transport, text: str, platform: str | None) -> AiVerdict:
    # jq can't only compile: nothing comes out of `empty`, so nothing of the filter runs.
    command = Command('jq -n "empty | $SANE_FILTER" 2>&1', env={"SANE_FILTER": text or "."}, timeout_s=10.0)
    result = await transport.run(command)
    if result.exit_code == 0:
        return AiVerdict(True, "local")
    if result.exit_code == JQ_COMPILE_ERROR:
        return AiVerdict(False, "local", result.text.strip().partition("\n")[0][:300])
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    question = {"question": "Is this a valid jq filter?", "filter": text}
    return await _ask_model(state_dir, f"jq\0{digest}", question, {"tool": "jq", "platform": platform})


async def _ask_model(state_dir: Path, key: str, question: dict[str, str], facts: dict[str, Any]) -> AiVerdict:
    """Return the model's verdict, from the cache where it was asked before."""
    path = state_dir / "validations.json"
    model = configured_model(os.environ)
    kept = read_json(path).get(f"{model.name}\0{key}" if model else "")
    if kept is not None:
        return AiVerdict(kept["valid"], "ai", None if kept["valid"] else kept["reason"], cached=True, **facts)
    if model is None:
        hint = "this machine can't tell, and no model is configured: set SANE_AI_URL and SANE_AI_MODEL"
        return AiVerdict(None, "error", hint, **facts)
    try:
        valid, reason = await ask_validity(model, question)
    except UnavailableError as error:
        return AiVerdict(None, "error", error.message, **facts)
    await change_json(path, lambda cache: _keep(cache, f"{model.name}\0{key}", {"valid": valid, "reason": reason}))
    return AiVerdict(valid, "ai", None if valid else reason, cached=False, **facts)


def _keep(cache: dict[str, Any], key: str, verdict: dict[str, Any]) -> None:
    while len(cache) >= CACHE_LIMIT:
        cache.pop(next(iter(cache)))
    cache[key] = verdict

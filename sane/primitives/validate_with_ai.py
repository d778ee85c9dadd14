"""sane-validate-with-ai: would this command line work? Checked here first, by a cheap model where that can't tell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from sane.core.command import Command, CommandResult
from sane.core.target import parse_target
from sane.errors import UnavailableError
from sane.primitives._cheap_model import ask_validity, configured_model
from sane.primitives._state_file import change_json, read_json
from sane.primitives._tool_flags import (
    HELP_WORDS,
    SAFE_TO_ASK,
    ToolFlags,
    is_surely_read,
    refuses,
    sure_parts,
    tools_in,
)
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
    return await _validate_line(context.state_dir, transport, text, kind, platform or own, own)


async def _validate_line(
    state_dir: Path, transport: Transport, text: str, kind: Kind, platform: str, own: str
) -> AiVerdict:
    """Return the verdict on a command line that bash takes: the first that is no yes."""
    try:
        tools = tools_in(text)
    except ValueError:  # quoted in a way that only a shell's own parser reads
        question = {"question": "Would this command line work?", "line": text, "platform": platform}
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return await _ask_model(state_dir, f"line\0{platform}\0{digest}", question, {"platform": platform})
    if not tools and kind == "tool-flag":
        return AiVerdict(False, "local", "there is no tool in it", platform=platform)
    last = AiVerdict(True, "local", platform=platform)
    for used in tools:
        last = await _validate_flags(state_dir, transport, used, platform, own, sure=is_surely_read(text))
        if last.valid is not True:
            break
    return last


async def _validate_flags(
    state_dir: Path, transport: Transport, used: ToolFlags, platform: str, own: str, *, sure: bool
) -> AiVerdict:
    """Return the verdict on one tool's flags: by the tool itself where the platform is the target's own."""
    facts: dict[str, Any] = {"tool": used.tool, "flags": list(used.flags), "platform": platform}
    if not used.flags and "$" not in used.tool and not used.tool.startswith("-"):  # a tool that an expansion names
        return AiVerdict(True, "local", **facts)
    if platform == own and used.tool in SAFE_TO_ASK and not used.follows:
        refused = await _refused(transport, used)
        if refused is not None and not refused:
            return AiVerdict(True, "local", **facts)
        if refused and sure:
            return AiVerdict(False, "local", f"{used.tool} does not take {', '.join(refused)}", **facts)
    about = facts | ({"subcommand": used.follows} if used.follows else {})
    key = "\0".join((platform, f"{used.tool} {used.follows}".rstrip(), *sorted(used.flags)))
    question = {"question": "Does this tool accept these flags?", **{k: str(v) for k, v in about.items()}}
    return await _ask_model(state_dir, key, question, facts)


async def _refused(transport: Transport, used: ToolFlags) -> list[str] | None:
    """Return which flags a tool refuses; None where neither its help nor the tool itself can tell.

    It is asked about an option that its help does not list by that option and `--help`: help texts leave things out.
    """
    listing = await _said_by(transport, used.tool, HELP_WORDS.get(used.tool, "--help"))
    if listing is None:
        return None
    unknown, refused = False, list[str]()
    for word, option in sure_parts(listing.text, used).items():
        said = await _said_by(transport, used.tool, f"{option} --help") if option else None
        if said is not None and said.exit_code != 0 and refuses(said.text, option):
            refused.append(word)
        elif said is None or option != word or (said.exit_code, said.output) != (0, listing.output):
            unknown = True
    return refused if refused or not unknown else None


async def _said_by(transport: Transport, tool: str, words: str) -> CommandResult | None:
    """Return what a tool says to options that do nothing; None where there is no such tool, or no end."""
    shown = f"{tool} {words}"
    script = f"env LC_ALL=C {shown} 2>&1 </dev/null"
    result = await transport.run(Command(script, timeout_s=5.0, display=shown, output_limit_bytes=1 << 20))
    return None if result.timed_out or result.exit_code in (None, 126, 127) else result


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

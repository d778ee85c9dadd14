"""sane-get-tool: what a tool is called on a platform, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sane.primitives._script import run_script
from sane.transports.context import Context
from sane.verbs.registry import verb

# GNU tools as Homebrew and MacPorts (Darwin), ports (FreeBSD, OpenBSD) and OpenCSW (SunOS) name them.
_GNU_NAMES = (
    "base64 cp cut date dd df du env expr find grep head install ln "
    "ls make md5sum mktemp mv nproc readlink realpath rm sed sha256sum shuf sort split "
    "stat stdbuf tac tail tar tee timeout touch tr uniq wc xargs awk"
)
_GNU = {name: f"g{name}" for name in _GNU_NAMES.split()}
TOOLS: dict[str, dict[str, str]] = {
    "Darwin": _GNU,
    "FreeBSD": _GNU,
    "OpenBSD": _GNU,
    "NetBSD": _GNU,
    "SunOS": _GNU,
}
SCRIPT = r"""
printf 'platform=%s\n' "$(uname -s)"
for name in $SANE_TOOLS; do
    path=$(command -v "$name" 2>/dev/null) || continue
    case $path in /*) printf '%s=%s\n' "at_$name" "$path" ;; *) printf '%s=builtin\n' "at_$name" ;; esac
done
echo done=1
"""


@dataclass(frozen=True, slots=True)
class Tool:
    """Answer a tool's name on a platform; `path` is empty where it was not found, `builtin` for a part of the shell."""

    tool: str
    path: str
    found: bool
    platform: str


@verb(access="read", example="sane-get-tool grep Darwin")
async def get_tool(
    context: Context,
    name: Annotated[str, "the tool's GNU name"],
    platform: Annotated[str | None, "as `uname -s` has it; default: the target's own"] = None,
    *,
    target: Annotated[str, "where to look"] = "local:",
    timeout_s: Annotated[float, "how long it may take"] = 15.0,
) -> Tool:
    """Tell what a GNU tool is called on a platform, and where the target has it.

    On the target's own platform its plain name is taken where the mapped one is not installed.
    """
    mapped = {names.get(name, name) for names in TOOLS.values()}
    asked = " ".join(sorted(word for word in {name, *mapped} if is_tool_name(word)))
    values = {"SANE_TOOLS": asked}
    answer = await run_script(context, target, SCRIPT, values, display=f"sane-get-tool {name}", timeout_s=timeout_s)
    own = answer.fields["platform"]
    wanted = TOOLS.get(platform_name(platform or own), {}).get(name, name)
    candidates = [wanted, name] if platform is None or platform_name(platform) == own else [wanted]
    for candidate in candidates:
        if f"at_{candidate}" in answer.fields:
            return Tool(candidate, answer.fields[f"at_{candidate}"], True, platform or own)
    return Tool(wanted, "", False, platform or own)


def platform_name(text: str) -> str:
    """Return a platform as `uname -s` has it: `macos` and `darwin` are Darwin, `linux` is Linux."""
    known = {
        "macos": "Darwin",
        "osx": "Darwin",
        "mac": "Darwin",
        **{name.lower(): name for name in TOOLS},
        "linux": "Linux",
    }
    return known.get(text.lower(), text)


def is_tool_name(word: str) -> bool:
    """Say whether a word can be the name of a program to look for."""
    return bool(word) and not word.startswith("-") and all(c.isalnum() or c in "_.+-@[" for c in word)

"""sane-detect-platform: what kind of machine a target is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sane.primitives._script import run_script
from sane.transports.context import Context
from sane.verbs.registry import verb

SCRIPT = r"""
printf 'os=%s\narch=%s\nhostname=%s\n' "$(uname -s)" "$(uname -m)" "$(uname -n)"
printf 'user=%s\nshell=%s\n' "$(id -un 2>/dev/null || printf %s "$LOGNAME")" "${SHELL##*/}"
for file in /etc/os-release /usr/lib/os-release; do
    [ -r "$file" ] || continue
    (ID=; VERSION_ID=; . "$file"; printf 'distro=%s\ndistro_version=%s\n' "$ID" "$VERSION_ID")
    break
done
[ "$(uname -s)" != Darwin ] || printf 'distro=macos\ndistro_version=%s\n' "$(sw_vers -productVersion)"
echo done=1
"""


@dataclass(frozen=True, slots=True)
class Platform:
    """Answer what a target is: `os` as `uname -s` has it, `distro` as os-release has its ID."""

    os: str
    arch: str
    hostname: str
    user: str
    shell: str
    distro: str
    distro_version: str


@verb(access="read", example="sane-detect-platform ssh:web1")
async def detect_platform(
    context: Context,
    target: Annotated[str, "where"],
    *,
    timeout_s: Annotated[float, "how long it may take"] = 15.0,
) -> Platform:
    """Tell the target's operating system, architecture, host name, user, shell and distribution."""
    answer = await run_script(context, target, SCRIPT, {}, display="sane-detect-platform", timeout_s=timeout_s)
    known = answer.fields
    names = ("os", "arch", "hostname", "user", "shell", "distro", "distro_version")
    return Platform(**{name: known.get(name, "") for name in names})

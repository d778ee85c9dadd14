"""What a session on a lab host finds: its environment, and the hook that makes faults of steps and health real.

sshd offers ForceCommand for such things, but then refuses every signal that a client sends, which real hosts pass on.
So the hook is BASH_ENV: each bash that starts in a session reads it. A login shell other than bash still gets there
through ForceCommand.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from sane.operations.lab import health
from sane.operations.lab.state import Lab

BASH = "/bin/bash"

_HOOK = """\
# Read by every bash that starts in a session of the lab host {name}.
if [ -z "${{SANE_LAB_SESSION:-}}" ]; then
    export SANE_LAB_SESSION=$$
    cd -- "$HOME" || exit 1
    if [ -e {works}/health-fault ]; then {apply_health}; fi
fi
if [ -e {works}/health-fault ]; then trap {trap} EXIT; fi
if [ -e {works}/fail-step ] && [ "${{SANE_STEP-}}" = "$(< {works}/fail-step)" ]; then
    printf '%s: step %s: Input/output error\\n' {name} "$SANE_STEP" >&2
    exit 1
fi
"""

# Debian's bash reads ~/.bashrc instead of BASH_ENV in the first shell of an ssh session.
_RC = """\
# The home of a throwaway host of `sane lab`.
case $- in
    *i*) PS1='\\u@{name}:\\w\\$ ' ;;
    *) . {works}/session.sh ;;
esac
"""

_PROFILE = """\
# The home of a throwaway host of `sane lab`.
[ -n "${{TMUX-}}" ] || cd
. ~/.bashrc
"""

_FORCED = """\
#!{bash}
if [ -n "${{SSH_ORIGINAL_COMMAND-}}" ]; then exec {bash} -c "$SSH_ORIGINAL_COMMAND"; fi
exec {bash} -l
"""


def environment(lab: Lab, name: str) -> dict[str, str]:
    """Return what the environment of every session on a host says beyond what sshd itself sets."""
    return {
        "SANE_LAB_HOST": name,
        "SANE_LAB_ROOT": str(lab.root(name)),
        "HOME": str(lab.root(name)),
        "TMUX_TMPDIR": str(lab.sockets(name)),
        "BASH_ENV": str(lab.works(name) / "session.sh"),
        "LANG": "C.UTF-8",
    }


def write_session_files(lab: Lab, name: str) -> None:
    """Write a host's hook and, where it has none, the profile in its home."""
    works, root = lab.works(name), lab.root(name)
    apply_health = shlex.join([sys.executable, "-I", "-S", health.__file__, str(root), str(works)])
    fields = {
        "name": name,
        "works": shlex.quote(str(works)),
        "apply_health": apply_health,
        "trap": shlex.quote(apply_health),
        "bash": BASH,
    }
    (works / "session.sh").write_text(_HOOK.format(**fields))
    forced = works / "forced"
    forced.write_text(_FORCED.format(**fields))
    forced.chmod(0o755)
    for file, text in ((".bash_profile", _PROFILE), (".bashrc", _RC)):
        if not (root / file).exists():
            (root / file).write_text(text.format(**fields))


def set_failing_step(works: Path, step: str | None) -> None:
    """Let the step of that name fail on the host from now on; None lets every step pass.

    It fails where a bash starts with SANE_STEP in its environment, which is how a step's script is run.
    """
    if step is None:
        (works / "fail-step").unlink(missing_ok=True)
    else:
        (works / "fail-step").write_text(step + "\n")

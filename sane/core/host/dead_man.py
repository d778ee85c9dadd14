"""A guard that a host keeps itself: it undoes an activation that no controller confirms in time. Text as data.

    $HOME/.sane/deadman/OPERATION/armed     the deployment key, and until when (epoch seconds, the host's clock)
                                 /revert    the commands of the revert part, filled in
                                 /record    the line that becomes the host's record of the key
                                 /decided   made by one `mkdir`: whoever confirms, or the guard, never both
                                 /fired     the exit code of the revert, once it was run
                                 /output    what it wrote

The guard is a process of the host. It outlives the controller and its connection; a reboot of the host ends it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sane.core.command import Command
from sane.core.host.host_dir import HOME, LOCK
from sane.core.host.record import HostRecord, record_line
from sane.core.host.release_scripts import ACTIVATE
from sane.core.workflow.binding import Binding, environment, fill_arguments
from sane.core.workflow.gates import evaluate
from sane.core.workflow.steps import Step
from sane.core.workflow.template import parse_template
from sane.core.workflow.workflow import Workflow
from sane.errors import ConfigError

VERBS = ("run-command", "activate-release")
KEPT_GUARDS = 20
GuardState = Literal["none", "confirmed", "fired"]

_ARM = (
    HOME
    + r"""
umask 077
dir=$home/deadman/$SANE_GUARD
mkdir -p "$home/deadman" || exit 98
for other in "$home"/deadman/*; do
    [ "$other" != "$dir" ] && read -r key until 2>/dev/null <"$other/armed" && [ "$key" = "$SANE_KEY" ] || continue
    mkdir "$other/decided" 2>/dev/null
done
count=0
for old in $(ls -t "$home/deadman"); do
    count=$((count + 1))
    [ $count -gt "$SANE_KEPT" ] && [ -d "$home/deadman/$old/decided" ] || continue
    rm -rf "$home/deadman/$old"
done
if [ -e "$dir/armed" ]; then
    cat >/dev/null
    if [ -e "$dir/fired" ]; then echo fired; else echo armed; fi
    exit 0
fi
mkdir -p "$dir" && cat >"$dir/revert" && printf '%s\n' "$SANE_RECORD" >"$dir/record" || exit 98
printf '%s %s\n' "$SANE_KEY" $(($(date +%s) + SANE_SECONDS)) >"$dir/armed.new" &&
    mv "$dir/armed.new" "$dir/armed" || exit 98
sane_shell=$(command -v bash || command -v sh)
sane_detach=$(command -v setsid || command -v nohup || echo)
export dir home sane_shell
$sane_detach sh -c "$SANE_LOCK"'
    trap "" HUP
    read -r key until <"$dir/armed"
    while [ "$(date +%s)" -lt "$until" ]; do
        [ ! -d "$dir/decided" ] || exit 0
        sleep 0.5
    done
    mkdir "$dir/decided" 2>/dev/null || exit 0
    echo >"$dir/fired"
    "$sane_shell" "$dir/revert" </dev/null >"$dir/output" 2>&1
    code=$?
    kept=$home/keys/$key
    [ $code -ne 0 ] || ! mkdir -p "$kept" || (
        lock "$kept"
        cp "$dir/record" "$kept/current.new" && mv "$kept/current.new" "$kept/current"
        cat "$dir/record" >>"$kept/history"
    )
    echo $code >"$dir/fired.new" && mv "$dir/fired.new" "$dir/fired"
' </dev/null >/dev/null 2>&1 &
echo armed
"""
)

_CONFIRM = (
    HOME
    + r"""
answer=none
for dir in "$home"/deadman/*; do
    read -r key until 2>/dev/null <"$dir/armed" && [ "$key" = "$SANE_KEY" ] || continue
    case ${dir##*/} in "$SANE_DEPLOYMENT".*) ;; *) continue ;; esac
    [ -n "$SANE_ONLY_LOOK" ] || mkdir "$dir/decided" 2>/dev/null
    if [ -e "$dir/fired" ]; then answer=fired; else answer=confirmed; fi
done
echo "$answer"
"""
)


@dataclass(frozen=True, slots=True)
class Guard:
    """Say what a guard does when nobody confirms within `seconds`; `operation` names it."""

    operation: str
    key: str
    seconds: int
    script: str
    record: HostRecord


def check_dead_man(workflow: Workflow) -> None:
    """Refuse a policy with a dead-man guard over a revert part that a host can't run by itself. Raises ConfigError."""
    if not workflow.policy.dead_man_ms:
        return
    if not workflow.revert:
        raise ConfigError("dead_man needs a revert part", file=workflow.file, hint="Write revert: with its steps.")
    for step in workflow.revert:
        if step.verb not in VERBS:
            message = f"step '{step.name}' calls {step.verb}, which a dead-man guard can't run on the host"
            hint = f"Use {' and '.join(VERBS)} only in revert:, or leave dead_man out."
            raise ConfigError(message, file=workflow.file, line=step.line, hint=hint)
        written = " ".join(str(value) for value in step.arguments.values())
        if any(r.name.startswith("results.") for r in parse_template(written).references):
            message = f"step '{step.name}' needs the answer of another, which a dead-man guard has not"
            raise ConfigError(message, file=workflow.file, line=step.line)


def revert_script(steps: Sequence[Step], binding: Binding, env: Mapping[str, str]) -> str:
    """Return the revert part of a host as one script, its values quoted; it ends at the first step that fails."""
    lines = ["cd || exit 1"]
    for step in steps:
        if step.when is not None and not evaluate(step.when, binding.document()).passed:
            continue
        lines += [f"tries={step.retries}", f"until {_as_command(step, binding, env)}; do"]
        lines += ["    [ $tries -gt 0 ] || exit 1", "    tries=$((tries - 1))", "    sleep 1", "done"]
    return "\n".join([*lines, "exit 0", ""])


def _as_command(step: Step, binding: Binding, env: Mapping[str, str]) -> str:
    arguments = fill_arguments(step, binding)
    if step.verb == "run-command":
        values = {**environment(binding, step), **env}
        words = ["env", *(f"{name}={value}" for name, value in values.items())]
        return f'{shlex.join(words)} "${{sane_shell:-sh}}" -c {shlex.quote(str(arguments["command"]))}'
    values = {"SANE_ROOT": str(arguments["root"]), "SANE_RELEASE": str(arguments["release"]), "SANE_KEEP": "0"}
    words = ["env", *(f"{name}={value}" for name, value in values.items()), "sh", "-c", ACTIVATE]
    # The script tells of a failure in words, and ends with 0.
    return f'( answer=$({shlex.join(words)}); echo "$answer"; case $answer in *error=*) exit 1 ;; esac )'


def arm(guard: Guard) -> Command:
    """Return the command that leaves a guard on the host, in place of an older one of the key."""
    values = {
        "SANE_GUARD": guard.operation,
        "SANE_KEY": guard.key,
        "SANE_SECONDS": str(guard.seconds),
        "SANE_RECORD": record_line(guard.record),
        "SANE_KEPT": str(KEPT_GUARDS),
        "SANE_LOCK": LOCK,
    }
    text = f"exec sh -c {shlex.quote(_ARM)}"
    script = guard.script.encode("utf-8", "surrogateescape")
    return Command(text, env=values, stdin=script, timeout_s=20.0, outlives_caller=True)


def confirm(key: str, deployment: str) -> Command:
    """Return the command that calls the guards of a deployment off; read its output with `parse_guard`."""
    return _ask_guards(key, deployment, "")


def look_at_guard(key: str, deployment: str) -> Command:
    """Return the command that only looks whether a guard of a deployment took the host back: `parse_guard` says fired.

    One that is armed is left armed, and told as confirmed.
    """
    return _ask_guards(key, deployment, "1")


def _ask_guards(key: str, deployment: str, only_look: str) -> Command:
    values = {"SANE_KEY": key, "SANE_DEPLOYMENT": deployment, "SANE_ONLY_LOOK": only_look}
    return Command(f"exec sh -c {shlex.quote(_CONFIRM)}", env=values, timeout_s=20.0, brief=True)


def parse_guard(output: bytes) -> GuardState:
    """Return what became of the guard: there is none, it is called off now or was before, or it was faster."""
    word = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return "confirmed" if word == "confirmed" else "fired" if word == "fired" else "none"

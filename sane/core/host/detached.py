"""Steps that outlive the connection that started them: the shell text, as data, and the reading of its answers.

On the host each operation has a directory, `$HOME/.sane/operations/ID` (`SANE_HOST_DIR` in place of `$HOME/.sane`):

    script    what was asked for
    pid       process id and start time of the wrapper, as the host's kernel counts it
    output    what the step wrote (detached only; in a pane it goes to the pane)
    done      a FIFO the wrapper holds open: its end is the end of the wrapper, even under kill -9
    receipt   one JSON line, written whole by rename: operation, pid, started_at, finished_at, exit_code, digest

`mkdir` of the directory is the claim: it succeeds once, so an operation is started at most once. The room for the
receipt is reserved before the step runs, so a disk that the step fills can't swallow the proof of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sane.core.command import Command
from sane.errors import UsageError

ALREADY_STARTED = 97  # the operation's directory was there: inspect before anything else
NOT_STARTED = 98  # the claim or the script could not be written: nothing ran
FENCED = 96  # a newer holder of the lease was here: nothing ran

MAX_NAME = 90  # of an operation; a digest and the number of an attempt come behind it
_OPERATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")

# Start time of a process: field 22 of /proc/PID/stat behind the last ')', or ps where there is no /proc.
START_TIME_FUNCTION = r"""
sane_started() {
    if [ -r "/proc/$1/stat" ]; then
        sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
    else
        ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' '_'
    fi
}
"""

_CLAIM = (
    r"""
home=${SANE_HOST_DIR:-$HOME/.sane}
dir=$home/operations/$SANE_OPERATION
[ -d "$dir" ] && exit 97
(umask 077 && mkdir -p "$home/operations") || exit 98
if [ -n "${SANE_LEASE-}" ] && read -r newest owner expires 2>/dev/null <"$home/leases/$SANE_LEASE/holder"; then
    if [ "$newest" -gt "$SANE_TOKEN" ]; then
        echo "the lease on $SANE_LEASE is held by $owner with token $newest; ours is $SANE_TOKEN" >&2
        exit 96
    fi
fi
if ! problem=$( (umask 077 && mkdir "$dir") 2>&1); then
    [ -d "$dir" ] && exit 97
    printf '%s\n' "$problem" >&2
    exit 98
fi
if ! printf '%s' "$SANE_SCRIPT" >"$dir/script" || ! printf '%400s\n' '' >"$dir/receipt.new"; then
    rm -rf "$dir"
    exit 98
fi
"""
    + START_TIME_FUNCTION
    + r"""
sane_shell=$(command -v bash || command -v sh)
sane_receipt() {
    printf '{"operation":"%s","pid":%s,"started_at":%s,"finished_at":%s,"exit_code":%s,"digest":"%s"}' \
        "$SANE_OPERATION" "$1" "$began" "$(date +%s)" "$2" "$SANE_DIGEST" 1<>"$dir/receipt.new" &&
        mv "$dir/receipt.new" "$dir/receipt"
}
sane_begin() {
    began=$(date +%s)
    echo "$1 $(sane_started "$1")" >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
}
"""
)

_FINISH = r"""
sane_code() { sed -n 's/.*"exit_code":\([0-9]*\).*/\1/p' "$dir/receipt"; }
sane_answer() {
    cat "$dir/output" 2>/dev/null
    if [ -e "$dir/receipt" ]; then exit "$(sane_code)"; fi
    if [ -e "$dir/stopped" ]; then exit 124; fi
    echo "the step ended without a receipt" >&2
    exit 255
}
"""

_LAUNCH = (
    _CLAIM
    + _FINISH
    + r"""
mkfifo "$dir/done" || { rm -rf "$dir"; exit 98; }
sane_wrapper='
    sane_begin $$
    trap "" HUP
    env -u SANE_SCRIPT -u SANE_LEASE -u SANE_DIGEST "$sane_shell" "$dir/script" </dev/null >"$dir/output" 2>&1 8>&-
    sane_receipt $$ $?
'
: >"$dir/output"
exec 8<>"$dir/done"
export home dir sane_shell
sane_detach=$(command -v setsid || command -v nohup || echo)
$sane_detach sh -c "$SANE_FUNCTIONS
$sane_wrapper" </dev/null >/dev/null 2>&1 &
exec 7<"$dir/done" 8>&-
cat <&7 >/dev/null
sane_answer
"""
)

# In a pane the step runs in the foreground, so that a person sees it; Ctrl-C reaches the step, and the wrapper still
# answers.
_FOREGROUND = (
    _CLAIM
    + r"""
sane_begin $$
trap : INT QUIT
trap '' HUP
env -u SANE_SCRIPT -u SANE_LEASE -u SANE_DIGEST "$sane_shell" "$dir/script"
code=$?
sane_receipt $$ "$code"
exit "$code"
"""
)

_INSPECT = (
    r"""
home=${SANE_HOST_DIR:-$HOME/.sane}
dir=$home/operations/$SANE_OPERATION
"""
    + START_TIME_FUNCTION
    + r"""
pid= started=
if [ -e "$dir/receipt" ]; then state=finished
elif [ ! -d "$dir" ]; then state=absent
elif read -r pid started 2>/dev/null <"$dir/pid" && [ -n "$started" ] &&
    [ "$(sane_started "$pid")" = "$started" ]; then state=running
else state=ambiguous
fi
# The wrapper may have ended between the two looks: a receipt decides.
[ "$state" = ambiguous ] && [ -e "$dir/receipt" ] && state=finished
"""
)

_REPORT = (
    _INSPECT
    + r"""
printf '%s\n' "$state"
[ -e "$dir/receipt" ] && cat "$dir/receipt"
exit 0
"""
)

_ATTACH = (
    _INSPECT
    + _FINISH
    + r"""
if [ "$state" = running ] && [ -p "$dir/done" ]; then
    exec 8<>"$dir/done"
    exec 7<"$dir/done" 8>&-
    cat <&7 >/dev/null
elif [ "$state" = running ]; then
    while [ ! -e "$dir/receipt" ] && [ "$(sane_started "$pid")" = "$started" ]; do sleep 0.2; done
fi
sane_answer
"""
)

_STOP = (
    _INSPECT
    + r"""
[ "$state" = running ] || exit 0
: >"$dir/stopped"
for signal in TERM KILL; do
    kill -s "$signal" -- "-$pid" 2>/dev/null || kill -s "$signal" "$pid" 2>/dev/null || break
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -s 0 -- "-$pid" 2>/dev/null || break 2
        sleep 0.1
    done
done
[ -e "$dir/receipt" ] && exit 0
printf '{"operation":"%s","pid":%s,"started_at":0,"finished_at":%s,"exit_code":124,"digest":""}' \
    "$SANE_OPERATION" "$pid" "$(date +%s)" 1<>"$dir/receipt.new" && mv "$dir/receipt.new" "$dir/receipt"
exit 0
"""
)

_FUNCTIONS = START_TIME_FUNCTION + _CLAIM[_CLAIM.index("sane_receipt() {") :]


@dataclass(frozen=True, slots=True)
class Operation:
    """Name one step on one host: `id` is unique for ever.

    `lease` and `token` fence off a controller that lost its lease.
    Raises UsageError for an id that could leave its directory.
    """

    id: str
    script: str
    digest: str = ""
    lease: str = ""
    token: int = 0

    def __post_init__(self) -> None:
        for name, value in (("operation id", self.id), ("lease", self.lease or "-x"[1:])):
            if not _OPERATION_ID.fullmatch(value):
                raise UsageError(f"{name} '{value}' may hold letters, digits, '.', '_' and '-' only, 121 at most")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Hold a host's own proof of an operation; times are epoch seconds by the host's clock."""

    operation: str
    pid: int
    started_at: int
    finished_at: int
    exit_code: int
    digest: str


OperationState = Literal["finished", "running", "absent", "ambiguous"]


def operation_id(name: str) -> str:
    """Return the id of an operation of that name: the name itself, or its start and a digest where it can't be one."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe == name and len(name) <= MAX_NAME:
        return name
    return f"{safe[:MAX_NAME]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def launch(operation: Operation, *, env: Mapping[str, str], cwd: str | None, timeout_s: float | None) -> Command:
    """Return the command that starts an operation detached, waits for it and answers its output and exit code."""
    return _command(_LAUNCH, operation, env, cwd, timeout_s, {"SANE_FUNCTIONS": _FUNCTIONS})


def launch_in_pane(
    operation: Operation, *, env: Mapping[str, str], cwd: str | None, timeout_s: float | None
) -> Command:
    """Return the command that runs an operation in the foreground of a pane and leaves a receipt."""
    return _command(_FOREGROUND, operation, env, cwd, timeout_s, {}, display=operation.script)


def inspect(operation_id: str) -> Command:
    """Return the command that says what became of an operation; read its output with `parse_inspection`."""
    return _command(_REPORT, Operation(operation_id, ""), {}, None, 15.0, {})


def attach(operation_id: str, *, timeout_s: float | None) -> Command:
    """Return the command that waits for a running operation and answers its output and exit code."""
    return _command(_ATTACH, Operation(operation_id, ""), {}, None, timeout_s, {})


def stop(operation_id: str) -> Command:
    """Return the command that ends a running operation with everything it started: TERM, then KILL after a second."""
    return _command(_STOP, Operation(operation_id, ""), {}, None, 15.0, {})


def parse_inspection(output: bytes) -> tuple[OperationState, Receipt | None]:
    """Return the state of an operation and its receipt; anything that can't be read is `ambiguous`."""
    first, _, rest = output.decode("utf-8", "replace").partition("\n")
    word = first.strip()
    if word == "finished":
        receipt = parse_receipt(rest)
        return ("finished", receipt) if receipt is not None else ("ambiguous", None)
    if word == "running":
        return "running", None
    return ("absent", None) if word == "absent" else ("ambiguous", None)


def parse_receipt(text: str) -> Receipt | None:
    """Return the receipt that `text` holds, None when it is not one."""
    try:
        value = json.loads(text)
        return Receipt(
            operation=str(value["operation"]),
            pid=int(value["pid"]),
            started_at=int(value["started_at"]),
            finished_at=int(value["finished_at"]),
            exit_code=int(value["exit_code"]),
            digest=str(value["digest"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _command(
    text: str,
    operation: Operation,
    env: Mapping[str, str],
    cwd: str | None,
    timeout_s: float | None,
    extra: Mapping[str, str],
    display: str | None = None,
) -> Command:
    values = {
        **env,
        "SANE_OPERATION": operation.id,
        "SANE_SCRIPT": operation.script,
        "SANE_DIGEST": operation.digest,
        "SANE_LEASE": operation.lease,
        "SANE_TOKEN": str(operation.token),
        **extra,
    }
    # The login shell may be any; the text is for a POSIX one.
    return Command(f"exec sh -c {shlex.quote(text)}", cwd=cwd, env=values, timeout_s=timeout_s, display=display)

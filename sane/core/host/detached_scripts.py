"""The shell text of detached steps: claim, launch, inspect, attach, stop. What it answers is read in `detached`."""

from __future__ import annotations

from sane.core.host.host_dir import HOME

# Start time of a process: field 22 of /proc/PID/stat behind the last ')', or ps where there is no /proc. Nothing of one
# that has ended and that nobody has waited for yet.
START_TIME_FUNCTION = r"""
sane_started() {
    if [ -r "/proc/$1/stat" ]; then
        sed -n 's/.*) \([^ZX] .*\)/\1/p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
    else
        ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' '_'
    fi
}
"""

CLAIM = (
    HOME
    + r"""
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

FINISH = r"""
sane_code() { sed -n 's/.*"exit_code":\([0-9]*\).*/\1/p' "$dir/receipt"; }
sane_answer() {
    cat "$dir/output" 2>/dev/null
    if [ -e "$dir/receipt" ]; then exit "$(sane_code)"; fi
    if [ -e "$dir/stopped" ]; then exit 124; fi
    echo "the step ended without a receipt" >&2
    exit 255
}
"""

LAUNCH = (
    CLAIM
    + FINISH
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
FOREGROUND = (
    CLAIM
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

INSPECT = (
    HOME
    + r"""
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

REPORT = (
    INSPECT
    + r"""
printf '%s\n' "$state"
[ -e "$dir/receipt" ] && cat "$dir/receipt"
exit 0
"""
)

ATTACH = (
    INSPECT
    + FINISH
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

STOP = (
    INSPECT
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

FUNCTIONS = START_TIME_FUNCTION + CLAIM[CLAIM.index("sane_receipt() {") :]

"""Run one POSIX sh script on a target, with its values as data.

The script travels in an environment variable, so the target's own shell (bash, zsh, fish) only ever reads
`sh -c "$SANE_SCRIPT"`: no value and no line of the script is ever quoted into it. An answer is lines `name=value`;
`error=` comes last and may hold several lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sane.core.command import Command, CommandResult
from sane.core.target import parse_target
from sane.errors import NotFoundError, RemoteError, UsageError
from sane.transports.context import Context

# `~/` is the target's home; a name that begins with a dash is no option; a symbolic link is followed to what it means.
FILE_FUNCTIONS = r"""
LC_ALL=C; export LC_ALL
fail() { printf 'error=%s\n' "$1"; exit 0; }
find_path() {
    path=$SANE_PATH
    case $path in '~') path=$HOME ;; '~/'*) path=$HOME/${path#'~/'}; printf 'home=%s\n' "$HOME" ;; esac
    case $path in /*) ;; *) path=./$path ;; esac
    named=$path
    hops=0
    while [ -L "$path" ]; do
        hops=$((hops + 1))
        [ $hops -le 40 ] || fail 'Too many levels of symbolic links'
        link=$(readlink -- "$path" 2>/dev/null || readlink "$path"; printf x)
        link=${link%??}
        case $link in /*) path=$link ;; *) path=${path%/*}/$link ;; esac
    done
    folder=${path%/*}
    [ -n "$folder" ] || folder=/
}
sums() {
    md5=$(md5sum 2>/dev/null <"$1" || md5 -q 2>/dev/null <"$1" || openssl md5 -r 2>/dev/null <"$1")
    md5=${md5%%[!0-9a-f]*}
    sha256=$(sha256sum 2>/dev/null <"$1" || shasum -a 256 2>/dev/null <"$1" || openssl sha256 -r 2>/dev/null <"$1")
    sha256=${sha256%%[!0-9a-f]*}
    size=$(wc -c <"$1" 2>/dev/null); size=$((size))
}
must_be_file() {
    [ ! -d "$path" ] || fail 'Is a directory'
    [ -e "$path" ] || { printf 'absent=1\n'; fail 'No such file or directory'; }
    [ -f "$path" ] || fail 'Not a regular file'
    [ -r "$path" ] || fail 'Permission denied'
}
"""

# Put "$temporary" in the place of "$path": backup first when SANE_BACKUP_NAME is set, mode and owner kept, synced, then
# one rename.
REPLACE_FUNCTIONS = r"""
temporary=
trap '[ -z "$temporary" ] || rm -f "$temporary"' EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
make_temporary() {
    case $path in */) fail 'Is a directory' ;; esac
    [ ! -d "$path" ] || fail 'Is a directory'
    [ -d "$folder" ] || fail "No such directory: $folder"
    [ ! -e "$path" ] || [ -f "$path" ] || fail 'Not a regular file'
    [ ! -e "$path" ] || [ -w "$path" ] || fail 'Permission denied'
    temporary=$(mktemp "$folder/.sane-XXXXXXXX" 2>&1; printf x); temporary=${temporary%??}
    [ -f "$temporary" ] && return
    reason=${temporary##*: }; temporary=
    [ "$reason" != 'No such file or directory' ] || fail "no file can be made in $folder"
    fail "$reason"
}
owner_of() { stat -L -c '%a %u:%g' "$1" 2>/dev/null || stat -L -f '%Lp %u:%g' "$1"; }
back_up() {
    [ -n "$SANE_BACKUP_NAME" ] && [ -e "$path" ] || return 0
    epoch=$(date +%s)
    until (umask 077; set -C; : >"/var/tmp/backup-$epoch-$SANE_BACKUP_NAME") 2>/dev/null; do
        [ -e "/var/tmp/backup-$epoch-$SANE_BACKUP_NAME" ] || fail 'the backup in /var/tmp can not be written'
        epoch=$((epoch + 1))
    done
    reason=$(cp -p "$path" "/var/tmp/backup-$epoch-$SANE_BACKUP_NAME" 2>&1) || {
        rm -f "/var/tmp/backup-$epoch-$SANE_BACKUP_NAME"; fail "backup: ${reason##*: }"; }
    printf 'backup=%s\n' "$epoch"
}
put_in_place() {
    if [ -e "$path" ]; then
        kept=$(owner_of "$path"); made=$(owner_of "$temporary")
        [ "${kept#* }" = "${made#* }" ] || reason=$(chown "${kept#* }" "$temporary" 2>&1) ||
            fail "its owner can't be kept: ${reason##*: }"
        chmod "${SANE_MODE:-${kept%% *}}" "$temporary" || fail 'its mode can not be kept'
    else
        chmod "${SANE_MODE:-=rw}" "$temporary"
    fi
    dd if=/dev/null of="$temporary" conv=notrunc,fsync 2>/dev/null || sync
    back_up
    reason=$(mv -f "$temporary" "$path" 2>&1) || fail "${reason##*: }"
    temporary=
}
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """Hold what a script answered: its fields, and the output behind the line `body`."""

    fields: Mapping[str, str]
    body: bytes


async def run_script(
    context: Context,
    target: str,
    script: str,
    values: Mapping[str, str],
    *,
    display: str,
    failure: str = "",
    stdin: bytes | None = None,
    timeout_s: float = 60.0,
    output_limit_bytes: int = 64 << 20,
) -> Answered:
    """Run a script on a target and return its fields.

    `values` become environment variables. Raises RemoteError for its `error=` behind `failure` (NotFoundError where it
    says `absent=1`), for a timeout, and for an answer that is none.
    """
    transport = await context.transport(parse_target(target))
    command = Command(
        'sh -c "$SANE_SCRIPT"',
        env={**values, "SANE_SCRIPT": script},
        stdin=stdin,
        timeout_s=timeout_s,
        display=display,
        output_limit_bytes=output_limit_bytes,
        unseen=True,
    )
    return must_answer(await transport.run(command), display, failure)


HINTS = {"Is a directory": "Name a file in it."}


def must_answer(result: CommandResult, display: str, failure: str) -> Answered:
    """Return what a script answered; raise what `run_script` says."""
    if result.timed_out and not result.pane_ready:
        raise RemoteError(
            f"{display} did not end in time, and no prompt came back in the pane",
            hint="Press Ctrl-C there, and look what it does.",
        )
    if result.timed_out:
        raise RemoteError(f"{display} did not end in time", hint="Give it more time with --timeout.")
    answered = parse_answer(result.output)
    if "error" in answered.fields:
        kind = NotFoundError if "absent" in answered.fields else RemoteError
        reason = answered.fields["error"]
        raise kind(f"{failure}: {reason}" if failure else reason, hint=HINTS.get(reason, ""))
    if "done" not in answered.fields:
        said = (result.stderr or result.output).decode("utf-8", "replace").strip()[-300:]
        raise RemoteError(f"{display} ended with {result.exit_code}: {said or 'no answer'}")
    return answered


def parse_answer(output: bytes) -> Answered:
    """Take a script's output apart. Lines that are no `name=value` (a shell's own chatter) are passed over."""
    fields: dict[str, str] = {}
    rest = output
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.rstrip(b"\r").decode("utf-8", "surrogateescape").partition("=")
        if name == "body" and equals:
            fields["done"] = "1"
            return Answered(fields, rest)
        if name == "error" and equals:
            more = rest.decode("utf-8", "surrogateescape")
            fields["error"] = f"{value}\n{more}".replace("\r\n", "\n").strip("\n")
            break
        if equals:
            fields[name] = value
    return Answered(fields, b"")


def base_name(path: str) -> str:
    """Return the last part of a path, cut between characters so that a backup's name stays a valid one (255 bytes)."""
    import codecs

    name = (path.rstrip("/").rpartition("/")[2] or "root").encode("utf-8", "surrogateescape")
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    return decoder.decode(name[:200], final=len(name) <= 200)


def real_path(path: str, fields: Mapping[str, str]) -> str:
    """Return a path with `~/` expanded as the target did."""
    return f"{fields['home']}/{path[2:]}" if "home" in fields else path


def backup_path(path: str, fields: Mapping[str, str]) -> str | None:
    """Return where the target put the backup, or None when it made none."""
    return f"/var/tmp/backup-{fields['backup']}-{base_name(path)}" if "backup" in fields else None


def failure_of(path: str, action: str) -> str:
    """Return how an error about a file begins: `/x can't be read`. Raises UsageError for an empty path."""
    if not path:
        raise UsageError("path is empty")
    return f"{path} can't be {action}"

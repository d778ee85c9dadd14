"""The lease that a controller takes on each host it changes: the shell text, as data, and the reading of its answers.

On the host `$HOME/.sane/leases/KEY/holder` holds one line, `TOKEN OWNER EXPIRES RANK`, replaced whole by rename; the
token grows by one each time the holder changes and is never used again. `mkdir` guards the moment of change, so two
controllers that share nothing but the host agree on one holder. Expiry is by the host's own clock. Every step, record
and guard refuses a token older than the holder's (`fence`, and `sane.core.host.detached` for commands), so a
controller that was stopped for a while and comes back changes nothing.

An owner is `STORE:CONTROLLER`. Controllers of one store have settled among themselves, by the lease in it, who may
act; the token of that lease is the rank. One of a rank that is not lower takes the lease over at once, with a newer
token; one of a lower rank was stopped for a while and is refused, and so is one of another store, until the lease is
given up or expires. Who ends a deployment gives up by the same rule what a controller before it left.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace

from sane.core.command import Command
from sane.core.host.host_dir import HOME, LOCK
from sane.core.host.record import LOOK, look
from sane.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,120}")

_GUARD = (
    HOME
    + LOCK
    + r"""
umask 077
lease=$home/leases/$SANE_LEASE
mkdir -p "$lease" || exit 98
lock "$lease"
now=$(date +%s)
token=0 owner=- expires=0 rank=0
[ -e "$lease/holder" ] && read -r token owner expires rank <"$lease/holder"
hold() { echo "$1 $2 $3 $SANE_RANK" >"$lease/holder.new" && mv "$lease/holder.new" "$lease/holder" || exit 98; }
"""
)

_TAKE = (
    _GUARD
    + r"""
if [ "$owner" = "$SANE_OWNER" ] && [ "$expires" -gt 0 ]; then
    hold "$token" "$owner" $((now + SANE_TTL))
    echo "taken $token"
elif [ "$expires" -gt "$now" ] &&
    { [ "${owner%%:*}" != "${SANE_OWNER%%:*}" ] || [ "${rank:-0}" -gt "$SANE_RANK" ]; }; then
    echo "held $token $owner $((expires - now))"
else
    hold $((token + 1)) "$SANE_OWNER" $((now + SANE_TTL))
    echo "taken $((token + 1))"
fi
"""
)

_RELEASE = (
    '[ -e "${SANE_HOST_DIR:-$HOME/.sane}/leases/$SANE_LEASE/holder" ] || exit 0'
    + _GUARD
    + r"""
if [ "$owner" = "$SANE_OWNER" ]; then
    hold "$token" "$owner" 0
elif [ "$expires" -gt "$now" ] && [ "${owner%%:*}" = "${SANE_OWNER%%:*}" ] && [ "${rank:-0}" -le "$SANE_RANK" ]; then
    hold $((token + 1)) "$SANE_OWNER" 0
fi
echo released
"""
)

_FENCE = (
    HOME
    + r"""
if read -r newest owner rest 2>/dev/null <"$home/leases/$SANE_LEASE/holder" && [ "$newest" -gt "$SANE_TOKEN" ]; then
    echo "the lease on $SANE_LEASE is held by $owner with token $newest; ours is $SANE_TOKEN" >&2
    exit 96
fi
"""
)
_ONE_COMMAND = ("exec sh -c ", 'sh -c "$SANE_SCRIPT"')  # nothing that follows `&&` in these is left unguarded


@dataclass(frozen=True, slots=True)
class HostLease:
    """Hold the answer of a host: `token` is ours where `taken`, else `owner` holds it for `remaining_s` more."""

    taken: bool
    token: int
    owner: str
    remaining_s: int = 0


def take_host_lease(key: str, owner: str, ttl_s: int, rank: int = 0) -> Command:
    """Return the command that takes or renews the lease; read its output with `parse_host_lease`.

    `rank` is the token of the lease that the owner holds in its store.
    """
    return _command(_TAKE, key, owner, ttl_s, rank)


def take_and_look(key: str, owner: str, ttl_s: int, rank: int = 0) -> Command:
    """Return the command that takes the lease and then looks at the host, in one round trip.

    Read its output with `parse_host_lease`, and with `parse_look` where the lease was taken.
    """
    taking, looking = take_host_lease(key, owner, ttl_s, rank), look(key)
    text = f"({_TAKE}) || exit $?\n{LOOK}"
    return replace(taking, script=f"exec sh -c {shlex.quote(text)}", env={**looking.env, **taking.env})


def release_host_lease(key: str, owner: str, rank: int = 0) -> Command:
    """Return the command that gives the lease up if it is ours, or of one of our store that is not above our rank.

    The token stays used; that of another is used up.
    """
    return _command(_RELEASE, key, owner, 0, rank)


def parse_host_lease(output: bytes, owner: str) -> HostLease | None:
    """Return what the host answered to `take_host_lease`, None when it can't be read."""
    words = output.decode("utf-8", "replace").split()
    try:
        if words[0] == "taken":
            return HostLease(True, int(words[1]), owner)
        if words[0] == "held":
            return HostLease(False, int(words[1]), words[2], int(words[3]))
    except (IndexError, ValueError):
        return None
    return None


def fence(command: Command, key: str, token: int) -> Command:
    """Return a command that does nothing, and ends with 96, where a newer token than ours was given out on the host.

    A command that is a person's own text for their shell is left as it is: `sane.core.host.detached` fences those.
    """
    if not key or not command.script.startswith(_ONE_COMMAND):
        return command
    values = {"SANE_LEASE": key, "SANE_TOKEN": str(token), "SANE_FENCE": _FENCE}
    return replace(command, script=f'sh -c "$SANE_FENCE" && {command.script}', env={**command.env, **values})


def _command(text: str, key: str, owner: str, ttl_s: int, rank: int) -> Command:
    for name, value in (("deployment key", key), ("owner", owner)):
        if not _NAME.fullmatch(value):
            raise UsageError(f"{name} '{value}' may hold letters, digits and . _ @ : - only, 121 at most")
    values = {"SANE_LEASE": key, "SANE_OWNER": owner, "SANE_TTL": str(ttl_s), "SANE_RANK": str(rank)}
    return Command(f"exec sh -c {shlex.quote(text)}", env=values, timeout_s=20.0, brief=True)

"""All that a host itself knows of deployments: records, leases, operations, dead-man guards.

One round trip reads everything, bounded, and writes nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sane.core.command import Command
from sane.core.host.detached_scripts import START_TIME_FUNCTION
from sane.core.host.host_dir import HOME
from sane.core.host.record import HostRecord, parse_record

_TRUTH = (
    START_TIME_FUNCTION
    + HOME
    + r"""
echo "now $(date +%s)"
for dir in "$home"/keys/*/; do
    [ -r "$dir/current" ] || continue
    echo "key $(basename "$dir")"
    tail -n 100 "$dir/history" 2>/dev/null | head -c 65536 | sed 's/^/record /'
    printf 'current '
    head -n 1 "$dir/current" | head -c 4096
    echo
    [ -n "$SANE_SOURCES" ] || continue
    for source in "$dir"/sources/*; do
        [ -r "$source" ] && printf 'source %s %s\n' "${source##*/}" "$(head -c 300000 "$source")"
    done
done
for holder in "$home"/leases/*/holder; do
    [ -r "$holder" ] && read -r token owner expires <"$holder" || continue
    key=${holder%/holder}
    echo "lease ${key##*/} $token $owner $expires"
done
count=0
for operation in $(ls -t "$home/operations" 2>/dev/null); do
    dir=$home/operations/$operation
    [ ! -e "$dir/receipt" ] || continue
    pid= started=
    if read -r pid started 2>/dev/null <"$dir/pid" && [ -n "$started" ] &&
        [ "$(sane_started "$pid")" = "$started" ]; then
        echo "operation $operation running $pid"
    elif [ ! -e "$dir/receipt" ]; then
        echo "operation $operation ambiguous ${pid:-0}"
    fi
    count=$((count + 1))
    [ $count -lt 50 ] || break
done
for guard in $(ls -t "$home/deadman" 2>/dev/null | head -n 20); do
    dir=$home/deadman/$guard
    read -r key until <"$dir/armed" 2>/dev/null || continue
    state=armed
    [ ! -e "$dir/decided" ] || state=confirmed
    [ ! -e "$dir/fired" ] || state="fired $(cat "$dir/fired")"
    echo "deadman $guard $key $until $state"
done
exit 0
"""
)


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """Hold a lease as the host has it; `remaining_s` by the host's clock, 0 for one that ended."""

    key: str
    token: int
    owner: str
    remaining_s: int


@dataclass(frozen=True, slots=True)
class OperationSeen:
    """Hold an operation without a receipt: `running`, or `ambiguous` where its process is gone."""

    operation: str
    state: str
    pid: int


@dataclass(frozen=True, slots=True)
class GuardSeen:
    """Hold a dead-man guard: armed, confirmed, or fired with the exit code of its revert (None while that runs)."""

    operation: str
    key: str
    until_s: int
    state: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class KeyTruth:
    """Hold what a host has of one deployment key; `history` is oldest first."""

    key: str
    current: HostRecord | None
    history: tuple[HostRecord, ...]
    sources: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, slots=True)
class HostTruth:
    """Hold all that a host knows; `now_s` is its own clock, in epoch seconds."""

    now_s: int = 0
    keys: tuple[KeyTruth, ...] = ()
    leases: tuple[LeaseHeld, ...] = ()
    operations: tuple[OperationSeen, ...] = ()
    guards: tuple[GuardSeen, ...] = ()


def read_truth(*, sources: bool = False) -> Command:
    """Return the command that reads everything; with `sources` also what each version was deployed with."""
    return Command(
        f"exec sh -c {shlex.quote(_TRUTH)}",
        env={"SANE_SOURCES": "1" if sources else ""},
        timeout_s=20.0,
        display="# sane: look at what the host has",
    )


def parse_truth(output: bytes) -> HostTruth:
    """Return what `read_truth` printed; lines that are none of ours are passed over."""
    now_s, keys = 0, list[dict[str, Any]]()
    leases, operations, guards = list[LeaseHeld](), list[OperationSeen](), list[GuardSeen]()
    for line in output.decode("utf-8", "replace").splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        try:
            if kind == "now":
                now_s = int(words[0])
            elif kind == "key":
                keys.append({"key": rest, "history": [], "current": None, "sources": {}})
            elif kind in ("record", "current", "source") and keys:
                _add_to_key(keys[-1], kind, rest)
            elif kind == "lease":
                leases.append(LeaseHeld(words[0], int(words[1]), words[2], max(0, int(words[3]) - now_s)))
            elif kind == "operation":
                operations.append(OperationSeen(words[0], words[1], int(words[2])))
            elif kind == "deadman":
                code = int(words[4]) if len(words) > 4 and words[4].isdigit() else None
                guards.append(GuardSeen(words[0], words[1], int(words[2]), words[3], code))
        except (ValueError, IndexError):
            continue
    found = tuple(KeyTruth(k["key"], k["current"], tuple(k["history"]), k["sources"]) for k in keys)
    return HostTruth(now_s, found, tuple(leases), tuple(operations), tuple(guards))


def _add_to_key(key: dict[str, Any], kind: str, rest: str) -> None:
    if kind == "source":
        name, _, packed = rest.partition(" ")
        key["sources"][name] = packed.encode()
    elif (record := parse_record(rest)) is not None and kind == "current":
        key["current"] = record
    elif record is not None:
        key["history"].append(record)

"""What a host itself knows of the deployments it had: the shell text, as data, and the reading of its answers.

`$HOME/.sane/keys/KEY/current` holds one JSON line about the version that was activated last, `history` one line each of
all of them, newest last, and `sources/SHA256` what each was deployed with (`sane.core.host.source`). They are the truth
that remains when the controller's store is lost.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from sane.core.command import Command
from sane.core.host.host_dir import HOME, LOCK
from sane.core.strict_json import parse_document, whole
from sane.errors import UsageError

MIN_FREE_KB = 1024  # below this not even the receipts are sure to fit
MOST_DIGITS = 18  # of a number of 64 bits
HISTORY_LINES = 100
LATEST_S = 253_402_300_799  # the last second of the year 9999, which is as far as dates are told
KEPT_OPERATIONS = 100  # receipts and outputs a host keeps; those of the deployment under way stay in any case
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,120}")

LOOK = (
    HOME
    + r"""
seen="os $(uname -s)
arch $(uname -m)
now $(date +%s)"
for tool in $SANE_TOOLS; do command -v "$tool" >/dev/null 2>&1 || seen="$seen
missing $tool"; done
if (umask 077 && mkdir -p "$home") 2>/dev/null && [ -w "$home" ]; then
    seen="$seen
free_kb $(df -Pk "$home" 2>/dev/null | awk 'NR == 2 { print $4 }')"
else
    seen="$seen
unwritable $home"
fi
[ ! -r "$home/keys/$SANE_KEY/current" ] || seen="$seen
record $(head -c 4096 "$home/keys/$SANE_KEY/current")"
printf '%s\n' "$seen" # at once: each write would be a packet
"""
)

_WRITE = (
    LOCK
    + HOME
    + r"""
dir=$home/keys/$SANE_KEY
umask 077
mkdir -p "$dir" || exit 1
# Read before the lock: one line, and as slow as the network.
if [ -n "$SANE_SOURCE" ] && [ ! -e "$dir/sources/$SANE_SOURCE" ]; then source=$(cat); else source=; fi
(
    lock "$dir"
    if [ -n "$source" ]; then
        mkdir -p "$dir/sources" && printf '%s' "$source" >"$dir/sources/.new" &&
            mv "$dir/sources/.new" "$dir/sources/$SANE_SOURCE" || exit 1
    fi
    printf '%s\n' "$SANE_RECORD" >"$dir/current.new" && mv "$dir/current.new" "$dir/current" || exit 1
    { tail -n "$SANE_KEEP" "$dir/history" 2>/dev/null; printf '%s\n' "$SANE_RECORD"; } >"$dir/history.new" &&
        mv "$dir/history.new" "$dir/history" || exit 1
    for old in "$dir"/sources/*; do
        [ ! -e "$old" ] || grep -q "${old##*/}" "$dir/history" || rm -f "$old"
    done
) || exit 1
# What is left of old operations: only ended ones are removed.
count=0
for old in $(ls -t "$home/operations" 2>/dev/null); do
    count=$((count + 1))
    [ $count -gt "$SANE_KEPT_OPERATIONS" ] && [ -e "$home/operations/$old/receipt" ] || continue
    case $old in "$SANE_DEPLOYMENT".*) ;; *) rm -rf "$home/operations/$old" ;; esac
done
exit 0
"""
)

# A line is changed in place of the JSON being read: it is ours, letter by letter, and a host has no parser.
_PROVE = (
    LOCK
    + HOME
    + r"""
dir=$home/keys/$SANE_KEY
umask 077
[ -d "$dir" ] || exit 0
lock "$dir"
meant="\"deployment\": \"$SANE_DEPLOYMENT\", .*\"reverted\": $SANE_REVERTED,"
for file in history current; do
    [ -r "$dir/$file" ] || continue
    sed "/$meant/s/\"proven\": false}\$/\"proven\": true}/" "$dir/$file" >"$dir/$file.proven" &&
        mv "$dir/$file.proven" "$dir/$file" || exit 1
done
exit 0
"""
)

_ALL = (
    HOME
    + r"""
for dir in "$home"/keys/*/; do
    [ -r "$dir/current" ] || continue
    echo "key $(basename "$dir")"
    tail -n 100 "$dir/history" 2>/dev/null | head -c 65536
    printf 'current '
    head -c 4096 "$dir/current"
done
"""
)


@dataclass(frozen=True, slots=True)
class HostRecord:
    """Hold one activation as the host recorded it; `at` is epoch seconds by the controller's clock.

    `source` names what it was deployed with, "" where that was too large to keep. `reverted`: the deployment took the
    host back to this version. `proven`: its health was proven with it, or the workflow has none to prove; a record
    that an older sane wrote does not say so, and counts as unproven.
    """

    version: str
    digest: str
    revision: int
    deployment: str
    at: int
    source: str = ""
    reverted: bool = False
    proven: bool = False


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Hold what a look at a host found; `record` is None where it never had this key, `free_kb` None where unknown."""

    os: str = ""
    arch: str = ""
    now_s: int = 0
    free_kb: int | None = None
    missing: tuple[str, ...] = ()
    unwritable: str = ""
    record: HostRecord | None = None

    @property
    def problem(self) -> str:
        """Return why the host can't take a deployment, "" when it can."""
        if self.unwritable:
            return f"{self.unwritable} can't be written"
        if self.missing:
            return f"missing on the host: {', '.join(self.missing)}"
        if self.free_kb is not None and self.free_kb < MIN_FREE_KB:
            return f"No space left on device: {self.free_kb} KB free"
        return ""


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """Hold a deployment key's records on a host, oldest first."""

    key: str
    current: HostRecord | None
    history: tuple[HostRecord, ...] = field(default=())


def look(key: str, tools: Sequence[str] = ()) -> Command:
    """Return the command that looks at a host without changing anything but making its own directory."""
    return _command(LOOK, key, {"SANE_TOOLS": " ".join(tools)})


def parse_look(output: bytes) -> HostFacts:
    """Return what `look` printed; lines that are none of ours are skipped."""
    found: dict[str, str] = {}
    missing: list[str] = []
    for line in output.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "missing":
            missing.append(value)
        else:
            found[name] = value
    return HostFacts(
        os=found.get("os", ""),
        arch=found.get("arch", ""),
        now_s=_number(found.get("now")) or 0,
        free_kb=_number(found.get("free_kb")),
        missing=tuple(missing),
        unwritable=found.get("unwritable", ""),
        record=parse_record(found.get("record", "")),
    )


def write_record(key: str, record: HostRecord, source: bytes = b"") -> Command:
    """Return the command that makes `record` the current one of a key and adds it to the history.

    `source` is kept under the name that the record gives it. Old receipts are removed.
    """
    values = {
        "SANE_RECORD": record_line(record),
        "SANE_KEEP": str(HISTORY_LINES - 1),
        "SANE_KEPT_OPERATIONS": str(KEPT_OPERATIONS),
        "SANE_DEPLOYMENT": record.deployment,
        "SANE_SOURCE": record.source,
    }
    return replace(_command(_WRITE, key, values), stdin=source)


def mark_proven(key: str, deployment: str, *, reverted: bool = False) -> Command:
    """Return the command that marks what a deployment left on the host, or took it back to, as proven healthy."""
    values = {"SANE_DEPLOYMENT": deployment, "SANE_REVERTED": "true" if reverted else "false"}
    return _command(_PROVE, key, values)


def record_line(record: HostRecord) -> str:
    """Return a record as its line of JSON."""
    return json.dumps(asdict(record), ensure_ascii=False)


def read_all() -> Command:
    """Return the command that prints the records of every key of a host."""
    return _command(_ALL, "all", {})


def parse_all(output: bytes) -> tuple[KeyHistory, ...]:
    """Return the histories that `read_all` printed."""
    found: list[KeyHistory] = []
    key, history = "", list[HostRecord]()
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith("key "):
            key, history = line.removeprefix("key "), []
        elif line.startswith("current ") and key:
            found.append(KeyHistory(key, parse_record(line.removeprefix("current ")), tuple(history)))
        elif (record := parse_record(line)) is not None:
            history.append(record)
    return tuple(found)


def parse_record(text: str) -> HostRecord | None:
    """Return the record in one line of JSON, None when it is not one."""
    try:
        value = parse_document(text.encode())
        return HostRecord(
            version=_text(value["version"]),
            digest=_text(value["digest"]),
            revision=whole(value["revision"]),
            deployment=_text(value["deployment"]),
            at=whole(value["at"], LATEST_S),
            source=_text(value.get("source", "")),
            reverted=value.get("reverted") is True,
            proven=value.get("proven") is True,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _text(value: object) -> str:
    text = str(value)
    if "\0" in text:
        raise ValueError("no database and no environment takes it")
    return text


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) <= MOST_DIGITS and text.isascii() and text.isdigit() else None


def _command(text: str, key: str, values: dict[str, str]) -> Command:
    if not _KEY.fullmatch(key):
        raise UsageError(f"deployment key '{key}' may hold letters, digits and . _ @ : - only, 121 at most")
    return Command(f"exec sh -c {shlex.quote(text)}", env={"SANE_KEY": key, **values}, timeout_s=20.0, brief=True)

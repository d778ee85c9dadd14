"""Read a health file with its evidence in one round trip: the command, and the reading of what it prints.

The evidence comes before the content, each on a line of its own, so nothing in the file can pass for evidence. The
path is read from the environment, so no path can become code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sane.core.command import Command
from sane.core.health import MAX_BYTES

# stat: GNU has the fraction of a second in %.Y, busybox whole seconds in %Y, BSD and macOS -f with %Fm.
# dd takes one block and never the rest of a large file; only a regular file is opened, for a FIFO would block.
# There is no backslash in it: fish gives them a meaning between single quotes.
PROBE_SCRIPT = """
f=$SANE_HEALTH_PATH
case $f in "~/"*) f=$HOME/${f#??} ;; -*) f=./$f ;; esac
number() { case $1 in "" | *[!0-9.]*) return 1 ;; esac; }
n=$(date +%s.%N 2>/dev/null); number "$n" || n=$(date +%s)
echo "sane-health 1"
echo "now $n"
if [ ! -e "$f" ]; then echo "absent"; exit 0; fi
if [ ! -f "$f" ]; then echo "not-a-file"; exit 0; fi
if [ ! -r "$f" ]; then echo "unreadable"; exit 0; fi
s=$(stat -L -c "%s %.Y" "$f" 2>/dev/null); number "${s##* }" ||
s=$(stat -L -c "%s %Y" "$f" 2>/dev/null); number "${s##* }" ||
s=$(stat -L -f "%z %Fm" "$f" 2>/dev/null); number "${s##* }" || s="- -"
echo "size ${s%% *}"
echo "mtime ${s##* }"
echo "content"
exec dd if="$f" bs="$SANE_HEALTH_LIMIT" count=1 2>/dev/null
""".strip()

_HEADER = b"sane-health 1\n"
_LINE = re.compile(rb"(now|size|mtime) ([0-9]{1,20}(?:\.[0-9]{0,12})?|-)\Z")
_WORDS = {b"absent": "absent", b"not-a-file": "not a regular file", b"unreadable": "not readable"}


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """Hold what a host told of its health file.

    `content` is None where there is none to read; `problem` says why, "" where the file is simply not there. Times
    are epoch milliseconds of the host's clock, None where it can't tell. `mtime_resolution_ms` is 1 or 1000.
    """

    content: bytes | None
    size_bytes: int | None = None
    mtime_ms: int | None = None
    mtime_resolution_ms: int = 1
    host_now_ms: int | None = None
    problem: str = ""


def health_probe_script(path: str, max_bytes: int = MAX_BYTES, timeout_s: float = 10.0) -> Command:
    """Return the command that prints a health file's evidence and at most `max_bytes` + 1 of its content."""
    # quoted whole for the target's own shell, which may be fish or zsh; sh is what understands it
    script = f"sh -c '{PROBE_SCRIPT}'"
    env = {"SANE_HEALTH_PATH": path, "SANE_HEALTH_LIMIT": str(max_bytes + 1)}
    return Command(
        script,
        env=env,
        timeout_s=timeout_s,
        output_limit_bytes=max_bytes + 4096,
        display=f"# health: {path}",
        brief=True,
    )


def parse_probe(output: bytes) -> ProbeReading:
    """Return what the command printed; output that is not its own is a problem, never an error."""
    start = output.find(_HEADER)
    if start < 0 or (start > 0 and output[start - 1 : start] != b"\n"):
        return ProbeReading(None, problem="the host did not answer the health probe")
    rest, found = output[start + len(_HEADER) :], dict[bytes, bytes]()
    while rest:
        line, newline, rest = rest.partition(b"\n")
        if line == b"content" and newline:
            return _reading(found, rest)
        if line in _WORDS:
            problem = "" if line == b"absent" else f"the health file is {_WORDS[line]}"
            return ProbeReading(None, host_now_ms=_ms(found.get(b"now")), problem=problem)
        match = _LINE.match(line)
        if match is None:
            break
        found[match[1]] = match[2]
    return ProbeReading(None, host_now_ms=_ms(found.get(b"now")), problem="the answer to the health probe was cut")


def _reading(found: dict[bytes, bytes], content: bytes) -> ProbeReading:
    size, mtime = found.get(b"size", b"-"), found.get(b"mtime", b"-")
    return ProbeReading(
        content,
        size_bytes=int(size) if size.isdigit() else None,
        mtime_ms=_ms(mtime),
        mtime_resolution_ms=1 if b"." in mtime else 1000,
        host_now_ms=_ms(found.get(b"now")),
    )


def _ms(text: bytes | None) -> int | None:
    """Return epoch milliseconds of seconds with or without a fraction, without a float's rounding."""
    if text is None or text == b"-":
        return None
    seconds, _, fraction = text.partition(b".")
    return int(seconds) * 1000 + int((fraction + b"000")[:3])

"""Scripts that write and read one file on another machine, as data: POSIX sh, run by whatever the login shell is."""

from __future__ import annotations

from sane.core.shell_text import quote_path, quote_word

ABSENT = 66  # exit code: the file does not exist
# Sets $why, without a quote of the kind that goes around it: the shells themselves say different things, or nothing.
WHY_NOT_ENTERED = (
    'if [ -d "$1" ]; then why="Permission denied"; elif [ -e "$1" ]; then why="Not a directory"; '
    'else why="No such file or directory"; fi'
)

# $1 path, $2 a random word, $3 size in bytes, $4 mode or nothing; the content on stdin. What arrived is counted, since
# a lost connection looks like the end of the content. A symbolic link is written through. `stat` is GNU's or BSD's.
_WRITE = r"""
f=$1
if [ -L "$f" ]; then f=$(readlink -f -- "$f" && echo x) || exit 1; f=${f%?x}; fi
if [ -d "$f" ]; then echo "Is a directory" >&2; exit 1; fi
if [ -e "$f" ] && ! [ -f "$f" ]; then echo "Not a regular file" >&2; exit 1; fi
d=${f%/*}
[ -d "${d:-/}" ] || { echo "No such directory: $d" >&2; exit 1; }
t=$d/.sane-$2
mode=$4 owner=
if [ -e "$f" ]; then
    was=$(stat -c "%a %u:%g" -- "$f" 2>/dev/null || stat -f "%Lp %u:%g" -- "$f") || exit 1
    [ -n "$mode" ] || mode=${was% *}
    [ "${was#* }" = "$(id -u):$(id -g)" ] || owner=${was#* }
fi
trap "exit 1" HUP INT TERM PIPE
trap "rm -f -- \"\$t\"" EXIT
if [ -n "$mode" ]; then (umask 077 && cat >"$t") || exit 1; else cat >"$t" || exit 1; fi
[ "$(wc -c <"$t")" -eq "$3" ] || { echo "only a part of it arrived" >&2; exit 1; }
[ -z "$owner" ] || chown "$owner" "$t" || exit 1
[ -z "$mode" ] || chmod "$mode" "$t" || exit 1
mv -f -- "$t" "$f" || exit 1
trap - EXIT
"""

# $1 path, $2 the most bytes to read.
_READ = r"""
[ -e "$1" ] || [ -L "$1" ] || exit 66
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
[ -f "$1" ] || { echo "Not a regular file" >&2; exit 1; } # a FIFO would wait for a writer
exec head -c "$2" <"$1"
"""


def write_script(path: str, size_bytes: int, mode: int | None, word: str) -> str:
    """Return a line of shell that replaces a file by what comes on stdin, atomically; exit 0 means it is there whole.

    Mode and owner of a file that was there are kept unless `mode` is given; nothing is left behind on failure.
    """
    mode_text = "''" if mode is None else f"{mode:o}"
    return f"exec sh -c {quote_word(_WRITE)} sane {quote_path(path)} {word} {size_bytes} {mode_text}"


def read_script(path: str, limit_bytes: int) -> str:
    """Return a line of shell that writes a file's first bytes on stdout; exit 66 means that it does not exist."""
    return f"exec sh -c {quote_word(_READ)} sane {quote_path(path)} {limit_bytes}"

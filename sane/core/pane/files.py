r"""What carries bytes through a pane unseen, in and out, and the scripts that move a file that way.

Bytes go in as base64 lines that a receiver in the pane reads with echo off, piece by piece as it asks for them, and
come out in DATA marks, which terminals swallow: a watcher sees one line that says what happens. All scripts here are
for sh, whatever the pane's own shell is.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from sane.core.pane.framing import (
    CHECKSUM,
    CORRUPT,
    DATA,
    DRAIN,
    FEED,
    INTERRUPTED,
    OSC_NUMBER,
    printf_mark,
    printf_nested_mark,
    quote,
)

LINE_BYTES = 675  # 900 characters of base64: macOS keeps 1,024 of a line
# A Ctrl-C comes behind what was sent before it: at most two pieces are on their way, 130 KB.
PIECE_LINES = 72
# Begins each line, and no name of a command: should a shell read the lines, after somebody's Ctrl-C, it finds none.
LINE_HEAD = ","
MARK_CHARACTERS = 2000

# Exit codes of the scripts, from sysexits(3): what went wrong where.
NO_SUCH_FILE, NOT_READABLE, NOT_WRITABLE, DAMAGED = 66, 77, 73, 74

SHA256 = "{ sha256sum 2>/dev/null||shasum -a 256 2>/dev/null||openssl dgst -sha256;}"


def receive_script(size_bytes: int, token: str, *, nested: bool = False) -> str:
    """Return the sh script that receives what is fed to it, and writes a line `go` and the bytes once all are there.

    Before each piece it prints a FEED mark. Only their number is checked: a terminal loses none, and whoever types adds
    some. Then it prints CORRUPT, after a Ctrl-C INTERRUPTED, takes in what is still on its way, and writes nothing.
    """
    lines, length = -(-size_bytes // LINE_BYTES), -(-size_bytes // 3) * 4
    mark = printf_nested_mark if nested else printf_mark
    return (
        "LC_ALL=C;if (:>/dev/tty) 2>/dev/null;then exec 3>/dev/tty;else exec 3>&0;fi;"
        f"f(){{ {mark(token, FEED)} >&3;}};i(){{ {mark(token, INTERRUPTED)} >&3;{DRAIN};exit 130;}};"
        f"trap i INT TERM HUP;stty -echo;n={lines};"
        f"d=$(while [ $n -gt 0 ];do f;head -n$((n<{PIECE_LINES}?n:{PIECE_LINES}));n=$((n-{PIECE_LINES}));done|"
        f"tr -d '{LINE_HEAD}\\n');stty echo;"
        f"[ ${{#d}} = {length} ]||{{ {DRAIN};{mark(token, CORRUPT)} >&3;exit {DAMAGED};}};"
        'echo go;echo "$d"|base64 -d 2>/dev/null||echo "$d"|openssl base64 -d -A 2>/dev/null;:'
    )


# What stands before the reader of that: it is not begun with a part. A Ctrl-C is the receiver's to answer; a bash that
# waited here and died of it would take the terminal from the receiver, and a shell read what is still on its way.
WAIT_GO = f"\\trap '' INT;\\read -r __sane_g||exit {DAMAGED};\\trap - INT;"


def feed_pieces(content: bytes) -> Iterator[str]:
    """Yield what to send to the receiver, one piece for each FEED mark."""
    step = PIECE_LINES * LINE_BYTES
    for begin in range(0, len(content), step):
        piece = content[begin : begin + step]
        lines = [piece[i : i + LINE_BYTES] for i in range(0, len(piece), LINE_BYTES)]
        yield "".join(f"{LINE_HEAD}{binascii.b2a_base64(line).decode()}" for line in lines)


def in_marks(token: str, *, nested: bool = False) -> str:
    """Return the program that prints the base64 lines it reads in DATA marks, and a CHECKSUM mark with their length.

    Some lines in each: a mark of its own for each line takes the reader twice the time.
    """
    before, behind = ("\\033Ptmux;\\033", "\\033\\134") if nested else ("", "")
    data = f"{before}\\033]{OSC_NUMBER};{token};{DATA};%s\\007{behind}"
    end = f"{before}\\033]{OSC_NUMBER};{token};{CHECKSUM};%d\\007{behind}"
    gather = f'{{b=b $0;n+=length($0)}}length(b)>{MARK_CHARACTERS}{{printf "{data}",b;b=""}}'
    return f'LC_ALL=C awk \'{gather}END{{if(b!="")printf "{data}",b;printf "{end}",n}}\''


def send_script(token: str, *, nested: bool = False) -> str:
    """Return the sh script that runs its $1, another one, and sends what that writes in DATA marks.

    Behind them comes a CHECKSUM mark with the number of base64 characters; then its stderr, which would come between
    the bytes of a mark. It ends with the code of $1.
    """
    return (
        'exec 3>&1;e=$({ { sh -c "$1" 2>&4 3>&- 4>&-;echo "|$?" >&4;}|'
        f"{{ base64 2>/dev/null||openssl base64;}}|{in_marks(token, nested=nested)} >&3;}} 4>&1);"
        'printf %s "${e%|*}" >&2;s=${e##*|};exit ${s:-130}'
    )


def path_word(path: str) -> str:
    """Return a path as one shell word; a leading `~/` is the home of whoever the pane belongs to."""
    if path == "~":
        return '"$HOME"'
    return '"$HOME"/' + quote(path[2:], "posix") if path.startswith("~/") else quote(path, "posix")


def put_script(path: str, content: bytes, mode: int | None, word: str) -> str:
    """Return the sh script that replaces a file atomically with the content on its stdin; `word` is a random one.

    Mode and owner of the file that was there are kept unless `mode` is given; a symbolic link is written through.
    """
    import hashlib  # 3 ms, which a command that moves no file should not pay

    keep = (
        f'chmod {mode:o} "$t"'
        if mode is not None
        else 'm=$(stat -c %a "$p" 2>/dev/null||stat -f %Lp "$p" 2>/dev/null)&&chmod "$m" "$t"||chmod "$n" "$t"'
    )
    owner = 'o=$(stat -c %u:%g "$p" 2>/dev/null||stat -f %u:%g "$p" 2>/dev/null)&&chown "$o" "$t" 2>/dev/null'
    return (
        f'p={path_word(path)};[ -h "$p" ]&&p=$(readlink -f -- "$p");d=$(dirname -- "$p");t=$d/.sane-{word};'
        "n=$(printf %o $((0666&~0$(umask))));umask 077;"
        'if [ -e "$p" ]&&[ ! -f "$p" ];then echo "$p: Not a regular file";exit 73;fi;'
        ': >"$t"||exit 73;trap \'rm -f -- "$t"\' EXIT;trap "exit 130" INT;trap "exit 143" HUP TERM;'
        'cat >"$t"||exit 73;'
        f'{SHA256} <"$t"|grep -q {hashlib.sha256(content).hexdigest()}||exit 74;'
        f'{owner};{keep};mv -f -- "$t" "$p"||exit 73;trap - EXIT'
    )


def get_script(path: str, limit_bytes: int) -> str:
    """Return the sh script that writes a file's first `limit_bytes`, and behind them their SHA-256."""
    read = f'head -c {limit_bytes} -- "$p" 2>/dev/null'
    return (
        f'p={path_word(path)};[ -e "$p" ]||exit 66;[ -r "$p" ]&&[ -f "$p" ]||exit 77;'
        f"{read};{read}|{SHA256}|tr -dc 0-9a-f|tail -c 64"
    )

r"""What is typed into a pane to run a command, and how its answer is marked.

1. A short line is typed at the prompt. It turns echo off and prints a READY mark, then reads one line. It means the
same in bash, dash,
   zsh, ash and fish (3.4 or later). `\\41` is `\41` to the POSIX shells and `\41`, which printf makes `!`, to fish,
   which
   halves backslashes in single quotes too: so the mark tells the dialect.
2. The payload is sent only behind the READY mark, so nothing of it is ever echoed. It turns echo on, erases the typed
line, prints the
   real command in its place and a START mark, evaluates the command in the current shell, and prints an END mark.

A mark is `ESC ] 7791 ; TOKEN ; KIND [; ARGUMENT]… BEL`: a private OSC, which terminals swallow, with a token of this
call.
It is printed by printf, or by `read` as its prompt, so its ESC byte exists nowhere in what was typed and no echo can be
taken for it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Dialect = Literal["posix", "fish"]
Reader = Literal["", "bash", "zsh"]
Kind = Literal["", "bash", "zsh", "plain"]  # of POSIX shells; "" for one that is not known

OSC_NUMBER = "7791"
# In what a shell is told, a mark is in two pieces: hooks print what they are told of, some with its escapes obeyed.
HEAD, TAIL = OSC_NUMBER[:2], OSC_NUMBER[2:]
# A canonical-mode terminal keeps 4,096 bytes of a line on Linux and drops the rest.
LINE_LIMIT_BYTES = 3000
CHUNK_BYTES = 900  # macOS keeps 1,024
SHOWN_LIMIT_CHARACTERS = 400
SHOWN_LIMIT_LINES = 12

# tmux drops what it has not yet passed on when a pane's program ends, so the shell stays for a moment behind its last
# mark.
EXIT_PAUSE = ";sleep 0.05"

READY, GO, START, END, EXIT, CORRUPT = "R", "G", "S", "E", "X", "C"
FEED, INTERRUPTED, DATA, CHECKSUM = "F", "I", "D", "H"  # marks of what is carried through unseen

# Only what can't be more than one word to a shell goes as it is: no blank, quote, `=`, `$`, `;`, `%` or `^`.
WORD_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:+-@")
CONTROL_BYTES = bytes([*range(32), 127])
WORD_ESCAPES = [chr(b) if b in WORD_CHARACTERS else f"\\0{b:03o}" for b in range(256)]
# In braces: behind half a line that somebody typed at the same moment, `}` is an error of syntax, and nothing is run.
KEEP_STATUS = "{ __sane_c=$?;}&&"
# Read and drop what is still to come, until nothing has come for 0.3 s.
DRAIN = "stty -icanon min 0 time 3;cat >/dev/null;stty icanon min 1 time 0 echo"


KINDS: dict[str, Kind] = {"bash": "bash", "zsh": "zsh", "dash": "plain", "ash": "plain", "busybox": "plain"}
# What stands before the name of a builtin, of which a person may have an alias or a function.
OWN: dict[Kind, str] = {"": "$__sane_b ", "bash": "\\builtin ", "zsh": "\\builtin ", "plain": "\\command "}
FIND_KIND = (
    "__sane_k=${BASH_VERSION+b}${ZSH_VERSION+z};case $__sane_k in '')__sane_b=command;;*)__sane_b=builtin;;esac;"
)


class Place(NamedTuple):
    """Say where a line was typed: the cursor's column (0-based) and the pane's width, in cells."""

    column: int
    width: int


def typed_line(token: str, place: Place, *, nested: bool = False, reader: Reader = "", shell: str = "") -> str:
    r"""Return the line to type, without its terminator.

    A backslash before its names, which fish reads as the name too, keeps aliases out; not before `eval`: `\e` is ESC in
    fish. It begins with a space, which keeps it out of
    histories that ignore such lines; a second one where the line would end exactly at the pane's edge, where terminals
    differ on which row comes next. `nested` is the form for a tmux inside the pane, which swallows the mark unless it
    is told to pass it through. `reader` is a shell known to wait there, whose own `read` does it all and starts no
    process (each takes 1 ms of a call); nor does a hook that expands the line it is told of. `shell` is the name of the
    one that waits there, where it is known: then the line keeps its `$?`, for which fish has another word, and calls
    no function of a person's.
    """
    # `read -s` turns echo off before it prints its prompt, our mark, and on again behind the line: no stty.
    # Without `IFS=`: the payload has no blank at its ends, and IFS may be read-only.
    mark = f"\\e]{HEAD}'$'{TAIL};{token};R\\a'"
    if nested:
        line = (
            " stty -echo&&tmux set -qp allow-passthrough on&&printf '\\33Ptmux;\\33\\33]"
            f"{HEAD}%s;{token};R\\\\41;%s\\7\\33\\134' {TAIL} "
            "$(tmux display -pt $TMUX_PANE '#{pane_width}.#{pane_left}.#{pane_pipe}')&&"
            'eval "$(head -n1)"'
        )
    elif reader == "bash":
        line = f' {KEEP_STATUS}\\builtin read -rsp$\'{mark} __sane_l&&\\builtin eval "$__sane_l"'
    elif reader == "zsh":
        line = f' {KEEP_STATUS}\\builtin read -rs __sane_l$\'?{mark}&&\\builtin eval "$__sane_l"'
    else:
        # fish's `set` would pass a failure on to `&&`; its command substitution starts no process, and is no word here.
        fish = " $(set -g __sane_c $status)" if shell == "fish" else ""
        keep = KEEP_STATUS if shell and not fish else ""
        mark = f"'\\33]{HEAD}%s;{token};R\\\\41\\7' {TAIL}"
        own = OWN[KINDS[shell]] if shell in KINDS else "builtin " if fish else "\\"
        run = f"{own}eval" if shell in ("bash", "zsh") else "eval"  # elsewhere no function can have that name
        line = f' {keep}\\stty -echo{fish}&&{own}printf {mark}&&{run} "$(\\head -n1)"'
    if place.width and (place.column + len(line)) % place.width == 0:
        line = " " + line
    return line


def rows_taken(line: str, place: Place) -> int:
    """Return how many rows a typed line took, the prompt's row included."""
    return (place.column + len(line)) // max(1, place.width) + 1


def dialect_of(argument: str) -> Dialect:
    r"""Return the dialect that a READY mark's kind tells (`R\41` or `R!`)."""
    return "fish" if argument.endswith("!") else "posix"


def printf_mark(token: str, kind: str, *values: str) -> str:
    """Return a printf command that prints a mark; `values` are shell words, one for each argument."""
    holes = "".join(";%s" for _ in values)
    words = "".join(f" {value}" for value in values)
    return f"printf '\\033]{HEAD}%s;{token};{kind}{holes}\\007' {TAIL}{words}"


def printf_nested_mark(token: str, kind: str, *values: str) -> str:
    """Return the printf command of a mark that a tmux inside the pane passes on to the pane."""
    holes = "".join(";%s" for _ in values)
    words = "".join(f" {value}" for value in values)
    return f"printf '\\033Ptmux;\\033\\033]{HEAD}%s;{token};{kind}{holes}\\007\\033\\134' {TAIL}{words}"


def quote(text: str, dialect: Dialect) -> str:
    """Return text as one word of the shell."""
    if dialect == "fish":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"


def escape_for_b(data: bytes) -> str:
    r"""Return bytes for `printf %b` inside single quotes of any dialect: only `\0ooo` escapes, no quote, ASCII only."""
    return "".join(chr(b) if 32 <= b < 127 and b not in (39, 92) else f"\\0{b:03o}" for b in data)


def shown_text(text: str) -> str:
    """Return a command as a watcher should see it: whole lines, cut where it is long, nothing a terminal would obey."""
    lines = text.rstrip("\n").split("\n")
    cut = len(lines) > SHOWN_LIMIT_LINES
    kept = "\n".join(lines[:SHOWN_LIMIT_LINES])
    if len(kept) > SHOWN_LIMIT_CHARACTERS:
        kept, cut = kept[:SHOWN_LIMIT_CHARACTERS], True
    clean = "".join(c if c in "\n\t" or (c >= " " and c != "\x7f" and not "\x80" <= c < "\xa0") else "·" for c in kept)
    return clean + (f" … ({len(text)} characters)" if cut else "")


def erase_sequence(place: Place, rows: int) -> str:
    """Return what puts the cursor back to where the line was typed and erases from there to the end of the screen."""
    right = f"\x1b[{place.column}C" if place.column else ""
    return f"\x1b[{rows}A\r{right}\x1b[J"


def in_pieces(body: str, token: str, dialect: Dialect, *, nested: bool = False, kind: Kind = "") -> list[bytes]:
    r"""Return a body as lines that a terminal in canonical mode takes unharmed.

    One line when it is short and plain. Keys that a person pressed before it make it a syntax error as a whole:
    nothing of
    it runs. Else a first line, which prints GO, and lines of 900 bytes, escaped for `printf %b`, whose total length
    it checks
    before anything runs. Should the shell read those as commands (Ctrl-C came between), each is one
    word that names no command.
    """
    data = body.encode("utf-8", "surrogateescape")
    if len(data) <= LINE_LIMIT_BYTES and len(data.translate(None, CONTROL_BYTES)) == len(data):
        return [data + b"\n"]
    escaped = "".join([WORD_ESCAPES[b] for b in data])
    chunks = [escaped[i : i + CHUNK_BYTES] for i in range(0, len(escaped), CHUNK_BYTES)]
    mark = printf_nested_mark if nested else printf_mark
    own = "builtin " if dialect == "fish" else OWN[kind]
    find = "" if kind else FIND_KIND
    go, corrupt = own + mark(token, GO), f"{DRAIN};{own}{mark(token, CORRUPT)}"
    read = f"'head' -n{len(chunks)}|'tr' -d '\\n'"
    if dialect == "fish":
        first = (
            f"begin;{go};set -g __sane_p ({read}|string collect);if test (string length -- $__sane_p) = {len(escaped)};"
            f'eval "$(builtin printf %b $__sane_p)";else;{corrupt};end;end'
        )
    else:
        first = (
            f"{{ {find}{go};__sane_p=$({read});if [ ${{#__sane_p}} = {len(escaped)} ];then "
            f'{own if kind != "plain" else ""}eval "$({own}printf %b "$__sane_p")";else {corrupt};fi;}}'
        )
    return [first.encode() + b"\n", "\n".join([*chunks, ""]).encode()]

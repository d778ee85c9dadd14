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
It is printed by printf, so its ESC byte exists nowhere in what was typed and no echo can be taken for it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sane.errors import UsageError

Dialect = Literal["posix", "fish"]

OSC_NUMBER = "7791"
# A canonical-mode terminal keeps 4,096 bytes of a line on Linux and drops the rest.
LINE_LIMIT_BYTES = 3000
CHUNK_BYTES = 900  # macOS keeps 1,024
SHOWN_LIMIT_CHARACTERS = 400
SHOWN_LIMIT_LINES = 12

# tmux drops what it has not yet passed on when a pane's program ends, so the shell stays for a moment behind its last
# mark.
EXIT_PAUSE = ";sleep 0.05"

READY, GO, START, END, EXIT, CORRUPT = "R", "G", "S", "E", "X", "C"
FEED, DATA, CHECKSUM = "F", "D", "H"  # marks of a file transfer

# Only what can't be more than one word to a shell goes as it is: no blank, quote, `=`, `$`, `;`, `%` or `^`.
WORD_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:+-@")
CONTROL_BYTES = bytes([*range(32), 127])
WORD_ESCAPES = [chr(b) if b in WORD_CHARACTERS else f"\\0{b:03o}" for b in range(256)]
# Read and drop what is still to come, until nothing has come for 0.3 s.
DRAIN = "stty -icanon min 0 time 3;cat >/dev/null;stty icanon min 1 time 0 echo"


class Place(NamedTuple):
    """Say where a line was typed: the cursor's column (0-based) and the pane's width, in cells."""

    column: int
    width: int


def typed_line(token: str, place: Place, *, nested: bool = False, bash: bool = False) -> str:
    r"""Return the line to type, without its terminator.

    It begins with a space, which keeps it out of histories that ignore such lines; a second one where the line would
    end exactly at the pane's edge, where terminals differ on which row comes next. `nested` is the form for a tmux
    inside the pane, which swallows the mark unless it is told to pass it through. `bash` is the form for a shell known
    to be bash, whose own `read` does it all and starts no process (each takes 1 ms of a call).
    """
    if nested:
        line = (
            " stty -echo&&tmux set -qp allow-passthrough on&&printf '\\33Ptmux;\\33\\33]"
            f"{OSC_NUMBER};{token};R\\\\41;%s\\7\\33\\134' "
            "$(tmux display -pt $TMUX_PANE '#{pane_width}.#{pane_left}')&&"
            'eval "$(head -n1)"'
        )
    elif bash:
        # `read -s` turns echo off before it prints its prompt, our mark, and on again behind the line: no stty.
        line = f" IFS= builtin read -rsp$'\\e]{OSC_NUMBER};{token};R\\a' __sane_l&&eval \"$__sane_l\""
    else:
        line = f" stty -echo&&printf '\\33]{OSC_NUMBER};{token};R\\\\41\\7'&&eval \"$(head -n1)\""
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
    return f"printf '\\033]{OSC_NUMBER};{token};{kind}{holes}\\007'{words}"


def printf_nested_mark(token: str, kind: str, *values: str) -> str:
    """Return the printf command of a mark that a tmux inside the pane passes on to the pane."""
    holes = "".join(";%s" for _ in values)
    words = "".join(f" {value}" for value in values)
    return f"printf '\\033Ptmux;\\033\\033]{OSC_NUMBER};{token};{kind}{holes}\\007\\033\\134'{words}"


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


class Run(NamedTuple):
    """Describe one run to the payload: the command's text, what a watcher sees, and where the line was typed."""

    token: str
    script: str
    shown: str
    place: Place
    rows: int
    nested: bool = False
    bash: bool = False  # read by bash itself, into a variable


def payload(run: Run, dialect: Dialect) -> list[bytes]:
    """Return what to send behind the READY mark: one piece, or a second one to send behind the GO mark.

    Raises UsageError when the script holds what no shell can take: a NUL, half of a surrogate pair.
    """
    if "\0" in run.script:
        raise UsageError("a command can't hold a NUL character")
    try:
        run.script.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can hold such a thing; no byte stands for it
        raise UsageError("a command can't hold half of a surrogate pair") from None
    text = erase_sequence(run.place, run.rows) + shown_text(run.shown) + "\n"
    prologue = text.encode("utf-8", "replace") + f"\x1b]{OSC_NUMBER};{run.token};{START}\x07".encode()
    if run.nested:
        body = nested_body(run, escape_for_b(prologue), dialect)
    else:
        body = (_fish_body if dialect == "fish" else _posix_body)(run, escape_for_b(prologue))
    return in_pieces(body, run.token, dialect, nested=run.nested)


def in_pieces(body: str, token: str, dialect: Dialect, *, nested: bool = False) -> list[bytes]:
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
    go, corrupt = mark(token, GO), f"{DRAIN};{mark(token, CORRUPT)}"
    read = f"head -n{len(chunks)}|tr -d '\\n'"
    if dialect == "fish":
        first = (
            f"begin;{go};set -g __sane_p ({read}|string collect);if test (string length -- $__sane_p) = {len(escaped)};"
            f'eval "$(printf %b $__sane_p)";else;{corrupt};end;end'
        )
    else:
        first = (
            f"{{ {go};__sane_p=$({read});if [ ${{#__sane_p}} = {len(escaped)} ];then "
            f'eval "$(printf %b "$__sane_p")";else {corrupt};fi;}}'
        )
    return [first.encode() + b"\n", "\n".join([*chunks, ""]).encode()]


def _posix_body(run: Run, prologue: str) -> str:
    token = run.token
    mark_exit = printf_mark(token, EXIT, '"$?"', '"${BASH_VERSION+bash}"') + EXIT_PAUSE
    mark_end = printf_mark(token, END, '"$__sane_s"', '"${!-}"')
    # The user's own EXIT trap still runs: `trap -p` prints it as a command, which a function of that name evaluates.
    chain = mark_exit + ';trap(){ eval "$2";};eval "$__sane_t"'
    # One subshell for both: each takes 0.5 ms. The token and a comma stand in no history and in no trap.
    split = (
        f"__sane_t=$(HISTTIMEFORMAT= history 1;printf %s {token},;trap -p EXIT);case ${{__sane_t%%{token},*}} in "
        f"*{OSC_NUMBER}*)history -d ${{__sane_t%%[!0-9 ]*}};;esac;__sane_t=${{__sane_t#*{token},}}"
    )
    keep_history = (
        f'case ":${{HISTCONTROL-}}:" in *:ignorespace:*|*:ignoreboth:*)__sane_t=$(trap -p EXIT);;*){split};;esac'
    )
    zsh_exit = printf_mark(token, EXIT, "$1", "zsh") + EXIT_PAUSE
    zsh_hook = f"__sane_x(){{ set -- $?;case $ZSH_SUBSHELL in 0){zsh_exit};;esac;}};zshexit_functions+=(__sane_x)"
    return (
        f"{{ {'unset __sane_l' if run.bash else 'stty echo'};printf %b '{prologue}';"
        f'if [ -n "${{BASH_VERSION-}}" ];then {keep_history};'
        f"trap {quote(chain, 'posix')} EXIT;"
        f'elif [ -n "${{ZSH_VERSION-}}" ];then eval {quote(zsh_hook, "posix")};'
        f"{_plain_exit_trap(run.script, mark_exit)}fi;"
        # A pane with `set -e` must outlive a command that fails; a command that sets -e itself keeps its meaning.
        "case $- in *e*)__sane_e=1;set +e;;*)__sane_e=;;esac;"
        f"eval {quote(' ' + run.script, 'posix')};__sane_s=$?;"
        f"{mark_end};{POSIX_CLEANUP}"
        'case "$__sane_e:$__sane_s" in :0)unset __sane_e __sane_s;;1:*)unset __sane_s __sane_e;set -e;;'
        '*)eval "unset __sane_e __sane_s;(exit $__sane_s)";;esac;}'
    )


def _plain_exit_trap(script: str, mark_exit: str) -> str:
    """Return the EXIT trap for a shell that can't tell which one is set: only where the command may exit."""
    may_exit = "exit" in script or "set -" in script
    return f"else trap {quote(mark_exit, 'posix')} EXIT;__sane_t=-;" if may_exit else ""


# A trap that the command itself set stays.
POSIX_CLEANUP = (
    "if [ -n \"${ZSH_VERSION-}\" ];then eval 'zshexit_functions=(${zshexit_functions:#__sane_x})';"
    "unset -f __sane_x 2>/dev/null;elif [ -n \"${BASH_VERSION-}\" ];then case $(trap -p EXIT) in *']7791;'*)"
    'trap - EXIT;eval "${__sane_t-}";;esac;'
    'elif [ "${__sane_t-}" = - ];then trap - EXIT;fi;unset __sane_t __sane_p __sane_l;'
)


def _fish_body(run: Run, prologue: str) -> str:
    token = run.token
    mark_end = printf_mark(token, END, "$__sane_s", '"$last_pid"')
    return (
        f"begin;stty echo;printf %b '{prologue}';"
        f"function __sane_x --on-event fish_exit;{printf_mark(token, EXIT, '$status', 'fish')}{EXIT_PAUSE};end;"
        f"eval {quote(' ' + run.script, 'fish')};set -g __sane_s $status;"
        f"{mark_end};{FISH_CLEANUP}"
        "function __sane_r;set -l s $__sane_s;set -e __sane_s;return $s;end;__sane_r;end"
    )


FISH_CLEANUP = "functions -e __sane_x;set -e __sane_p;"


def nested_body(run: Run, prologue: str, dialect: Dialect) -> str:
    r"""Return the payload for a shell in a tmux inside the pane.

    The inner tmux draws the screen anew, so what arrives is no longer what was printed. Its own pipe-pane takes the
    raw output to
    a file, between plain START and END marks; the file then comes through in DATA marks that the inner tmux passes on.
    """
    token = run.token
    mark = printf_nested_mark
    end_plain = printf_mark(token, END)
    send = f"{end_plain};sh -c {quote(_send_script(token), dialect)}"
    open_pipe = 'tmux pipe-pane -t "$TMUX_PANE" "cat >/tmp/.sane-' + token + '"'
    file_made = f"sh -c {quote(f'umask 077;: >/tmp/.sane-{token}', dialect)}"
    start = f"{file_made};{open_pipe};{mark(token, START)};printf %b '{prologue}'"
    if dialect == "fish":
        on_exit = f"set -l c $status;{send};{mark(token, EXIT, '$c', 'fish')}{EXIT_PAUSE}"
        return (
            f"begin;stty echo;{start};function __sane_x --on-event fish_exit;{on_exit};end;"
            f"eval {quote(' ' + run.script, 'fish')};set -g __sane_s $status;set -g __sane_j $last_pid;"
            f"{send};{mark(token, END, '$__sane_s', chr(34) + '$__sane_j' + chr(34))};{FISH_CLEANUP}end"
        )
    on_exit = (
        f"__sane_s=$?;{send};{mark(token, EXIT, '$__sane_s', chr(34) + '${BASH_VERSION+bash}' + chr(34))}{EXIT_PAUSE}"
    )
    keep_set_e = "case $- in *e*)__sane_e=1;set +e;;*)__sane_e=;;esac;"
    return (
        f"{{ stty echo;{start};__sane_t=-;trap {quote(on_exit, 'posix')} EXIT;{keep_set_e}"
        f"eval {quote(' ' + run.script, 'posix')};__sane_s=$?;__sane_j=${{!-}};{send};"
        f"{mark(token, END, chr(34) + '$__sane_s' + chr(34), chr(34) + '$__sane_j' + chr(34))};trap - EXIT;"
        'case "$__sane_e" in 1)set -e;;esac;unset __sane_e __sane_s __sane_t __sane_j;}'
    )


def _send_script(token: str) -> str:
    """Return the sh script that waits for the END mark in the piped file, and sends the file."""
    file = f"/tmp/.sane-{token}"
    return (
        f'n=0;until tail -c 400 {file}|grep -q "{token};{END}"||[ $n -ge 250 ];do n=$((n+1));sleep 0.02;done;'
        f'tmux pipe-pane -t "$TMUX_PANE";base64 {file}|'
        f"awk '{{printf \"\\033Ptmux;\\033\\033]{OSC_NUMBER};{token};{DATA};%s\\007\\033\\134\",$0}}';rm -f {file}"
    )


def recovery_payload(
    token: str, place: Place, rows: int, dialect: Dialect, *, nested: bool = False, ended: str = ""
) -> list[bytes]:
    """Return the payload that proves the prompt is back after a timeout and undoes what the interrupted run left."""
    prologue = escape_for_b(erase_sequence(Place(0, place.width), rows).encode())  # its prompt too: a new one follows
    end = (printf_nested_mark if nested else printf_mark)(token, END, "0")
    stop_pipe = f'tmux pipe-pane -t "$TMUX_PANE";rm -f /tmp/.sane-{ended};' if nested else ""
    if dialect == "fish":
        body = f"begin;stty echo;printf %b '{prologue}';{stop_pipe}{FISH_CLEANUP}{end};end"
    else:
        again = 'case "${__sane_e-}" in 1)set -e;;esac;unset __sane_e __sane_s;'
        body = f"{{ stty echo;printf %b '{prologue}';{stop_pipe}{POSIX_CLEANUP}{again}{end};}}"
    return in_pieces(body, token, dialect)

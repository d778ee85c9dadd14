r"""The payload: what a pane's shell does behind the READY mark, for each dialect.

It turns echo on, puts aside what of the shell's own settings would show between the marks, erases the typed line,
prints the command in its place and a START mark, evaluates the command, prints an END mark and puts everything back.
"""

from __future__ import annotations

from typing import NamedTuple

from sane.core.pane.files import in_marks
from sane.core.pane.framing import (
    END,
    EXIT,
    EXIT_PAUSE,
    FIND_KIND,
    OSC_NUMBER,
    OWN,
    START,
    Dialect,
    Kind,
    Place,
    Reader,
    erase_sequence,
    escape_for_b,
    in_pieces,
    printf_mark,
    printf_nested_mark,
    quote,
    shown_text,
)
from sane.core.pane.traps import (
    BASH_TRAPS_BACK,
    BY_SIGNAL,
    CODE,
    DEBUG_BACK,
    EXITING,
    OURS,
    ZSH_KEEP_CODE,
    bash_traps,
    exit_traps,
    forget_line,
    traps_back,
)


class Run(NamedTuple):
    """Describe one run to the payload: the command's text, what a watcher sees, and where the line was typed."""

    token: str
    script: str
    shown: str
    place: Place
    rows: int
    nested: bool = False
    reader: Reader = ""  # the shell that has read it itself, into a variable
    unseen: bool = False  # its output comes in marks of its own
    kind: Kind = ""  # of the shell that waits, where it is known
    keeps_status: bool = False  # the typed line has kept `$?` for it


def payload(run: Run, dialect: Dialect) -> list[bytes]:
    """Return what to send behind the READY mark: one piece, or a second one to send behind the GO mark."""
    text = erase_sequence(run.place, run.rows) + shown_text(run.shown) + "\n"
    prologue = text.encode("utf-8", "replace") + f"\x1b]{OSC_NUMBER};{run.token};{START}\x07".encode()
    if run.nested:
        body = nested_body(run, escape_for_b(prologue), dialect)
    else:
        body = (_fish_body if dialect == "fish" else _posix_body)(run, escape_for_b(prologue))
    return in_pieces(body, run.token, dialect, nested=run.nested, kind=run.kind)


def _posix_body(run: Run, prologue: str) -> str:
    own, find = OWN[run.kind], "" if run.kind else FIND_KIND
    own_eval = "\\builtin eval" if run.kind in ("bash", "zsh") else "\\eval"
    token = run.token
    mark_end = own + printf_mark(token, END, '"$__sane_s"', '"${!-}"')
    return (
        f"{{ {find}{own + 'unset __sane_l' if run.reader else 'stty echo'};"
        # What `set -x` tells of these lines is nobody's output: it is off but for the command itself. stderr is closed
        # and not redirected, which a restricted shell would refuse.
        "case $- in *x*){ __sane_x=1;\\set +x;} 2>&-;;esac;"
        # A pane with `set -e` must outlive a command that fails; a command that sets -e itself keeps its meaning.
        "case $- in *e*)__sane_e=1;\\set +e;;esac;"
        # `set -v` prints what is evaluated too: the command would stand in its own output.
        "case $- in *v*)__sane_v=1;\\set +v;;esac;"
        f"{exit_traps(token, run.script, run.kind)}{_lead(run)}"
        f"{own}printf %b '{prologue}'&&"  # without a START mark nothing is run: the caller is told so
        f"{own_eval} {_traced(run)}"
        f"{mark_end};{traps_back(run.kind)}"
        # Where an option comes back `$?` does not: `set -e` would take it for a failure.
        'case "${__sane_e-}${__sane_v-}$__sane_x:$__sane_s" in :[!0]*);;*)__sane_s=;;esac;'
        f'{own_eval} "{own}unset {OURS};{_options_back(run.script)}{DEBUG_BACK}${{__sane_s:+(exit $__sane_s)}}";}}'
    )


def _lead(run: Run) -> str:
    """Return what puts into __sane_c what goes in front of the command, in its eval: its trace, and `$?` as it was.

    Of that the trace tells nothing, nor does a trap for failures hear. A subshell takes 0.5 ms: it is there for a
    failure alone.
    """
    if not run.keeps_status:
        return ""
    untraced = "\\\\: \\${options[xtrace]::=off};" if run.kind == "zsh" else ""
    return (
        'case ${__sane_c:=0} in 0)__sane_c=${__sane_x:+"\\set -x;"};;'
        f'*)__sane_c="{{ ${{__sane_x:+\\set -x;}}({untraced}exit $__sane_c)&&:;}} 2>&-;";;esac;'
    )


def _options_back(script: str = "") -> str:
    """Return what sets again the options that were put aside, but for those that the script itself turns off.

    Nothing else tells: they were off when it ran. `x` was not, and is known.
    """
    off: set[str] = set()
    if "+" in script or "opt" in script:
        from sane.core.pane.set_options import turned_off

        off = turned_off(script)
    return "".join(f"${{__sane_{letter}:+\\set -{letter};}}" for letter in "evx" if letter not in off)


def _traced(run: Run) -> str:
    """Return the command as eval's words, and what keeps its code; `set -x` tells of it, but not of an unseen one."""
    text = quote(" " + run.script, "posix")
    if run.unseen:
        return f"{text};__sane_s=$?;"
    lead = "$__sane_c" if run.keeps_status else "${__sane_x:+\\set -x;}"
    keep = "{ __sane_s=$?;case $- in *x*)__sane_x=1;\\set +x;;*)__sane_x=;;esac;} 2>&-;"
    return f'"${{__sane_q-}}{lead}"{text};{ZSH_KEEP_CODE if run.kind == "zsh" else keep}'


def _fish_body(run: Run, prologue: str) -> str:
    token = run.token
    mark_end = "builtin " + printf_mark(token, END, "$__sane_s", '"$last_pid"')
    return (
        f"begin;stty echo;builtin printf %b '{prologue}';"
        "function __sane_r;set -e __sane_s;set -e __sane_c;return $argv[1];end;set -q __sane_c;or set -g __sane_c 0;"
        f"function __sane_x --on-event fish_exit;builtin {printf_mark(token, EXIT, '$status', 'fish')}{EXIT_PAUSE};end;"
        f"__sane_r $__sane_c;eval {quote(' ' + run.script, 'fish')};set -g __sane_s $status;"
        f"{mark_end};{FISH_CLEANUP}__sane_r $__sane_s;end"
    )


FISH_CLEANUP = "functions -e __sane_x;set -e __sane_p;"


def nested_body(run: Run, prologue: str, dialect: Dialect) -> str:
    r"""Return the payload for a shell in a tmux inside the pane.

    The inner tmux draws the screen anew, so what arrives is no longer what was printed. Its own pipe-pane takes the
    raw output to
    a file, between plain START and END marks; the file then comes through in DATA marks that the inner tmux passes on,
    as does at once what an unseen command writes.
    """
    token = run.token
    mark = printf_nested_mark
    end_plain = printf_mark(token, END)
    send = ":" if run.unseen else f"{end_plain};sh -c {quote(_send_script(token), dialect)}"
    open_pipe = 'tmux pipe-pane -t "$TMUX_PANE" "cat >/tmp/.sane-' + token + '"'
    file_made = f"sh -c {quote(f'umask 077;: >/tmp/.sane-{token}', dialect)}"
    pipe = "" if run.unseen else f"{file_made};{open_pipe};"
    start = f"{pipe}{mark(token, START)};printf %b '{prologue}'"
    if dialect == "fish":
        on_exit = f"set -l c $status;{send};{mark(token, EXIT, '$c', 'fish')}{EXIT_PAUSE}"
        return (
            f"begin;stty echo;{start};function __sane_x --on-event fish_exit;{on_exit};end;"
            f"eval {quote(' ' + run.script, 'fish')};set -g __sane_s $status;set -g __sane_j $last_pid;"
            f"{send};{mark(token, END, '$__sane_s', chr(34) + '$__sane_j' + chr(34))};{FISH_CLEANUP}end"
        )
    on_exit = f"__sane_s=$?;{send};{mark(token, EXIT, '$__sane_s')}{EXIT_PAUSE}"
    bash_exit = f"__sane_s=$?;{BY_SIGNAL}{send};{mark(token, EXIT, CODE, 'bash')}{EXIT_PAUSE}"
    exits = any(word in run.script for word in EXITING)
    plain = f"else trap {quote(on_exit, 'posix')} EXIT;" if exits else ""
    traps = f'if [ -n "${{BASH_VERSION-}}" ];then {bash_traps(token, bash_exit)};{plain}fi'
    plain = "else trap - EXIT;" if exits else ""
    back = f'if [ -n "${{BASH_VERSION-}}" ];then {BASH_TRAPS_BACK}{plain}fi;'
    keep_set_e = "case $- in *e*)__sane_e=1;set +e;;*)__sane_e=;;esac;"
    return (
        f"{{ stty echo;{start};{keep_set_e}{traps};"
        f'eval "${{__sane_q-}}"{quote(" " + run.script, "posix")};__sane_s=$?;__sane_j=${{!-}};{send};'
        f"{mark(token, END, chr(34) + '$__sane_s' + chr(34), chr(34) + '$__sane_j' + chr(34))};{back}"
        f'case "$__sane_e" in 1)set -e;;esac;eval "unset {OURS} __sane_j;{DEBUG_BACK}";}}'
    )


def _send_script(token: str) -> str:
    """Return the sh script that waits for the END mark in the piped file, and sends the file."""
    file = f"/tmp/.sane-{token}"
    return (
        f'n=0;until tail -c 400 {file}|grep -q "{token};{END}"||[ $n -ge 250 ];do n=$((n+1));sleep 0.02;done;'
        f'tmux pipe-pane -t "$TMUX_PANE";base64 {file}|{in_marks(token, nested=True)};rm -f {file}'
    )


SHELL_NAME = (
    "case ${BASH_VERSION+b}${ZSH_VERSION+z} in b)__sane_p=bash;;z)__sane_p=zsh;;"
    "*)__sane_p=$({ cat /proc/$$/comm||ps -o comm= -p $$;} 2>/dev/null);;esac;"
)


def recovery_payload(
    token: str, place: Place, rows: int, dialect: Dialect, *, nested: bool = False, ended: str = ""
) -> list[bytes]:
    """Return the payload that proves the prompt is back after a timeout and undoes what the interrupted run left.

    Its END mark tells the shell's name too, but for fish, which the READY mark tells.
    """
    prologue = escape_for_b(erase_sequence(Place(0, place.width), rows).encode())  # its prompt too: a new one follows
    name = () if dialect == "fish" else ('"$__sane_p"',)
    end = (printf_nested_mark if nested else printf_mark)(token, END, "0", *name)
    stop_pipe = f'tmux pipe-pane -t "$TMUX_PANE";rm -f /tmp/.sane-{ended};' if nested else ""
    if dialect == "fish":
        body = f"begin;stty echo;printf %b '{prologue}';{stop_pipe}{FISH_CLEANUP}{end};end"
    else:
        again = f'\\eval "{_options_back()}";\\eval "\\unset {OURS};{DEBUG_BACK}";'
        # Its line leaves the history too, where bash keeps such lines.
        forget = f"__sane_p=$(\\builtin history 1);{forget_line(token, '')}unset __sane_p"
        again += f'if [ -n "${{BASH_VERSION-}}" ];then {forget};fi;'
        end = f"{SHELL_NAME}\\{end};\\unset __sane_p"
        body = f"{{ {FIND_KIND}\\stty echo;\\printf %b '{prologue}';{stop_pipe}{traps_back('')}{again}{end};}}"
    return in_pieces(body, token, dialect)

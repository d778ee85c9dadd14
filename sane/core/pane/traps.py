r"""How a shell tells the code of a command that ends it: its EXIT trap, or what stands for one.

What that takes the place of is put aside before the command, and comes back behind it. Also here: what takes our typed
line out of bash's history, in the one subshell that lists bash's traps.
"""

from __future__ import annotations

from sane.core.pane.framing import EXIT, EXIT_PAUSE, HEAD, OWN, Kind, printf_mark, quote

KEEP_CODE = "{ __sane_s=$?;\\set +x;} 2>&-;"
# zsh keeps the trace's way to the terminal for all that a traced `eval` runs, so a closed stderr hides nothing. But it
# tells of a command when that has been expanded, and then this one has ended the trace.
ZSH_KEEP_CODE = '\\builtin : "${__sane_s::=$?}${__sane_x::=${-//[^x]}}${__sane_x:+${options[xtrace]::=off}}";'
# A signal that ends bash (SIGHUP: a logout, a reboot) runs its EXIT trap too, with the code of whatever ended before.
# Only then BASH_COMMAND is the command that was running; `exit` unwinds to the typed line's own `eval`, from 4.4 on.
BY_SIGNAL = (
    "case $BASH_VERSION:$BASH_COMMAND in [123].*|4.[0-3]*|"
    '*eval\\ \\"\\$__sane_l\\"|*eval\\ \\"\\$\\(*head\\ -n1\\)\\");;*)__sane_u=;;esac;'
)
CODE = '"${__sane_u-$__sane_s}"'


def exit_traps(token: str, script: str, kind: Kind) -> str:
    """Return what sets the EXIT trap, or what stands for it, and puts aside what it takes the place of."""
    bash_exit = f"{KEEP_CODE}{BY_SIGNAL}{OWN['bash']}{printf_mark(token, EXIT, CODE, 'bash')}{EXIT_PAUSE}"
    zsh_exit = f"{OWN['zsh']}{printf_mark(token, EXIT, '$__sane_s', 'zsh')}{EXIT_PAUSE}"
    zsh = f"__sane_x(){{ {ZSH_KEEP_CODE}case $ZSH_SUBSHELL in 0){zsh_exit};;esac;}};zshexit_functions+=(__sane_x);"
    plain = _plain_exit_trap(token, f"{KEEP_CODE}{OWN['plain']}") if any(word in script for word in EXITING) else ""
    return _by_kind(kind, f"{bash_traps(token, bash_exit)};", zsh, plain)


def traps_back(kind: Kind) -> str:
    """Return what undoes `exit_traps`, but for a DEBUG trap: that is left to `DEBUG_BACK`."""
    return _by_kind(kind, BASH_TRAPS_BACK, ZSH_HOOK_BACK, PLAIN_TRAP_BACK)


def _by_kind(kind: Kind, bash: str, zsh: str, plain: str) -> str:
    if kind:
        return {"bash": bash, "zsh": zsh, "plain": plain}[kind]
    # Each ends with a semicolon; no other shell can parse the one for zsh.
    return f"case $__sane_k in b){bash};z)\\builtin eval {quote(zsh, 'posix')};;*){plain}esac;"


def bash_traps(token: str, mark_exit: str) -> str:
    """Return what takes our line out of the history, puts DEBUG and ERR traps aside, and sets the EXIT trap.

    The one of ERR comes back in front of the command (`__sane_q`), where it sees nothing of ours. That of DEBUG comes
    back behind it all: it would tell of our lines too, and print between the command's.
    An EXIT trap of ours was left by a run whose caller was killed: what that run put aside still is.
    """
    # The user's own EXIT trap still runs: `trap -p` prints it as `trap -- 'TEXT' EXIT`, and TEXT is one word.
    chain = (
        f'{mark_exit};__sane_t=${{__sane_t#trap}};(exit $__sane_s);\\builtin eval "\\\\builtin eval${{__sane_t% EXIT}}"'
    )
    # One subshell for all: each takes 0.5 ms. The token and a comma stand in no history and in no trap.
    comma = f"\\builtin printf %s {token},"
    listed = f"{comma};\\builtin trap -p DEBUG;{comma};\\builtin trap -p ERR;{comma};\\builtin trap -p EXIT"
    return (
        f"__sane_p=$(\\builtin history 1;{listed});"
        f"{forget_line(token, f'%%{token},*')}__sane_p=${{__sane_p#*{token},}};"
        f"case $__sane_p in *{OUR_MARK}*);;*)__sane_d=${{__sane_p%%{token},*}};__sane_t=${{__sane_p##*{token},}};;esac;"
        f'__sane_p=${{__sane_p#*{token},}};\\builtin : "${{__sane_r:=${{__sane_p%%{token},*}}}}";'
        # Ignored, and not reset: so a command that takes it away can be told from one that does not.
        "case ${__sane_d-} in ?*)\\builtin trap '' DEBUG;;esac;"
        f"case $__sane_r in ?*)\\builtin trap - ERR;__sane_q={quote(ERR_BACK, 'posix')};;esac;"
        f"\\builtin trap {quote(chain, 'posix')} EXIT"
    )


def forget_line(token: str, history: str) -> str:
    """Return what takes our line out of bash's history; `history` cuts __sane_p to the history's last entry."""
    return f"case ${{__sane_p{history}}} in *{token}*)\\builtin history -d ${{__sane_p%%[!0-9 ]*}};;esac;"


def _plain_exit_trap(token: str, own: str) -> str:
    """Return the EXIT trap for a shell that can't tell in a subshell which one is set: only where the command may exit.

    There `trap` lists them into a file, the one of EXIT first. The user's own runs behind ours, and comes back. `own`
    stands before the mark.
    """
    # In a function, so that the shell's own $1 and $2 stay.
    found = f"case $2:$1 in *{OUR_MARK}*)__sane_t=;;EXIT:*)__sane_t=$1;;*)__sane_t=;;esac"
    listed = f'__sane_x(){{ eval "set ${{__sane_t#trap}}";{found};}}'
    mark = printf_mark(token, EXIT, '"$__sane_s"')
    chain = f'{own}{mark}{EXIT_PAUSE};(exit $__sane_s);\\eval "$__sane_t"'
    return (
        f'__sane_f=/tmp/.sane-{token};__sane_g={quote(LIST_TRAPS, "posix")};\\eval "$__sane_g";'
        f"case $__sane_t in ?*){listed};__sane_x;\\unset -f __sane_x;;esac;"
        f"\\trap {quote(chain, 'posix')} EXIT;"
    )


EXITING = ("exit", "return", "set -")  # without one of these no command ends its shell, but `exec` and signals
OUR_MARK = f"']{HEAD}%s;'"
LIST_TRAPS = '(umask 077;:>"$__sane_f");\\trap >|"$__sane_f";__sane_t=$(\\cat "$__sane_f");\\rm -f "$__sane_f"'
ERR_BACK = '\\builtin eval "\\\\builtin $__sane_r";__sane_r=;'
# A trap that the command itself set or took away stays so. `$?` is 0 where there is one of ERR, which would take ours
# for a failure. That of DEBUG is left to `DEBUG_BACK`.
BASH_TRAPS_BACK = (
    "__sane_p=$(\\builtin trap -p EXIT DEBUG ERR);"
    f"case $__sane_p in *{OUR_MARK}*)\\builtin trap - EXIT;"
    '\\builtin eval "${__sane_t:+\\\\builtin $__sane_t}";;esac;'
    "case $__sane_p in *\"-- '' DEBUG\"*);;*)__sane_d=;;esac;case $__sane_p in *\\ ERR)__sane_s=0;;esac;"
    '\\builtin eval "${__sane_r:+__sane_s=0;\\\\builtin $__sane_r}";'
)
DEBUG_BACK = "${__sane_d:+\\\\builtin $__sane_d}"  # as evaluated, last of all; it ends with a newline
OURS = " ".join(f"__sane_{letter}" for letter in "bcdefgklpqrstvx")
ZSH_HOOK_BACK = "zshexit_functions=(${zshexit_functions:#__sane_x});\\unset -f __sane_x 2>/dev/null;"
PLAIN_TRAP_BACK = (
    'case ${__sane_f-} in ?*)__sane_p=$__sane_t;\\eval "$__sane_g";'
    f'case $__sane_t in *{OUR_MARK}*)case $__sane_p in ?*)\\trap "$__sane_p" EXIT;;*)\\trap - EXIT;;esac;;esac;;esac;'
)

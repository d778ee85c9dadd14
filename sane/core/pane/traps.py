r"""How a shell tells the code of a command that ends it: its EXIT trap, or what stands for one.

What that takes the place of is put aside before the command, and comes back behind it. Also here: what takes our typed
line out of bash's history, in the one subshell that lists bash's traps.
"""

from __future__ import annotations

from sane.core.pane.framing import EXIT, EXIT_PAUSE, HEAD, Reader, printf_mark, quote

KEEP_CODE = "{ __sane_s=$?;\\set +x;} 2>&-;"
# A signal that ends bash (SIGHUP: a logout, a reboot) runs its EXIT trap too, with the code of whatever ended before.
# Only then BASH_COMMAND is the command that was running; `exit` unwinds to the typed line's own `eval`, from 4.4 on.
BY_SIGNAL = (
    "case $BASH_VERSION:$BASH_COMMAND in [123].*|4.[0-3]*|"
    '*eval\\ \\"\\$__sane_l\\"|*eval\\ \\"\\$\\(*head\\ -n1\\)\\");;*)__sane_u=;;esac;'
)
CODE = '"${__sane_u-$__sane_s}"'


def exit_traps(token: str, script: str, reader: Reader, own: str) -> str:
    """Return what sets the EXIT trap, or what stands for it, and puts aside what it takes the place of.

    `own` stands before the names of builtins.
    """
    bash_exit = KEEP_CODE + BY_SIGNAL + own + printf_mark(token, EXIT, CODE, "bash") + EXIT_PAUSE
    if reader == "bash":
        return bash_traps(token, bash_exit)
    zsh_exit = KEEP_CODE + printf_mark(token, EXIT, "$__sane_s", "zsh") + EXIT_PAUSE
    zsh_hook = f"__sane_x(){{ case $ZSH_SUBSHELL in 0){zsh_exit};;esac;}};zshexit_functions+=(__sane_x)"
    if reader == "zsh":
        return zsh_hook
    plain_exit = KEEP_CODE + own + printf_mark(token, EXIT, '"$__sane_s"') + EXIT_PAUSE
    plain = _plain_exit_trap(token, script, plain_exit)
    return (
        f'if [ -n "${{BASH_VERSION-}}" ];then {bash_traps(token, bash_exit)};'
        f'elif [ -n "${{ZSH_VERSION-}}" ];then \\eval {quote(zsh_hook, "posix")};{plain}fi'
    )


def bash_traps(token: str, mark_exit: str) -> str:
    """Return what takes our line out of the history, puts DEBUG and ERR traps aside, and sets the EXIT trap.

    An EXIT trap of ours was left by a run whose caller was killed: what that run put aside still is.
    """
    # The user's own EXIT trap still runs: `trap -p` prints it as `trap -- 'TEXT' EXIT`, and TEXT is one word.
    chain = (
        f'{mark_exit};__sane_t=${{__sane_t#trap}};(exit $__sane_s);\\builtin eval "\\\\builtin eval${{__sane_t% EXIT}}"'
    )
    # One subshell for all: each takes 0.5 ms. The token and a comma stand in no history and in no trap.
    traps = f"\\builtin trap -p DEBUG ERR;\\builtin printf %s {token},;\\builtin trap -p EXIT"
    split = (
        f"__sane_p=$(\\builtin history 1;\\builtin printf %s {token},;{traps});{forget_line(token, f'%%{token},*')}"
        f"__sane_p=${{__sane_p#*{token},}}"
    )
    return (
        f'case ":${{HISTCONTROL-}}:" in *:ignorespace:*|*:ignoreboth:*)__sane_p=$({traps});;*){split};;esac;'
        f"case ${{__sane_p#*{token},}} in *{OUR_MARK}*);;*)__sane_d=${{__sane_p%%{token},*}};"
        f"__sane_t=${{__sane_p#*{token},}};;esac;case ${{__sane_d-}} in ?*)\\builtin trap - DEBUG ERR;;esac;"
        f"\\builtin trap {quote(chain, 'posix')} EXIT"
    )


def forget_line(token: str, history: str) -> str:
    """Return what takes our line out of bash's history; `history` cuts __sane_p to the history's last entry."""
    return f"case ${{__sane_p{history}}} in *{token}*)\\builtin history -d ${{__sane_p%%[!0-9 ]*}};;esac;"


def _plain_exit_trap(token: str, script: str, mark_exit: str) -> str:
    """Return the EXIT trap for a shell that can't tell in a subshell which one is set: only where the command may exit.

    There `trap` lists them into a file, the one of EXIT first. The user's own runs behind ours, and comes back.
    """
    if not any(word in script for word in EXITING):
        return ""
    # In a function, so that the shell's own $1 and $2 stay.
    found = f"case $2:$1 in *{OUR_MARK}*)__sane_t=;;EXIT:*)__sane_t=$1;;*)__sane_t=;;esac"
    listed = f'__sane_x(){{ eval "set ${{__sane_t#trap}}";{found};}}'
    chain = mark_exit + ';(exit $__sane_s);\\eval "$__sane_t"'
    return (
        f"else __sane_f=/tmp/.sane-{token};{LIST_TRAPS};"
        f"case $__sane_t in ?*){listed};__sane_x;\\unset -f __sane_x;;esac;"
        f"\\trap {quote(chain, 'posix')} EXIT;"
    )


EXITING = ("exit", "return", "set -")  # without one of these no command ends its shell, but `exec` and signals
OUR_MARK = f"']{HEAD}%s;'"
LIST_TRAPS = '(umask 077;:>"$__sane_f");\\trap >|"$__sane_f";__sane_t=$(\\cat "$__sane_f");\\rm -f "$__sane_f"'
# A trap that the command itself set stays. `$?` is 0 where an ERR trap comes back, which would take ours for a failure.
BASH_TRAPS_BACK = (
    f"case $(\\builtin trap -p EXIT) in *{OUR_MARK}*)\\builtin trap - EXIT;"
    '\\eval "${__sane_t:+\\\\builtin $__sane_t}";;esac;\\eval "${__sane_d:+\\\\builtin $__sane_d}";'
    "case ${__sane_d-} in *\\ ERR*)__sane_s=0;;esac;"
)
FORGET_REST = "\\unset __sane_t __sane_p __sane_l __sane_d __sane_f;"
ZSH_HOOK_BACK = "zshexit_functions=(${zshexit_functions:#__sane_x})"
FORGET_HOOK = "\\unset -f __sane_x 2>/dev/null;"
POSIX_CLEANUP = (
    f"if [ -n \"${{ZSH_VERSION-}}\" ];then \\eval '{ZSH_HOOK_BACK}';"
    f'{FORGET_HOOK}elif [ -n "${{BASH_VERSION-}}" ];then {BASH_TRAPS_BACK}'
    f'elif [ -n "${{__sane_f-}}" ];then __sane_p=$__sane_t;{LIST_TRAPS};case $__sane_t in *{OUR_MARK}*)'
    'case $__sane_p in ?*)\\trap "$__sane_p" EXIT;;*)\\trap - EXIT;;esac;;esac;fi;' + FORGET_REST
)
CLEANUPS: dict[Reader, str] = {
    "": POSIX_CLEANUP,
    "bash": BASH_TRAPS_BACK + FORGET_REST,
    "zsh": f"{ZSH_HOOK_BACK};{FORGET_HOOK}{FORGET_REST}",
}

r"""The prompt `user@host - dec032025:035722pm seq:3201 rslt:0 bash $`, for each shell, with OSC 133 marks.

OSC 133 A and B stand around the prompt, D with the exit code behind each command; terminals that don't know them show
nothing.
"""

from __future__ import annotations

# Prints the name of the shell that starts it; the same text in every shell.
ASK_SHELL = "sh -c 'ps -o comm= -p $PPID 2>/dev/null||cat /proc/$PPID/comm'"
PLAIN_SHELLS = frozenset({"sh", "dash", "ash", "ksh", "mksh", "busybox"})

DATE = "LC_ALL=C date +%b%d%Y:%I%M%S%p|tr A-Z a-z"

PROMPTS = {
    "bash": (
        "shopt -s promptvars;"
        "__sane_rslt(){ __sane_last=$?;};"
        'case "${PROMPT_COMMAND-}" in *__sane_rslt*);;'
        '*)PROMPT_COMMAND="__sane_rslt${PROMPT_COMMAND:+;$PROMPT_COMMAND}";;esac;'
        r"PS1='\[\e]133;D;${__sane_last-}\a\e]133;A\a\]\u@\h - $(" + DATE + r") seq:\! rslt:${__sane_last-0} bash "
        r"$ \[\e]133;B\a\]'"
    ),
    "zsh": (
        "setopt prompt_subst;"
        r"PROMPT=$'%{\e]133;D;%?\a\e]133;A\a%}%n@%m - ${(L)${(%):-%D{%b%d%Y:%I%M%S%p\\}}} seq:%! rslt:%? zsh $ "
        r"%{\e]133;B\a%}'"
    ),
    "fish": (
        "function fish_prompt;set -l code $status;set -g __sane_seq (math 0$__sane_seq + 1);"
        r"printf '\033]133;D;%s\007\033]133;A\007%s@%s - %s seq:%s rslt:%s fish $ \033]133;B\007' "
        "$code (id -un) (uname -n|cut -d. -f1) (env LC_ALL=C date +%b%d%Y:%I%M%S%p|tr A-Z a-z) $__sane_seq $code;end;"
        "function fish_right_prompt;end"
    ),
    "sh": (
        'PS1=\'$(r=$?;printf "%s@%s - %s seq:%s rslt:%s SHELL " "$(id -un)" "$(uname -n|cut -d. -f1)" '
        '"$(' + DATE + ')" "0" "$r")$ \''
    ),
}


def prompt_script(shell: str) -> str | None:
    """Return the text that sets the structured prompt in a shell; None for one that has none here."""
    if shell in PLAIN_SHELLS:
        return PROMPTS["sh"].replace("SHELL", shell)
    return PROMPTS.get(shell)

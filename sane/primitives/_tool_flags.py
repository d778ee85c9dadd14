"""Which tools and flags a command line uses, and whether a tool's own help lists a flag."""

from __future__ import annotations

import re
from typing import NamedTuple

# Tools whose `--help` is known to print and do nothing else. No other program is started to find out about it.
_SAFE_NAMES = (
    "awk base64 basename bzip2 cat chgrp chmod chown cmp comm cp curl cut date dd df diff dirname du env expand expr "
    "file find fold gawk git grep gzip head id install join jq ln ls md5sum mkdir mktemp mv nl nproc od paste patch "
    "printenv ps pwd readlink realpath rm rmdir rsync sed seq sha256sum shuf sleep sort split stat stdbuf tac tail tar "
    "tee touch tr truncate uniq wc wget which xargs xz zip"
)
SAFE_TO_ASK = frozenset(_SAFE_NAMES.split())
SEPARATORS = frozenset({"|", "||", "&&", ";", "&", "|&", "(", ")"})


class ToolFlags(NamedTuple):
    """Hold one command of a line: the tool and the flags given to it."""

    tool: str
    flags: tuple[str, ...]


def tools_in(line: str) -> list[ToolFlags]:
    """Return the commands of a line with their flags, in order. Raises ValueError when its quotes are not closed."""
    import shlex

    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word in SEPARATORS:
            commands.append([])
        elif commands[-1] or not re.fullmatch(r"\w+=.*", word):  # VAR=value before a command is none
            commands[-1].append(word)
    return [ToolFlags(words[0], _flags(words[1:])) for words in commands if words]


def _flags(words: list[str]) -> tuple[str, ...]:
    flags: list[str] = []
    for word in words:
        if word == "--":
            break
        if word.startswith("-") and word != "-" and not re.fullmatch(r"-\d+", word):
            flags.append(word.partition("=")[0])
    return tuple(flags)


def lists_flag(help_text: str, flag: str) -> bool:
    """Say whether a help text lists a flag; `-xzf` is looked for whole, then letter by letter."""
    if re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text):
        return True
    if flag.startswith("--") or len(flag) < 2:
        return False
    groups = "".join(re.findall(r"\[-([A-Za-z0-9]+)\]", help_text))  # BSD: [-abcdEH]
    return all(
        letter in groups or re.search(rf"(?<![\w-])-{re.escape(letter)}(?!\w)", help_text) for letter in flag[1:]
    )

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


# Words behind which a command follows, and constructs whose words only a shell's own parser could tell from commands.
_COMMAND_FOLLOWS = "if then elif else do while until ! { } time"
_BEFORE_A_COMMAND = frozenset(_COMMAND_FOLLOWS.split())
_BEYOND_US = re.compile(r"<<|\bcase\b|\[\[|\(\(|=\(|`|\beval\b")


def commands_in(script: str) -> list[str]:
    """Return the names of the commands that a script calls, each once, in order; none where that can't be told.

    Functions that the script defines are left out. Names that come out of an expansion are not known.
    """
    import shlex

    if _BEYOND_US.search(script):
        return []
    lexer = shlex.shlex(script, posix=False, punctuation_chars="|&;()\n<>")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    names: list[str] = []
    defined = set(re.findall(r"([\w.-]+)\s*\(\s*\)", script)) | set(re.findall(r"\bfunction\s+([\w.-]+)", script))
    at_start, comment, skip = True, False, False
    try:
        for word in lexer:
            if set(word) <= set("|&;()\n"):
                at_start, comment = True, comment and "\n" not in word
            elif set(word) <= set("<>&"):
                skip = True  # a redirection's file
            elif skip:
                skip = False
            elif word == "function":
                skip = True
            elif word == "{":
                at_start = True
            elif comment or word.startswith("#"):
                comment = True
            elif at_start and word not in _BEFORE_A_COMMAND and not re.match(r"\w+\+?=", word):
                names.append(word)
                at_start = False
    except ValueError:  # a quote that is not closed, in a comment for instance
        return []
    return [name for name in dict.fromkeys(names) if name not in defined and re.fullmatch(r"[\w.+@-]+", name)]


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

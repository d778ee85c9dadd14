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
# What prints the whole help where `--help` prints a part of it, or nothing.
HELP_WORDS = {"awk": "-W usage", "curl": "--help all", "ps": "--help all"}
# Their flags may be those of a command or subcommand that follows, of which their own help says nothing.
_TAKING = (
    "apt apt-get brew cargo docker doas env exec git go kubectl nice nohup npm pip pip3 podman setsid ssh stdbuf sudo "
    "systemctl time timeout watch xargs"
)
TAKES_COMMAND = frozenset(_TAKING.split())
NOT_OPTIONS = frozenset({"find"})  # its words are an expression, in which each may stand for another's value
# Where separators are quoted, or lines are a here-document, what looks like a command may be none.
_UNSURE = re.compile(r"""<<|`|\beval\b|\\[|&;()]|(["'])[|&;()\n]+\1""")
_PLAIN_OPTION = re.compile(r"-[A-Za-z0-9]|--[A-Za-z0-9][A-Za-z0-9-]*")


class ToolFlags(NamedTuple):
    """Hold one command of a line: the tool and the flags given to it; `follows` is what follows a tool that takes a
    command or subcommand, where flags stand behind it."""

    tool: str
    flags: tuple[str, ...]
    follows: str = ""


def tools_in(line: str) -> list[ToolFlags]:
    """Return the commands of a line with their flags, in order. Raises ValueError when its quotes are not closed."""
    import shlex

    lexer = shlex.shlex(line.replace("\\\n", ""), posix=True, punctuation_chars="|&;()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    commands: list[list[str]] = [[]]
    comment = False
    for word in lexer:
        if word and set(word) <= set("|&;()\n"):
            commands.append([])
            comment = comment and "\n" not in word
        elif comment or word.startswith("#"):
            comment = True
        elif commands[-1] or not re.fullmatch(r"\w+=.*", word, re.DOTALL):  # VAR=value before a command is none
            commands[-1].append(word)
    return [_tool_flags(words[0], words[1:]) for words in commands if words]


def _tool_flags(tool: str, words: list[str]) -> ToolFlags:
    flags = tuple(flag for word in words[: _end_of_flags(words)] if (flag := _flag(word)))
    if tool not in TAKES_COMMAND:
        return ToolFlags(tool, flags)
    begins = next((at for at, word in enumerate(words) if not _flag(word)), len(words))
    behind = any(_flag(word) for word in words[begins:])
    return ToolFlags(tool, flags, words[begins] if behind else "")


def _end_of_flags(words: list[str]) -> int:
    return words.index("--") if "--" in words else len(words)


def _flag(word: str) -> str:
    """Return the flag that a word is, without the value behind a `=`; "" where it is none."""
    is_flag = word.startswith("-") and word not in ("-", "--") and not re.fullmatch(r"-\d+", word)
    return word.partition("=")[0] if is_flag else ""


def is_surely_read(line: str) -> bool:
    """Say whether what looks like the commands of a line surely is."""
    return _UNSURE.search(line) is None


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


def unlisted_part(help_text: str, word: str) -> str:
    """Return the first option in a word that a help text does not list: `-z` of `-az`; "" where it lists them all.

    What stands behind a letter that takes a value is that value.
    """
    if _names(help_text, word):
        return ""
    if word.startswith("--"):
        return word
    groups = "".join(re.findall(r"\[-([A-Za-z0-9]+)\]", help_text))  # BSD: [-abcdEH]
    for letter in word[1:]:
        option = f"-{letter}"
        if letter not in groups and not re.search(rf"(?<![\w-]){re.escape(option)}(?!\w)", help_text):
            return option
        if _value_of(help_text, option):
            return ""
    return ""


def lists_flag(help_text: str, flag: str) -> bool:
    """Say whether a help text lists a flag; `-xzf` is looked for whole, then letter by letter."""
    return not unlisted_part(help_text, flag)


def sure_parts(help_text: str, used: ToolFlags) -> dict[str, str]:
    """Return the flags that a tool's help does not list, each with the option in it that the tool itself can be asked
    about; "" where that would not be sure: behind a flag that takes a value, a word may be that value."""
    found: dict[str, str] = {}
    takes_next = False
    for word in used.flags:
        part = unlisted_part(help_text, word)
        if part:
            is_sure = not takes_next and used.tool not in NOT_OPTIONS and _PLAIN_OPTION.fullmatch(part)
            found[word] = part if is_sure else ""
        option = word if word.startswith("--") else f"-{word[-1]}"
        takes_next = _value_of(help_text, option) == "next"
    return found


def refuses(said: str, option: str) -> bool:
    """Say whether a tool's complaint is that it has no such option, as getopt and the tools that do without say it."""
    name = re.escape(option.lstrip("-"))
    complaint = (
        rf"(?:invalid|illegal|unrecogni[sz]ed|unknown|not an) option(?::| --)? ['`‘]?-{{0,2}}{name}['’]?\s*$"
        rf"|option {re.escape(option)}: is unknown"
    )
    return re.search(complaint, said, re.IGNORECASE | re.MULTILINE) is not None


def _names(help_text: str, flag: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text) is not None


def _value_of(help_text: str, option: str) -> str:
    """Return where a help text has an option's value: the `next` word, `joined` to it, "" where it takes none.

    Known are `-e script,`, `-l N, --line-length=N`, `-o, --output <file>`, `-i[SUFFIX]` and `[-A num]`.
    """
    value = r"(=|\[=?| <| [A-Z]+\b| [a-z][\w-]*(?:=\w+)?(?=[,\]]| {2}))"
    also = r"(?:,?[ ]+--[\w-]+)?"
    before = r"(?:^[ \t]*|, |\[)"  # not in a sentence about it
    found = re.search(rf"{before}{re.escape(option)}(?:{value}|{also}{value})", help_text, re.MULTILINE)
    if found is None:
        return ""
    return "joined" if "[" in (found[1] or found[2]) else "next"

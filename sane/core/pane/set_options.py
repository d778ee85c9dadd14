"""Which options a command's text turns off in its shell: `errexit` and `verbose`, which are off while it runs.

So the shell itself can't tell afterwards: `set +e` changes nothing then. Read is what stands there as a command, also
in a function and behind `eval`; not what a subshell does, nor what a quoted text, a comment or a here-document holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LETTERS = {"errexit": "e", "verbose": "v"}
HERE_DOCUMENT = re.compile(r"<<-?\s*\\?(['\"]?)(\w+)\1")
TOKEN = re.compile(
    r"(?P<comment>(?<![^\s;&|(])\#[^\n]*)"
    r"|(?P<word>(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s;&|()<>'\"\\])+)"
    r"|(?P<between>[;&|()\n])",
    re.DOTALL,
)
QUOTED = re.compile(r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)", re.DOTALL)
IN_FRONT = re.compile(r"\w+=.*|[{!]|if|then|elif|else|while|until|do|builtin|command", re.DOTALL)


def turned_off(script: str) -> set[str]:
    """Return the letters of the options, of `e` and `v`, that are off behind a command for what it did itself."""
    off: set[str] = set()
    for words in _commands(_without_here_documents(script)):
        name, arguments = words[0], words[1:]
        if name == "eval":
            off |= turned_off(" ".join(arguments))
        for option, on in _changes(name, arguments):
            plain = option.lower().replace("_", "")
            letter = plain if plain in ("e", "v") else LETTERS.get(plain.removeprefix("no"), "")
            if letter and on != plain.startswith("no"):
                off.discard(letter)
            elif letter:
                off.add(letter)
    return off


def _without_here_documents(script: str) -> str:
    lines = script.split("\n")
    ends = {line.lstrip("\t") for line in lines}
    kept: list[str] = []
    waited: list[str] = []
    for line in lines:
        if waited:
            waited = waited[1:] if line.lstrip("\t") == waited[0] else waited
            continue
        kept.append(line)
        waited = [found[2] for found in HERE_DOCUMENT.finditer(line) if found[2] in ends]
    return "\n".join(kept)


def _commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of the shell itself, without what may stand in front of its name."""
    words: list[str] = []
    depth = 0
    for token in [*TOKEN.finditer(script), None]:
        if token is not None and (word := token["word"]):
            if not depth and (words or not IN_FRONT.fullmatch(word)):
                words.append(QUOTED.sub(lambda found: found[1] or found[2] or found[3] or "", word))
        elif token is None or token["between"]:
            if words:
                yield words
                words = []
            between = token["between"] if token else ""
            depth = max(0, depth + (between == "(") - (between == ")"))


def _changes(name: str, arguments: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield the letter or the name of each option that a command sets, and whether to on."""
    if name in ("setopt", "unsetopt"):
        yield from ((argument, name == "setopt") for argument in arguments)
    elif name == "shopt":
        flags = "".join(argument for argument in arguments if argument.startswith("-"))
        if "o" in flags and ("u" in flags or "s" in flags):
            yield from ((argument, "s" in flags) for argument in arguments if not argument.startswith("-"))
    elif name == "set":
        left = iter(arguments)
        for argument in left:
            if argument[:1] not in ("+", "-") or argument in ("-", "--"):
                return
            for letter in argument[1:]:
                yield (next(left, "") if letter == "o" else letter), argument[0] == "-"

"""Where a value stands in shell text, so that it can be quoted for that place; and the quoting itself.

The scanner knows quotes, comments, here-documents and the kinds of substitution of POSIX shells and bash. It need not
understand all of a shell: where it is not sure, it refuses, and a step can always read an environment variable.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

_BLANKS = frozenset(" \t\n;|&()")
_WORD_STARTS = _BLANKS | frozenset("<>=")
_FRESH = "fresh quote"  # stands for the character before, right behind a quote that was opened at the start of a word
_HEREDOC = re.compile(r"<<(-?)[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\[^\n]|[^\s;|&<>()'\"\\`])+)(?=[\s;|&<>()])")
_CASE = re.compile(r"case\s")
# What reads its words once more, as code or as arithmetic, where our quotes are gone.
_FIRST = r"(?:^|\s(?:then|do|else)\s)\s*"
_AS_NAME = "as the name of a variable"
_AS_NUMBER = "as a number to compare, which zsh and ksh evaluate"
_READS_AGAIN = (
    (re.compile(r"(?:^|\s)(?:eval|trap|let)\s"), "in words that are read as code again"),
    (
        re.compile(r"(?:^|[\s/])(?:(?:ba|da|z|k|c|tc|fi)?sh|su|python[0-9.]*)\s(?:.*\s)?-[A-Za-z]*c\s+\S*$"),
        "in code for -c",
    ),
    (re.compile(r"(?:^|[\s/])(?:perl|ruby|node)\s(?:.*\s)?-[A-Za-z]*e\s+\S*$"), "in code for -e"),
    (re.compile(r"(?:^|\s)\[\[\s(?!.*\s\]\])"), "inside [[ … ]], which evaluates arithmetic"),
    (re.compile(r"\w\[[^\]\s]*$"), "as the subscript of an array, which is arithmetic"),
    (re.compile(_FIRST + r"(?:export|declare|typeset|local|readonly|unset|read|getopts)\s(?:.*\s)?[^\s=]*$"), _AS_NAME),
    (re.compile(_FIRST + r"(?:declare|typeset|local|integer)\s(?:.*\s)?-\w*i"), "as an integer, which is arithmetic"),
    (re.compile(r"(?:^|\s)(?:test|\[|printf)\s(?:.*\s)?-v\s+\S*$"), _AS_NAME),
    (re.compile(r"\s-(?:eq|ne|lt|le|gt|ge)\s+\S*$"), _AS_NUMBER),
)
_COMPARED = re.compile(r"[^\s;|&]*\s+-(?:eq|ne|lt|le|gt|ge)\s")
_INSIDE = {
    "`": "inside `…`",
    "$'": "inside $'…'",
    "((": "inside arithmetic",
    "{": "inside ${…}",
    "#": "inside a comment",
    "<<": "inside a here-document",
}
_QUOTE = re.compile(r"([\\'])")


class ShellPlace(NamedTuple):
    """Say how a value stands: inside which `quotes`, whether it `starts_word`, and why it is refused (or "")."""

    quotes: Literal["", "'", '"']
    starts_word: bool
    refusal: str


def quote(value: str) -> str:
    """Return shell text that means `value` as one word, in sh, bash, zsh and fish alike.

    Backslashes and single quotes stand outside the single quotes, because fish gives them a meaning inside.
    """
    parts = [f"\\{part}" if part in ("\\", "'") else f"'{part}'" for part in _QUOTE.split(value) if part]
    return "".join(parts) or "''"


def scan_shell(literals: Sequence[str]) -> tuple[ShellPlace, ...]:
    """Return the place of the value behind each literal but the last."""
    scanner = _Scanner()
    places: list[ShellPlace] = []
    for literal, behind in itertools.pairwise(literals):
        scanner.read(literal)
        place = scanner.place()
        places.append(place._replace(refusal=_AS_NUMBER) if not place.refusal and _COMPARED.match(behind) else place)
        scanner.skip_value()
    return tuple(places)


class _Scanner:
    """Follow shell text from left to right.

    `stack` holds what is open, the innermost last: `'`, `"`, `` ` ``, `$'`, `(`, `((`, `{` (of `${`), `#` (a comment)
    and `<<` (the body of a here-document).
    """

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.before = "\n"  # the character before, "" behind a value
        self.escaped = False
        self.command = ""  # the simple command under way, as far as it is literal; Q stands for a quoted part
        self.heredocs: list[tuple[str, bool]] = []  # those announced: delimiter, and whether tabs are stripped
        self.line = ""  # the line under way of a here-document
        self.unsure = ""

    @property
    def top(self) -> str:
        return self.stack[-1] if self.stack else ""

    def place(self) -> ShellPlace:
        quotes: Literal["", "'", '"'] = "'" if self.top == "'" else '"' if self.top == '"' else ""
        starts = self.before == _FRESH if quotes else self.before in _WORD_STARTS
        return ShellPlace(quotes, starts, self._refusal())

    def _refusal(self) -> str:
        inside = next((_INSIDE[kind] for kind in reversed(self.stack) if kind in _INSIDE), "")
        if inside or self.unsure:
            return inside or self.unsure
        if self.escaped:
            return "behind a backslash"
        if self.before == "$" and self.top != "'":
            return "behind a dollar sign"
        return next((why for pattern, why in _READS_AGAIN if pattern.search(self.command)), "")

    def skip_value(self) -> None:
        self.before = ""
        if not self.top:
            self.command += "_"

    def read(self, text: str) -> None:
        at = 0
        while at < len(text):
            at += self._step(text, at)

    def _step(self, text: str, at: int) -> int:
        """Take in what stands at `at`; return how many characters that was."""
        char, top = text[at], self.top
        if top == "<<":
            return self._heredoc_character(char)
        if top == "#":
            return self._comment_character(char)
        if self.escaped:
            self.escaped = False
            if top == "$'" and char == "'":
                self.unsure = "behind a \\' in $'…', where shells differ"
            return self._ordinary("\\")
        if char == "\\" and top != "'":
            self.escaped = True
            return 1
        if top in ("'", "$'", "`"):
            return self._close(char) if char == top[-1] else self._ordinary(char)
        if char == "`":
            return self._open("`")
        if char == "$":
            return self._dollar(text, at)
        if char == '"':
            return self._close(char) if top == '"' else self._open_double()
        return self._ordinary(char) if top == '"' else self._unquoted(text, at)

    def _ordinary(self, char: str) -> int:
        self.before = char
        if self.top in ("", "("):
            self.command += char
        return 1

    def _open(self, kind: str, length: int = 1) -> int:
        self.stack.append(kind)
        if kind == "(":
            self.command = ""
        self.before = "\n"
        return length

    def _open_double(self) -> int:
        fresh = self.before in _WORD_STARTS
        self.stack.append('"')
        self.before = _FRESH if fresh else '"'
        return 1

    def _close(self, char: str, length: int = 1) -> int:
        self.stack.pop()
        self.before = char
        self.command += "Q"
        return length

    def _dollar(self, text: str, at: int) -> int:
        if text.startswith("$((", at):
            return self._open("((", 3)
        if text.startswith("$(", at):
            return self._open("(", 2)
        if text.startswith("${", at):
            return self._open("{", 2)
        if text.startswith("$'", at) and self.top != '"':
            if self.top == "{":
                self.unsure = "behind a quote inside ${…}"
            return self._open("$'", 2)
        return self._ordinary("$")

    def _unquoted(self, text: str, at: int) -> int:
        char, top = text[at], self.top
        if char == "'":
            if top == "{" and '"' in self.stack:  # shells differ on whether this is a quote
                self.unsure = "behind a quote inside ${…}"
            return self._open("'")
        if top == "{":
            return self._close(char) if char == "}" else self._ordinary(char)
        if top == "((":
            return self._arithmetic(text, at)
        if char == "#" and self.before in _BLANKS:
            return self._open("#")
        if text.startswith("<<", at):
            return self._announce(text, at)
        if text.startswith("((", at) and self.before in _BLANKS:
            return self._open("((", 2)
        if char == "(":
            return self._open("(")
        if char == ")" and top == "(":
            return self._close(char)
        if '"' in self.stack and self.before in _BLANKS and _CASE.match(text, at):
            self.unsure = "behind a case inside $(…)"  # its patterns hold brackets that close nothing
        return self._newline() if char == "\n" else self._separator(char) if char in ";|&" else self._ordinary(char)

    def _arithmetic(self, text: str, at: int) -> int:
        if text.startswith("))", at):
            return self._close(")", 2)
        if text[at] == "(":
            return self._open("(")
        if text[at] == ")":  # it was a subshell in a subshell after all
            self.stack[-1] = "("
            return self._close(")")
        return self._ordinary(text[at])

    def _separator(self, char: str) -> int:
        self.command, self.before = "", char
        return 1

    def _comment_character(self, char: str) -> int:
        if char == "\n":
            self.stack.pop()
            return self._newline()
        return 1

    def _announce(self, text: str, at: int) -> int:
        if text.startswith("<<<", at):
            self.before = "<"
            return 3
        found = _HEREDOC.match(text, at)
        if found is None:
            self.unsure = "behind a here-document whose delimiter is not clear"
            return 2
        self.heredocs.append((re.sub(r"['\"\\]", "", found[2]), found[1] == "-"))
        self.before = "<"
        return found.end() - at

    def _newline(self) -> int:
        if self.heredocs:
            self.stack.append("<<")
            self.line = ""
        return self._separator("\n")

    def _heredoc_character(self, char: str) -> int:
        if char != "\n":
            self.line += char
            return 1
        delimiter, tabs_stripped = self.heredocs[0]
        if (self.line.lstrip("\t") if tabs_stripped else self.line) == delimiter:
            self.heredocs.pop(0)
            if not self.heredocs:
                self.stack.pop()
        self.line = ""
        return 1

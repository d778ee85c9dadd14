"""The programs that a script calls, with their words: enough to see what it plainly does, not all that it may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from os.path import basename

_TOKEN = re.compile(
    r"""(?P<joined>\\\n) | (?P<blank>[ \t\r]+) | (?P<comment>(?<![^\s;&|()])\#[^\n]*)
    | <<-?[ \t]*(?P<here>'[^'\n]*'|"[^"\n]*"|\\?[\w.-]+)
    | (?P<plain>[<>]&|&>|<<<) | (?P<end>\$\(|[;&|()`\n])
    | \$?'(?P<single>[^']*)' | "(?P<double>(?:\\.|[^"\\])*)" | \\(?P<escaped>.)
    | (?P<other>[^\s\\'";&|()`$<>#]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_SUBSTITUTION = re.compile(r"\$\(([^()]*)|`([^`]*)")
_ASSIGNMENT = re.compile(r"\w+\+?=")
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "eval", "su"))
_TAKE_SHELL_TEXT = _SHELLS | {"trap", "watch"}
# What is followed by a command, maybe behind options of its own.
_WRAPPERS = "sudo doas env exec nohup command builtin time timeout nice setsid stdbuf xargs flock find coproc"
_KEYWORDS = "if then elif else do while until ! {"
_BEFORE_A_COMMAND = frozenset(f"{_WRAPPERS} {_KEYWORDS}".split())


def programs_in(script: str, wanted: str) -> Iterator[list[str]]:
    """Yield the words of each simple command that calls `wanted`, also within substitutions and `sh -c`.

    Quotes are taken away and variables left as they are. A here-document counts where a shell reads it.
    """
    words, word, line = list[str](), None, list[str]()
    here: list[str] = []
    at = 0
    while match := _TOKEN.match(script, at):
        at = match.end()
        kind = match.lastgroup
        if kind in ("blank", "end", "comment") and word is not None:
            words, word = [*words, word], None
        if kind == "here":
            here.append(match["here"].strip("\\'\""))
        elif kind == "end":
            yield from _calls(words, wanted)
            words, line = [], [*line, *words]
            if match["end"] == "\n":
                body, at = _skip_bodies(script, at, here)
                if any(basename(w) in _SHELLS for w in line):
                    yield from programs_in(body, wanted)
                here, line = [], []
        elif kind not in ("blank", "comment", "joined"):
            if kind == "double":
                for inner in _SUBSTITUTION.finditer(match["double"]):
                    yield from programs_in(inner[1] or inner[2] or "", wanted)
            word = (word or "") + _text(match)
    yield from _calls([*words, *([] if word is None else [word])], wanted)


def _text(match: re.Match[str]) -> str:
    if match.lastgroup == "double":
        return re.sub(r'\\(?:\n|([\\"$`]))', r"\1", match["double"])
    return match[match.lastgroup or 0]


def _skip_bodies(script: str, at: int, delimiters: Sequence[str]) -> tuple[str, int]:
    """Return the here-documents that begin there, and where they end."""
    begin = at
    for delimiter in delimiters:
        end = re.compile(rf"^\t*{re.escape(delimiter)}$", re.MULTILINE).search(script, at)
        at = end.end() if end else len(script)
    return script[begin:at], at


def _calls(words: Sequence[str], wanted: str) -> Iterator[list[str]]:
    start = next((n for n, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
    called = list(words[start:])
    if called and basename(called[0]) in _BEFORE_A_COMMAND:
        known = (n for n, word in enumerate(called) if basename(word) in _TAKE_SHELL_TEXT or basename(word) == wanted)
        called = called[next(known, len(called)) :]
    name, rest = (basename(called[0]), called[1:]) if called else ("", [])
    if name == wanted:
        yield called
    elif name in _TAKE_SHELL_TEXT:
        joined = " ".join(rest)  # as eval and watch join them; the command of watch stands behind its options
        text = {"eval": joined, "watch": f"env {joined}"}.get(name, "\n".join(rest))
        yield from programs_in(text, wanted)

"""Whether a shell command's text could be incomplete or broken, so that checking it is worth a process."""

from __future__ import annotations

RISKY_CHARACTERS = frozenset("'\"`(){}\\\n;&|<[")
RISKY_WORDS = frozenset(
    [
        "if",
        "for",
        "while",
        "until",
        "case",
        "select",
        "do",
        "then",
        "else",
        "elif",
        "fi",
        "done",
        "esac",
        "function",
        "begin",
        "switch",
    ]
)


def worth_checking(script: str) -> bool:
    """Return whether a command has anything a syntax error can come from; a plain `uname -a` has not."""
    return not RISKY_CHARACTERS.isdisjoint(script) or not RISKY_WORDS.isdisjoint(script.split())

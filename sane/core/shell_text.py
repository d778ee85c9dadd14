"""Text that a login shell on another machine reads as one word, whatever shell it is.

`shlex.quote` leaves backslashes inside single quotes, which fish reads as escapes; here both `'` and a backslash stand
in double quotes, which sh, bash, dash, zsh and fish read alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sane.errors import UsageError

_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SPECIAL = re.compile(r"(['\\]+)")


def quote_word(text: str) -> str:
    """Return `text` as one word of shell. Raises UsageError on a NUL, which no word can hold."""
    if "\0" in text:
        raise UsageError("a NUL byte can't be part of a command, a path or a variable")
    if _SAFE.fullmatch(text):
        return text
    if not text:
        return "''"
    parts: list[str] = []
    for number, part in enumerate(_SPECIAL.split(text)):
        if part:
            parts.append('"' + part.replace("\\", "\\\\") + '"' if number % 2 else f"'{part}'")
    return "".join(parts)


def quote_path(path: str) -> str:
    """Return a path as one word: `~/` is the home there, and no path is taken for an option."""
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return '"$HOME"/' + quote_word(path[2:]) if path != "~/" else '"$HOME"/'
    return quote_word(path if path.startswith("/") else f"./{path}")


def quote_argv(argv: Sequence[str]) -> str:
    """Return a program and its arguments as one line of shell."""
    return " ".join(quote_word(word) for word in argv)


def exports(env: Mapping[str, str]) -> str:
    """Return what sets variables before a script, in the script's first line, so that line numbers stay its own.

    Raises UsageError on a variable name that no shell takes.
    """
    before = ""
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name}' is not a name for a variable", hint="Use letters, digits and underscores.")
        before += f"export {name}={quote_word(value)}; "
    return before

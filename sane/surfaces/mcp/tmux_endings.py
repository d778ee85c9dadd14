"""What a script plainly ends, or types into, in tmux; its command line is read by tmux's own rules (3.3a)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from os.path import basename, realpath
from typing import NamedTuple

from sane.surfaces.mcp.shell_words import programs_in

_SERVER_OPTIONS = "cfLST"  # those of tmux itself that take a value


class _Ends(NamedTuple):
    """Describe a command that ends panes: `takes` are its options with a value; `only` the one without it does not."""

    name: str
    alias: str
    scope: str
    takes: str
    only: str = ""


_ENDS = (
    _Ends("kill-server", "", "server", ""),
    _Ends("kill-session", "", "s", "t"),
    _Ends("kill-window", "killw", "w", "t"),
    _Ends("kill-pane", "killp", "p", "t"),
    _Ends("respawn-pane", "respawnp", "p", "cet", "k"),
    _Ends("respawn-window", "respawnw", "w", "cet", "k"),
    _Ends("unlink-window", "unlinkw", "w", "t", "k"),
    _Ends("new-window", "neww", "w", "ceFnt", "k"),  # this and the next two: the window whose place they take
    _Ends("link-window", "linkw", "w", "st", "k"),
    _Ends("move-window", "movew", "w", "st", "k"),
    _Ends("send-keys", "send", "p", "cNt"),
    _Ends("paste-buffer", "pasteb", "p", "bst"),
    _Ends("pipe-pane", "pipep", "p", "t", "I"),
)
_PLACES_NEW = ("new-window", "link-window", "move-window")
_START = "new-session new new-window neww split-window splitw respawn-pane respawnp respawn-window respawnw"
_TAKE_SHELL_TEXT = frozenset(f"{_START} run-shell run if-shell if pipe-pane pipep display-popup popup".split())
_TAKE_COMMANDS = frozenset(("if-shell", "if", "confirm-before", "confirm"))
_OTHER_ALIASES = ("new",)  # of new-session, which else would be read as the beginning of another name
_TYPED = {"enter": "\n", "kpenter": "\n", "c-m": "\n", "c-j": "\n", "c-c": "\n", "c-u": "\n", "space": " ", "tab": "\t"}
_NAMED_KEY = re.compile(r"(?:[CMS]-)+\S+|\^\S|F\d+|Up|Down|Left|Right|Home|End|[PN]Page|Page(?:Up|Down)|Escape", re.I)


class Ending(NamedTuple):
    """Tell what a tmux command ends or types into: `scope` server, s, w or p; `others`: all but the target."""

    verb: str
    scope: str
    target: str | None
    others: bool


def endings_in(script: str, own_socket: str = "") -> Iterator[Ending]:
    """Yield the commands of a script by which the own tmux server ends a pane or more, or types into one."""
    for words in programs_in(script, "tmux"):
        options, rest = _options(words[1:], _SERVER_OPTIONS)
        if _is_own_server(options, own_socket):
            for command in _commands(rest):
                yield from _endings_of(command, own_socket)


def typed_text(keys: Sequence[str], *, literal: bool = False) -> str:
    """Return the text that keys type: tmux joins them without a blank."""
    text = ""
    for key in keys:
        if literal or not (key.lower() in _TYPED or key.lower() == "bspace" or _NAMED_KEY.fullmatch(key)):
            text += key
        else:
            text = text[:-1] if key.lower() == "bspace" else text + _TYPED.get(key.lower(), "")
    return text


def _options(words: Sequence[str], takes: str) -> tuple[dict[str, str], list[str]]:
    """Return options and the other words, as getopt reads them: `-kt vic`, `-t%3`."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        letters = rest.pop(0)[1:]
        if letters == "-":
            break
        for place, letter in enumerate(letters, 1):
            if letter not in takes:
                found[letter] = ""
                continue
            found[letter] = letters[place:] or (rest.pop(0) if rest else "")
            break
    return found, rest


def _is_own_server(options: dict[str, str], own_socket: str) -> bool:
    if "S" in options:
        path = options["S"]
        return "$" in path or (bool(own_socket) and realpath(path) == realpath(own_socket))
    name = options.get("L")
    return name is None or "$" in name or name == (basename(own_socket) or "default")


def _commands(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the commands of tmux's command line: a `;` at the end of a word parts two, `\\;` is a semicolon."""
    command: list[str] = []
    for word in words:
        is_end = word.endswith(";") and not word.endswith("\\;")
        word = word[:-1] if is_end else f"{word[:-2]};" if word.endswith("\\;") else word
        if word or not is_end:
            command.append(word)
        if is_end:
            yield command
            command = []
    yield command


def _endings_of(command: Sequence[str], own_socket: str) -> Iterator[Ending]:
    verb, words = (command[0], command[1:]) if command else ("", ())
    for known in _ENDS:
        # A name may be cut as long as it is clear which is meant; one that is not ends nothing, and is no loss.
        if verb and (verb == known.alias or (known.name.startswith(verb) and verb not in _OTHER_ALIASES)):
            options, rest = _options(words, known.takes)
            target = options.get("t")
            if known.name == "send-keys":
                yield from endings_in(typed_text(rest, literal="l" in options), own_socket)
            if known.only not in ("", *options) or (known.name == "kill-session" and "C" in options):
                continue
            if target is not None or known.name not in _PLACES_NEW:
                yield Ending(verb, known.scope, target, "a" in options and verb.startswith("kill"))
    takes_commands = verb in _TAKE_COMMANDS or (verb in ("run-shell", "run") and "C" in _options(words, "cdt")[0])
    for word in words:
        if verb in _TAKE_SHELL_TEXT:
            yield from endings_in(word, own_socket)
        if takes_commands and not word.startswith("-"):
            yield from endings_in(f"tmux {word}", own_socket)

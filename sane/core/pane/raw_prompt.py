"""The prompts of interpreters and network devices: which one waits, and whether output ends in one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from sane.core.pane.prompt_line import device_name, repl_name

# kind -> (its prompt, what it shows while a statement is unfinished). Blanks at the end are taken off before.
PROMPTS: dict[str, tuple[str, str]] = {
    "python": (r">>>|In \[\d+\]:|\(Pdb(\+\+)?\)|ipdb>", r"\.\.\.|\s+\.\.\.:"),
    "node": (r">", r"\.\.\.|\|"),
    "psql": (r"[\w.-]+[=^!@][*!?]?[#>]", r"[\w.-]+[-'\"($*][*!?]?[#>]"),
    "mysql": (r"mysql>|MariaDB \[[^\]]*\]>", r"\s*[-'\"`/][*]?>"),
    "sqlite": (r"sqlite>", r"\s*\.\.\.>|\s*[(x'\"]\d*\.*>"),
    "irb": (r"irb\(.*\):\d+(:\d+)?>", r"irb\(.*\):\d+(:\d+)?[*'\"]"),
    "gdb": (r"\(gdb\)", r">"),
    "ghci": (r"(ghci|Prelude|[A-Z*][\w. *]*)>", r"(ghci|Prelude|[A-Z*][\w. *]*)\|"),
    "redis": (r"[\w.-]+:\d+(\[\d+\])?(\(TX\))?>|not connected>", r"(?!)"),
    "ftp": (r"ftp>", r"(?!)"),
    "telnet": (r"telnet>", r"(?!)"),
    "cisco": (r"[\w.-]+(\([\w./ -]+\))?[>#]", r"(?!)"),
    "juniper": (r"[\w.-]+@[\w.-]+[>#%]", r"(?!)"),
}
# Prompts that can belong to one program only, whatever runs in the foreground.
UNMISTAKABLE = ("python", "mysql", "sqlite", "irb", "gdb", "ftp", "telnet", "psql")
BLANK_LINE_ENDS = frozenset({"python"})  # a block is ended by an empty line there
DEVICES = frozenset({"cisco", "juniper"})

MORE = re.compile(r"(?i)-{2,} ?\(?more\b[^a-zA-Z]{0,16}|<-+ ?more ?-+>|\(more\)")
QUESTION = re.compile(
    r"(?i).*(\[confirm\]|\[(yes/no|y/n)\]:?|\((yes/no|y/n)\)\??:?|\[[\w/.:-]*\]\s?\?|(password|username|passphrase|login)[^:\n]{0,60}:)\s*"
)
NEXT_PAGE = " "

Way = Literal["prompt", "left", "question", "pager", "late", "gone"]

NOTES = {
    "question": "it asks something ('{line}'): answer it with sane-send-keys",
    "pager": "its output went to a full-screen program, ended with q: turn the pager off",
    "unfinished": "it waits for the rest of the statement ('{line}'): that was cancelled with Ctrl-C",
    "left": "{kind} was left: what waits there now is another program",
}


class RawPrompt(NamedTuple):
    """Describe a prompt that waits: whose it is, its text, and whether it waits for the rest of a statement."""

    kind: str
    text: str
    unfinished: bool


class Ending(NamedTuple):
    """Say how a typed line ended, the line on the screen then, and the prompt that is back."""

    way: Way
    line: str
    prompt: RawPrompt | None = None


def raw_prompt(before: str, program: str, lines: Iterable[str]) -> RawPrompt | None:
    """Return the prompt that a cursor line shows with nothing typed behind it; None when none that is known."""
    text = before.rstrip()
    if not text or len(before) - len(text) > 1:
        return None
    own = repl_name(program, "")
    kinds = [kind for kind in ([own] if own in PROMPTS else []) if kind]
    device = device_name(before, lines)
    kinds += [device] if device else []
    for kind in [*kinds, *UNMISTAKABLE]:
        found = match_prompt(kind, before)
        if found is not None and (kind == own or not found.unfinished):
            return found
    return None


def match_prompt(kind: str, line: str) -> RawPrompt | None:
    """Return the prompt of one kind that a line is, as a whole; None when it is not one."""
    primary, unfinished = PROMPTS[kind]
    text = line.rstrip()
    if kind == "python" and text.endswith(">>>") and not text.startswith((">>>", "...")):
        return RawPrompt(kind, ">>>", False)  # behind output that ended without a newline
    if re.fullmatch(primary, text):
        return RawPrompt(kind, text, False)
    return RawPrompt(kind, text, True) if re.fullmatch(unfinished, text) else None


def ends_in_prompt(prompt: RawPrompt, line: str) -> str | None:
    """Return what stands before the prompt on a line that ends in the very same one; None when it does not."""
    if len(line) - len(line.rstrip()) > 1 or not line.rstrip().endswith(prompt.text):
        return None
    head = line.rstrip()[: -len(prompt.text)]
    # `switch1>` does not end in the prompt `1>`; output without a newline is only told from it where the prompt begins
    # with what no word ends in.
    return head if not head or not prompt.text[0].isalnum() else None


def asks_for_more(line: str) -> bool:
    """Return whether a pager waits behind this line (`--More--`, `---(more 40%)---`)."""
    return MORE.fullmatch(line.strip()) is not None


def asks_question(line: str) -> bool:
    """Return whether a line asks a person something: a password, a confirmation."""
    return QUESTION.fullmatch(line) is not None


def typed_lines(script: str) -> list[str]:
    """Return the lines to type, empty ones at the end left out; tabs, at which an editor completes, become blanks."""
    lines = [line.rstrip("\r").replace("\t", "    ") for line in script.split("\n")]
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return lines

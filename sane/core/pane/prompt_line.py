"""Tell from a pane's cursor line whether a shell waits there with nothing typed yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

LineKind = Literal["prompt", "empty", "continuation", "repl", "unknown"]

PROMPT_ENDS = frozenset("$#%>❯➜λ»›✗→⟩▶⮞\ue0b0\ue0b4\ue0bc")
# What bash, zsh and ksh show while a quote, a here-document or a block is still open.
CONTINUATION_WORDS = frozenset(
    [
        "",
        "quote",
        "dquote",
        "bquote",
        "heredoc",
        "heredocd",
        "cmdsubst",
        "cmdand",
        "cmdor",
        "pipe",
        "for",
        "while",
        "until",
        "if",
        "then",
        "else",
        "elif",
        "function",
        "subsh",
        "braceparam",
        "mathsubst",
        "select",
        "case",
        "repeat",
        "cursh",
        "foreach",
    ]
)
REPL_PROMPTS = {
    ">>>": "python",
    "...": "python",
    "In": "python",
    "mysql>": "mysql",
    "MariaDB": "mysql",
    "sqlite>": "sqlite",
    "irb(main)": "irb",
    "ftp>": "ftp",
    "telnet>": "telnet",
    "(gdb)": "gdb",
    "(Pdb)": "python",
}
SHELLS = frozenset(["bash", "zsh", "sh", "dash", "ash", "fish", "ksh", "mksh", "oksh", "yash", "busybox", "rbash"])
REPLS = {
    "python": "python",
    "ipython": "python",
    "node": "node",
    "psql": "psql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite3": "sqlite",
    "irb": "irb",
    "ghci": "ghci",
    "redis-cli": "redis",
    "gdb": "gdb",
    "bc": "bc",
    "ftp": "ftp",
    "vtysh": "cisco",
}
# Programs behind which a shell prompt may well be: the screen decides.
CARRIERS = frozenset(
    [
        "ssh",
        "mosh",
        "mosh-client",
        "tmux",
        "tmux:client",
        "screen",
        "docker",
        "podman",
        "kubectl",
        "su",
        "sudo",
        "doas",
        "machinectl",
        "nsenter",
        "chroot",
        "lxc",
        "incus",
        "login",
        "telnet",
        "et",
        "slogin",
        "autossh",
        "script",
        "expect",
        "sshpass",
        "env",
        "unshare",
        "systemd-run",
        "runuser",
    ]
)


def split_at(line: str, column: int) -> tuple[str, str]:
    """Return the text of a screen line before and behind a cursor column (in cells); trailing blanks are made up
    for."""
    if line.isascii():
        return line[:column].ljust(column), line[column:].rstrip()
    cells = 0
    for index, char in enumerate(line):
        if cells >= column:
            return line[:index], line[index:].rstrip()
        cells += cells_of(char)
    return line + " " * max(0, column - cells), ""


def cells_of(text: str) -> int:
    """Return how many cells of a screen's row a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def classify_line(before: str, behind: str) -> LineKind:
    """Return what the cursor line looks like: `before` and `behind` are its text on each side of the cursor."""
    text = before.rstrip()
    if not text:
        return "empty"
    if text.split(" ")[0] in REPL_PROMPTS or text.endswith(">>>") or _is_sql_prompt(text):
        return "repl"
    if text.endswith(">") and {word.rstrip(">") for word in text.split(" ")} <= CONTINUATION_WORDS:
        return "continuation"
    # Text behind the cursor: a right prompt stands apart from it, half a line of somebody's does not.
    if text[-1] in PROMPT_ENDS and len(before) - len(text) <= 2 and (not behind or behind.startswith("  ")):
        return "prompt"
    return "unknown"


def stands_behind_prompt(before: str) -> bool:
    """Return whether text stands behind what is a prompt by itself (`$ later`)."""
    return any(mark in before.rstrip() for mark in ("$ ", "# ", "% ", "> "))


def asks_person(before: str) -> bool:
    """Return whether a line is an editor's or a program's question, or a search of the history: keys have a meaning
    there."""
    text = before.strip().lower()
    return text.endswith(("?", "/n]", "(y or n)", "(end)")) or "-search" in text or text.startswith("(arg:")


def may_be_prompt(before: str, above: str, lines: Iterable[str], remembered: str) -> bool:
    """Return whether a line that is no ordinary prompt may be an unusual one, or what something printed behind one.

    Not the prompt for the rest of a command, which has no words of its own, or looks like no prompt that was there.
    `above` is the line above, `lines` are all others, `remembered` is the last prompt at which a shell answered.
    """
    text = before.rstrip()
    if _continues(text or above):
        return False
    lines = list(lines)
    if not text or not lines or stands_behind_prompt(text):
        return True
    words = "".join(c if c.isalnum() or c in "/~" else " " for c in text).split()
    if not words or all(word in CONTINUATION_WORDS for word in words):
        return False
    known = [line for line in (remembered, *lines) if line.strip()]
    if any(_first_word(line) == _first_word(text) for line in known):
        return True
    if remembered:
        return text[-1] == remembered[-1] and not text[-1].isalnum()
    return not any(stands_behind_prompt(line) for line in known)


def may_be_longer(before: str, remembered: str) -> bool:
    """Return whether a line that ends as prompts do may be a prompt and more (`$ echo 50 %`)."""
    return stands_behind_prompt(before) or bool(remembered and before.startswith(remembered))


def may_be_covered(before: str, above: str) -> bool:
    """Return whether something may have printed over an ordinary prompt: behind it, or to the end of its line."""
    text = before.rstrip()
    return not _continues(text or above) and (not text or stands_behind_prompt(text))


def _continues(line: str) -> bool:
    """Return whether a line begins with a prompt for the rest of a command."""
    first, mark, _ = line.partition("> ")
    return (bool(mark) or first.endswith(">")) and first.rstrip(">") in CONTINUATION_WORDS


def _first_word(line: str) -> str:
    """Return a line's first word, all paths and all numbers being alike."""
    word = line.split()[0]
    return "/" if word[0] in "/~" else "".join("0" if c.isdigit() else c for c in word)


def _is_sql_prompt(text: str) -> bool:
    name, mode = text[:-1].rstrip("*!?"), text[-1:]
    return mode in "#>" and name[-1:] in tuple("=-'\"($^") and name[:-1].replace("_", "").isalnum()


def repl_name(command: str, before: str) -> str | None:
    """Return which interactive interpreter a pane shows, by its foreground program, else by its prompt; None for
    none."""
    program = command.rstrip("0123456789.") if command.startswith("python") else command
    if program in REPLS:
        return REPLS[program]
    word = before.strip().split(" ")[0]
    if word in REPL_PROMPTS:
        return REPL_PROMPTS[word]
    return "psql" if _is_sql_prompt(before.rstrip()) else None


def device_name(before: str, lines: Iterable[str]) -> str | None:
    """Return which network device's command line a prompt looks like: cisco, juniper or None.

    `Router>` and `Router(config)#` are Cisco's, `user@router>` is Juniper's. `Router#` and `user@router#` alone could
    be a shell's, so the screen must speak of the device too: by its words, or by the same name in a device's prompt.
    """
    text = before.strip()
    if (
        not text
        or " " in text
        or text in REPL_PROMPTS
        or text[-1] not in "#>"
        or len(before) - len(before.rstrip()) > 1
    ):
        return None
    name, sure = text[:-1], text[-1] == ">"
    shown = [line.strip() for line in lines]
    if "@" in name:
        user, _, host = name.partition("@")
        if not _is_host_name(user) or not _is_host_name(host):
            return None
        spoke = any(line.startswith(("[edit", f"{name}>", "{master", "{primary")) for line in shown)
        return "juniper" if sure or spoke else None
    head, bracket, rest = name.partition("(")
    if not _is_host_name(head.removeprefix("RP/").replace("/", ".").replace(":", ".")):
        return None
    if bracket:
        return "cisco" if rest.startswith("config") and rest.endswith(")") else None
    spoke = any(word in line for line in shown for word in ("Cisco", "IOS", "% Invalid input", "User Access"))
    spoke = spoke or any(line.startswith((f"{name}>", f"{name}(config")) for line in shown)
    return "cisco" if sure or spoke or name.startswith("RP/") else None


def _is_host_name(text: str) -> bool:
    return bool(text) and text[0].isalnum() and all(c.isalnum() or c in "._-" for c in text)


def looks_like_status(line: str) -> bool:
    """Return whether a line looks like tmux's status line: `[session] 0:bash*`."""
    head, bracket, rest = line.partition("]")
    number, colon, _ = rest.strip().partition(":")
    return head.startswith("[") and bool(bracket) and bool(colon) and number.isdigit()

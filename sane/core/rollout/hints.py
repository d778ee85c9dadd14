"""What to do next about a step that failed, from its exit code and its last lines."""

from __future__ import annotations

import re

# The first that is found decides; the texts are those of strerror(3) and of shells.
_BY_OUTPUT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"No space left on device", re.I), "Free space on the host, then retry."),
    (re.compile(r"Disk quota exceeded", re.I), "Raise the user's quota on the host, then retry."),
    (re.compile(r"Read-only file system", re.I), "The host's file system is read-only: look at its disk, then retry."),
    (
        re.compile(r"Permission denied|Operation not permitted", re.I),
        "The user of the connection may not do that there.",
    ),
    (re.compile(r"command not found|: not found\b"), "A program that the step calls is not on the host's PATH."),
    (re.compile(r"No such file or directory|Not a directory", re.I), "A path the step names is not there: look at it."),
    (re.compile(r"Address already in use", re.I), "Another process has the port: `ss -ltnp` on the host shows it."),
    (re.compile(r"Connection refused", re.I), "What the step connects to does not listen."),
    (re.compile(r"Cannot allocate memory|Out of memory|Killed$", re.I | re.M), "The host is short of memory."),
)
_BY_CODE = {
    124: "It took longer than its timeout: raise the step's timeout, or find out what it waits for.",
    126: "What the step calls can't be executed: look at its mode.",
    127: "A program that the step calls is not on the host's PATH.",
    137: "It was killed (SIGKILL): often the host was short of memory.",
    143: "It was ended from outside (SIGTERM).",
}

_BY_VERDICT = {
    "pass": "It was healthy, yet not for min_healthy without a break: raise --healthy-deadline.",
    "wait": "It is still starting: raise --healthy-deadline, or look at its log.",
    "inconclusive": "What runs on the host doubts its own health: look at its log.",
    "fail": "What runs on the host says so itself: look at its log.",
    "unrecognised": "Write one of healthy, ok, passing as the status where it is well.",
    "missing": "Nothing has written the health file: look at health: path: in the workflow, and at the program's log.",
    "malformed": "Write the file whole: beside it first, then rename.",
    "stale": "Nothing has written the file again in this activation: look whether the program runs.",
    "version_mismatch": "The host still runs another version: look whether the switch started the new one.",
    "unreachable": "Look whether the host is up, and whether ssh gets there.",
}


# A rule that says more of what to do than its verdict.
_BY_RULE = {
    "gate": "A gate of the workflow does not pass: look at the values it names, or at the gate.",
    "beside": "The file is another version's: look whether stage starts the new one, and who writes this file.",
    "dead_man": "Deploy again with a dead_man that is longer than it takes to become healthy.",
}


def hint_for(exit_code: int | None, output: str) -> str:
    """Return one sentence on what to do next; "" where nothing particular can be said."""
    for pattern, hint in _BY_OUTPUT:
        if pattern.search(output):
            return hint
    return _BY_CODE.get(exit_code if exit_code is not None else -1, "")


def hint_for_health(verdict: str, host: str, key: str, rule: str = "", *, switched: bool = True) -> str:
    """Return what to do about a host whose health was not proven in time, by the last verdict on it and its rule.

    Without `switched` the version stands beside the old one, and nothing has turned to it yet.
    """
    if verdict == "version_mismatch" and not switched:
        rule = "beside"
    said = _BY_RULE.get(rule.partition(" ")[0]) or _BY_VERDICT.get(verdict, "")
    explain = f"`sane health explain {host} --key {key}` shows its words and every rule of proof."
    return f"{said} {explain}".strip()


def way_on(key: str, *, retried: bool) -> str:
    """Return what to do about a host of which nothing particular is known; a retry takes it only where `retried`."""
    return f"Mend the cause on the host, then{f': sane retry {key}' if retried else ' deploy again.'}"


def next_step(status: str, key: str) -> str:
    """Return the command for a deployment that waits for somebody, "" for one that does not."""
    words = {
        "awaiting_promotion": f"sane deployment promote {key} (or fail, cancel)",
        "paused": f"sane deployment resume {key} (or fail, cancel)",
        "interrupted": f"sane resume {key}",
    }
    return words.get(status, "")


def install_hint(extra: str) -> str:
    """Return how to install an extra: from the checkout, since the name alone may be another's in a package index."""
    return f"Install it in sane's checkout: .venv/bin/pip install -e '.[{extra}]'"

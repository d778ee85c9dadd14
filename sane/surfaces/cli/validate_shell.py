"""What the shell of this machine says of shell text, without running any of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sane.core.document import Node, Problems
from sane.core.workflow.steps import SHELL_ARGUMENTS
from sane.core.workflow.template import parse_template
from sane.core.workflow.workflow import PARTS
from sane.errors import ConfigError, Problem, UsageError

TIMEOUT_S = 10.0
WORD = "word"  # stands for each {{ name }}: a value is always one word, or part of one
_COMPLAINT = re.compile(r"[^:]*: (?:line )?(\d+): (.+)")


class Complaint(NamedTuple):
    """Hold what a shell says of a text, and the line of it, 0 where it names none."""

    line: int
    message: str


def check_script(file: Path, content: bytes) -> tuple[Problem, ...]:
    """Return what bash says of a script. Raises UsageError where there is no bash to ask."""
    try:
        said = _ask("bash", content)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"bash can't check {file}: {error}", hint="Install bash.") from None
    return tuple(Problem(each.message, str(file), each.line) for each in said)


def check_steps(root: Node, problems: Problems) -> None:
    """Record the first mistake in the shell text of each step; text that can't be checked here is let through.

    A host runs a step in bash, or in sh where it has none; so bash is asked, and sh only where there is no bash.
    """
    for node in _shell_texts(root):
        said = _complaint(node.text)
        if said is None:
            continue
        lines = node.text.split("\n")
        number = min(max(said.line, 1), len(lines)) - 1
        while number and not lines[number].strip():  # what ends too early is told of the line behind the last
            number -= 1
        hint = "Is a quote, a bracket, then/fi or do/done missing?" if "unexpected" in said.message else ""
        message = f"the shell can't read the command: {said.message}"
        problems.add(node, message, hint, offset=sum(len(line) + 1 for line in lines[:number]))


def _shell_texts(root: Node) -> Iterator[Node]:
    top = {key.text: value for key, value in root.entries}
    hooks = top.get("hooks")
    lists = [top[part] for part in PARTS if part in top]
    lists += [value for _, value in hooks.entries] if hooks else []
    for step in (step for steps in lists for step in steps.items):
        for key, value in step.entries:
            for verb, argument in SHELL_ARGUMENTS:
                given = {name.text: each for name, each in value.entries}.get(argument, value)
                if key.text == verb and given.kind == "scalar" and not given.is_null:
                    yield given


def _complaint(text: str) -> Complaint | None:
    try:
        content = WORD.join(parse_template(text).literals).encode()
    except (ConfigError, UnicodeEncodeError):
        return None
    for shell in ("bash", "sh"):
        try:
            said = _ask(shell, content)
        except (OSError, subprocess.TimeoutExpired):
            continue
        return said[0] if said else None
    return None


def _ask(shell: str, content: bytes) -> list[Complaint]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}  # its words are looked at
    done = subprocess.run(
        [shell, "-n"], input=content, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment
    )
    if not done.returncode:
        return []
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return [_read(line) for line in lines] or [Complaint(0, f"{shell} refuses it with status {done.returncode}")]


def _read(text: str) -> Complaint:
    """Return a shell's own complaint, `bash: line 3: syntax error…`, with its line apart."""
    found = _COMPLAINT.fullmatch(text)
    return Complaint(int(found[1]), found[2].strip()) if found else Complaint(0, text)

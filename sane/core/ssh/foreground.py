"""Which programs have a terminal's foreground, from the list of a machine's processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Run by sh: one process a line, as /proc/PID/stat where there is one, else as ps has it everywhere else.
LIST_PROCESSES = (
    "if [ -r /proc/self/stat ];then cat /proc/[0-9]*/stat 2>/dev/null;"
    "else ps -A -o pid= -o ppid= -o pgid= -o tpgid= -o tty= -o comm=;fi;:"
)


class Process(NamedTuple):
    """Describe one process; `foreground` is the process group that has its terminal's foreground."""

    pid: int
    parent: int
    group: int
    foreground: int
    terminal: str
    name: str


def parse_processes(text: str) -> list[Process]:
    """Return the processes in the output of LIST_PROCESSES; a line that is none is left out."""
    found = (_parse(line) for line in text.splitlines())
    return [process for process in found if process is not None]


def _parse(line: str) -> Process | None:
    pid, opening, rest = line.partition(" (")
    name, closing, rest = rest.rpartition(") ")
    try:
        if opening and closing and pid.isdigit():  # PID (NAME) STATE PPID PGRP SESSION TTY TPGID …
            _, parent, group, _, terminal, foreground = rest.split()[:6]
        else:
            pid, parent, group, foreground, terminal, name = line.split(None, 5)
        return Process(int(pid), int(parent), int(group), int(foreground), terminal, name.rpartition("/")[2])
    except ValueError:
        return None


def foreground_processes(processes: Iterable[Process], leader: int) -> Sequence[Process]:
    """Return the processes in the foreground of the terminal whose session `leader` leads, parents first.

    Those that they started on terminals of their own, as expect and script do, are among them; jobs in the background
    of either terminal are not.
    """
    processes = list(processes)
    first = next((process for process in processes if process.pid == leader), None)
    if first is None:
        return []
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    own = [p for p in processes if p.terminal == first.terminal and p.group == first.foreground]
    inherited = {process.pid for process in own}
    found = [process for process in own if process.parent not in inherited]
    for process in found:  # it grows meanwhile
        for child in children.get(process.pid, ()):
            if child.terminal != first.terminal or child.group == first.foreground:
                found.append(child)
    return [process for process in found if process.group == process.foreground]

"""Which processes have a terminal's foreground."""

from __future__ import annotations

from sane.core.ssh.foreground import Process, foreground_processes, parse_processes


def test_reads_proc_and_ps() -> None:
    assert parse_processes("7 (a) b (c) S 1 7 7 34816 9 4194560 1\nno process\n8 (half\n") == [
        Process(7, 1, 7, 9, "34816", "a) b (c")
    ]
    assert parse_processes("    7     1     7     9 ttys001  /usr/bin/ssh\n") == [Process(7, 1, 7, 9, "ttys001", "ssh")]


def names(*processes: Process) -> list[str]:
    return [process.name for process in foreground_processes(processes, 1)]


SHELL = Process(1, 0, 1, 2, "a", "bash")


def test_the_foreground_job_and_what_it_started() -> None:
    ssh = Process(3, 2, 2, 2, "a", "ssh")
    assert names(SHELL, ssh, Process(2, 1, 2, 2, "a", "sh"), Process(9, 1, 9, 2, "a", "make")) == ["sh", "ssh"]


def test_a_job_in_the_background_is_not_in_it() -> None:
    shell = Process(1, 0, 1, 1, "a", "bash")
    tunnel = Process(2, 1, 2, 1, "a", "ssh")
    inside = Process(3, 2, 3, 3, "b", "ssh")
    detached = Process(4, 1, 4, -1, "0", "ssh")
    assert names(shell, tunnel, inside, detached) == ["bash"]


def test_what_has_the_foreground_of_a_terminal_of_its_own_is() -> None:
    expect, inner = Process(2, 1, 2, 2, "a", "expect"), Process(3, 2, 3, 5, "b", "sh")
    there, behind = Process(5, 3, 5, 5, "b", "ssh"), Process(6, 3, 6, 5, "b", "sleep")
    assert names(SHELL, expect, inner, there, behind) == ["expect", "ssh"]


def test_a_pane_without_its_process_has_none() -> None:
    assert names(Process(2, 1, 2, 2, "a", "ssh")) == []

"""What a pane's output says besides the command's own words."""

from __future__ import annotations

import pytest

from sane.core.pane.script import code_of_shell, cut_at_interrupt, strip_job_notices

JOBS = {
    "one": (b"[1] 100\nout\n", "100", b"out\n"),
    "three": (b"[1] 100\na\n[2] 101\n[3] 102\nb\n", "102", b"a\nb\n"),
    "only the last ones are ours": (b"[1] 7\n[2] 100\n", "100", b""),
    "a later process can't come first": (b"[1] 900\n[2] 100\n", "100", b"[1] 900\n"),
    "output that looks like one": (b"[4] 4\n", "100", b"[4] 4\n"),
    "no job": (b"[1] 100\n", "", b"[1] 100\n"),
}


@pytest.mark.parametrize("case", JOBS)
def test_job_notices(case: str) -> None:
    output, last, left = JOBS[case]
    assert strip_job_notices(output, last) == left


def test_where_an_interrupted_output_ends() -> None:
    assert cut_at_interrupt(b"a\n^C\n$ ") == b"a\n"
    assert cut_at_interrupt(b"a ^C b\n^C\x1b]133;D;130\x07\x1b]133;A\x07$ ") == b"a ^C b\n"
    assert cut_at_interrupt(b"a\n\x1b]133;D;130\x07$ ") == b"a\n"
    assert code_of_shell(b"a\x1b]133;D;7\x07", 130) == 7
    assert code_of_shell(b"a\n^C\n$ ", 130) == 130

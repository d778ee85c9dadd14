"""The report for people: equal failures are one entry, with the end of one example and where all of it is."""

from __future__ import annotations

import io
from typing import Any

import pytest

from sane.surfaces.report import write_report


def failed(name: str, error: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": "failed",
        "step": "copy",
        "exit_code": 1,
        "error": error,
        "hint": "Mend it.",
        "output_tail": f"copying to {name}\n{error}\n",
        "output_file": f"/state/outputs/app-1/{name}/stage-copy-1.log",
    }


def test_equal_failures_fold_and_one_example_names_its_file() -> None:
    full, denied = "cp: No space left on device", "cp: Permission denied"
    hosts = [*(failed(f"web{number}", full) for number in range(1, 28)), failed("web28", denied)]
    fingerprints = [
        {"count": 27, "hosts": "web[1-27]", "message": full},
        {"count": 1, "hosts": "web28", "message": denied},
    ]
    report = {"key": "app", "version": "1", "revision": 1, "deployment": "app-1", "status": "failed"}
    stream = io.StringIO()
    write_report({**report, "counts": {"failed": 28}, "hosts": hosts, "fingerprints": fingerprints}, "table", stream)
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if full in line and "web[1-27]" in line]
    assert f"✗ web[1-27] (27) failed in step 'copy', exit code 1: {full}" in lines
    assert len([line for line in lines if line.strip().endswith(full)]) == 1  # the end of the example would repeat it
    assert [line.rpartition("/outputs/")[2] for line in lines if "all of it" in line] == [
        "app-1/web28/stage-copy-1.log",
        "app-1/web1/stage-copy-1.log",
    ]


def report_of(*hosts: dict[str, Any]) -> list[str]:
    report = {"key": "app", "version": "1", "revision": 1, "deployment": "app-1", "status": "partial"}
    stream = io.StringIO()
    write_report({**report, "counts": {"failed": 1}, "hosts": hosts, "fingerprints": []}, "table", stream)
    return stream.getvalue().splitlines()


def test_the_line_that_says_why_is_not_said_twice() -> None:
    one = {**failed("web1", "cp: No space left"), "output_tail": "cp: No space left\n"}
    assert len([line for line in report_of(one) if "cp: No space left" in line]) == 1


def test_one_empty_line_parts_the_hosts_from_the_table_and_the_table_from_the_sum() -> None:
    lines = report_of({"name": "web1", "status": "healthy"})
    assert [bool(line.strip()) for line in lines] == [True, False, True, True, True, False, True]


def test_a_host_with_the_new_version_beside_the_old_one_shows_the_old_one_and_says_so() -> None:
    reason = "2 stands beside it, and takes no traffic"
    health = {"status": "healthy", "version": "2", "verdict": "pass", "reason": reason}
    lines = report_of({"name": "web1", "status": "healthy", "version": "1", "health": health})
    assert lines[0] == f"✓ [web1] healthy: {reason}"
    assert next(line for line in lines if line.startswith("web1")).split()[:4] == ["web1", "✓", "healthy", "1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "styled"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_terminal_that_is_not_named_gets_no_colours(term: str, styled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM", raising=False)
    report = {"key": "app", "version": "1", "revision": 1, "deployment": "app-1", "status": "failed"}
    stream = Terminal()
    write_report({**report, "counts": {}, "hosts": [failed("web1", "no")], "fingerprints": []}, "table", stream)
    assert ("\x1b[" in stream.getvalue()) is styled


def test_hosts_with_nothing_to_go_back_to_that_failed_alike_say_so_in_one_line() -> None:
    hosts = [{**failed(f"web{n}", "cannot bind"), "status": "no_previous"} for n in (1, 2)]
    report = {"key": "app", "version": "1", "revision": 1, "deployment": "app-1", "status": "failed"}
    groups = [{"count": 2, "hosts": "web[1-2]", "message": "cannot bind"}]
    stream = io.StringIO()
    write_report({**report, "counts": {}, "hosts": hosts, "fingerprints": groups}, "table", stream)
    assert "✗ web[1-2] (2) nothing to go back to; failed in step 'copy', exit code 1: cannot bind" in stream.getvalue()


def test_a_long_line_is_broken_between_words_inside_its_gutter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    words = " ".join(f"word{number}" for number in range(40))
    one = {**failed("web1", words), "output_tail": f"begun {words}\nend\n", "hint": words}
    report = {"key": "app", "version": "1", "revision": 1, "deployment": "app-1", "status": "failed"}
    stream = Terminal()
    write_report({**report, "counts": {}, "hosts": [one], "fingerprints": []}, "table", stream)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    tail = [line for line in lines if line.startswith("    │ ")]
    assert " ".join(line.removeprefix("    │ ") for line in tail[:-2]).split() == ["begun", *words.split()]
    assert "word39" in "".join(line for line in lines if line.startswith(("✗", "  w")))


def test_the_version_is_told_where_there_is_no_health_to_read_it_from() -> None:
    lines = report_of({"name": "web1", "status": "healthy", "version": "2.1", "health": {"version": None}})
    assert [line for line in lines if line.split()[:1] == ["web1"] and "2.1" in line.split()]

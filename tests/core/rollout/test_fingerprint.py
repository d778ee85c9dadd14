"""Equal failures fold, different ones do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.rollout.fingerprint import Failure, fingerprint, group_failures


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("connect to web4 port 22: refused", "connect to web18 port 22: refused"),
        ("2026-01-02T03:04:05.6Z disk full", "2026-11-12 13:14:15 disk full"),
        ("Jan  2 03:04:05 cron[12]: died", "Dec 30 13:14:15 cron[4711]: died"),
        ("at 10.0.0.4:8080: timeout", "at 192.168.17.18:9: timeout"),
        ("at fe80::1: timeout", "at fe80::22:3: timeout"),
        ("job 7d444840-9dc0-11d1-b245-5ffdce74fad2 failed", "job 00000000-9dc0-11d1-b245-5ffdce74fad2 failed"),
        ("commit 9f86d081884c failed", "commit 60303ae22b99 failed"),
        ("/tmp/tmp.AbC12/x: No space left", "/tmp/tmp.Zz9/x: No space left"),
        ("took 1.5s of 30s", "took 12s of 45s"),
        ("\x1b[31mfailed\x1b[0m", "failed"),
        ("/srv/web4/app: denied", "/srv/web18/app: denied"),
    ],
)
def test_the_same_failure_of_two_hosts_has_one_fingerprint(first: str, second: str) -> None:
    assert fingerprint(first, ["web4"]) == fingerprint(second, ["web18"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("No space left on device", "Permission denied"),
        ("step failed with exit code 3", "step failed with exit code 4"),
        ("connect: refused", "connect: timed out"),
    ],
)
def test_different_failures_stay_apart(first: str, second: str) -> None:
    assert fingerprint(first) != fingerprint(second)


def test_a_host_name_inside_another_word_is_left() -> None:
    assert fingerprint("website of web is down", ["web"]) == "website of HOST is down"


def test_groups_are_folded_the_largest_first() -> None:
    failures = [
        Failure("db1", "permission denied"),
        Failure("web4", "web4: connection refused"),
        Failure("web18", "web18.example: connection refused", ("web18.example",)),
    ]
    groups = group_failures(failures)
    assert [group.as_json() for group in groups] == [
        {"count": 2, "hosts": "web[4,18]", "message": "connection refused"},
        {"count": 1, "hosts": "db1", "message": "permission denied"},
    ]


def test_no_failure_makes_no_group() -> None:
    assert group_failures([]) == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), st.text(max_size=60)), max_size=8, unique_by=lambda f: f[0]))
def test_no_message_is_lost_or_makes_it_raise(entries: list[tuple[str, str]]) -> None:
    groups = group_failures([Failure(host, message) for host, message in entries])
    assert sorted(host for group in groups for host in group.hosts) == sorted(host for host, _ in entries)


def test_a_group_is_not_told_by_the_name_of_one_host() -> None:
    said = "{0} (10.0.0.{1}:22) refused the connection"
    groups = group_failures([Failure(f"web{n}", said.format(f"web{n}", n)) for n in (4, 18)])
    assert [group.message for group in groups] == ["… refused the connection"]
    alike = group_failures([Failure("web4", "web4 is the master"), Failure("web5", "web4 is the master")])
    assert {group.message for group in alike} == {"web4 is the master"}


def test_what_differs_from_host_to_host_is_left_out_of_what_is_told_of_all() -> None:
    said = "2026-01-02T03:04:0{0} app[{1}]: port 8080 is taken (exit code 3)"
    groups = group_failures([Failure(f"web{n}", said.format(n, 4700 + n)) for n in (1, 2, 3)])
    assert [group.message for group in groups] == ["… app[…]: port 8080 is taken (exit code 3)"]
    one = group_failures([Failure("web1", said.format(1, 4711))])
    assert [group.message for group in one] == [said.format(1, 4711)]

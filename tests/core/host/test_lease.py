"""The lease on a host, by the real shell text."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sane.core.command import Command
from sane.core.host.lease import HostLease, parse_host_lease, release_host_lease, take_and_look, take_host_lease
from sane.core.host.record import HostRecord, parse_look, write_record
from sane.errors import UsageError


def start(command: Command, home: Path) -> subprocess.Popen[bytes]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **command.env}
    return subprocess.Popen(["sh", "-c", command.script], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def take(home: Path, owner: str, ttl_s: int = 60) -> HostLease | None:
    output, _ = start(take_host_lease("app", owner, ttl_s), home).communicate(timeout=10)
    return parse_host_lease(output, owner)


def test_the_first_takes_it_and_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    assert take(tmp_path, "one") == HostLease(True, 1, "one")
    second = take(tmp_path, "two")
    assert second is not None
    assert (second.taken, second.owner, second.token) == (False, "one", 1)
    assert 50 <= second.remaining_s <= 60


def test_renewing_keeps_the_token_and_a_new_holder_gets_a_newer_one(tmp_path: Path) -> None:
    assert take(tmp_path, "one") == take(tmp_path, "one")
    start(release_host_lease("app", "one"), tmp_path).communicate(timeout=10)
    assert take(tmp_path, "two") == HostLease(True, 2, "two")
    start(release_host_lease("app", "two"), tmp_path).communicate(timeout=10)
    assert take(tmp_path, "two") == HostLease(True, 3, "two")


def test_an_expired_lease_goes_to_the_next_and_its_old_owner_cannot_release_it(tmp_path: Path) -> None:
    assert take(tmp_path, "one", ttl_s=0) == HostLease(True, 1, "one")
    assert take(tmp_path, "two") == HostLease(True, 2, "two")
    start(release_host_lease("app", "one"), tmp_path).communicate(timeout=10)
    third = take(tmp_path, "one")
    assert third is not None
    assert third.taken is False


def test_a_controller_of_the_same_store_takes_over_at_once_with_a_newer_token(tmp_path: Path) -> None:
    assert take(tmp_path, "store:one") == HostLease(True, 1, "store:one")
    assert take(tmp_path, "store:two") == HostLease(True, 2, "store:two")
    other = take(tmp_path, "else:three")
    assert other is not None
    assert (other.taken, other.owner) == (False, "store:two")


def test_a_lease_that_another_of_the_same_store_left_is_given_up_and_its_owner_fenced_off(tmp_path: Path) -> None:
    assert take(tmp_path, "store:one") == HostLease(True, 1, "store:one")
    start(release_host_lease("app", "else:three", 9), tmp_path).communicate(timeout=10)
    assert take(tmp_path, "store:one") == HostLease(True, 1, "store:one")  # it was another store's: not theirs to give
    start(release_host_lease("app", "store:two", 1), tmp_path).communicate(timeout=10)
    assert take(tmp_path, "else:three") == HostLease(True, 3, "else:three")


def test_a_lease_of_a_higher_rank_is_not_given_up_by_a_lower_one(tmp_path: Path) -> None:
    start(take_host_lease("app", "store:new", 60, 4), tmp_path).communicate(timeout=10)
    start(release_host_lease("app", "store:old", 3), tmp_path).communicate(timeout=10)
    other = take(tmp_path, "else:three")
    assert other is not None
    assert (other.taken, other.owner) == (False, "store:new")


def test_giving_up_where_nothing_was_held_writes_nothing(tmp_path: Path) -> None:
    start(release_host_lease("app", "store:two", 1), tmp_path).communicate(timeout=10)
    assert list(tmp_path.iterdir()) == []


def test_what_the_host_has_is_seen_under_the_lease_in_the_same_round_trip(tmp_path: Path) -> None:
    record = HostRecord("1.2", "d1", 3, "app-3", 1_700_000_000)
    start(write_record("app", record), tmp_path).communicate(timeout=10)
    output, _ = start(take_and_look("app", "one", 60), tmp_path).communicate(timeout=10)
    assert parse_host_lease(output, "one") == HostLease(True, 1, "one")
    assert parse_look(output).record == record
    assert not (tmp_path / ".sane/leases/app/changing").exists()


def test_a_look_under_a_lease_that_cannot_be_taken_says_why_and_ends_there(tmp_path: Path) -> None:
    (tmp_path / ".sane").write_text("a file where the directory should be")
    process = start(take_and_look("app", "one", 60), tmp_path)
    output, problem = process.communicate(timeout=10)
    assert process.returncode == 98
    assert parse_host_lease(output, "one") is None
    assert b".sane" in problem


def test_of_ten_at_once_exactly_one_takes_it(tmp_path: Path) -> None:
    callers = [start(take_host_lease("app", f"owner{n}", 60), tmp_path) for n in range(10)]
    answers = [parse_host_lease(c.communicate(timeout=20)[0], f"owner{n}") for n, c in enumerate(callers)]
    assert sum(a is not None and a.taken for a in answers) == 1
    assert {a.owner for a in answers if a is not None} == {a.owner for a in answers if a is not None and a.taken}


def test_a_change_left_half_done_is_taken_over_within_ten_seconds(tmp_path: Path) -> None:
    (tmp_path / ".sane/leases/app/changing").mkdir(parents=True)
    assert take(tmp_path, "one") == HostLease(True, 1, "one")


@pytest.mark.parametrize("bad", ["", "../x", "a b", "$(x)", "a/b"])
def test_names_that_could_leave_the_directory_are_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        take_host_lease(bad, "me", 1)
    with pytest.raises(UsageError):
        take_host_lease("app", bad, 1)


@pytest.mark.parametrize("output", [b"", b"taken", b"taken x", b"held 1 me", b"\xff\xfe"])
def test_what_cannot_be_read_is_none(output: bytes) -> None:
    assert parse_host_lease(output, "me") is None


def test_a_controller_of_the_same_store_that_was_overtaken_is_refused(tmp_path: Path) -> None:
    def ranked(owner: str, rank: int) -> HostLease | None:
        output, _ = start(take_host_lease("app", owner, 60, rank), tmp_path).communicate(timeout=10)
        return parse_host_lease(output, owner)

    assert ranked("store:old", 3) == HostLease(True, 1, "store:old")
    assert ranked("store:new", 4) == HostLease(True, 2, "store:new")
    revived = ranked("store:old", 3)
    assert revived is not None
    assert (revived.taken, revived.owner, revived.token) == (False, "store:new", 2)


def test_a_guard_that_passes_from_one_live_maker_to_the_next_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    lease = tmp_path / ".sane/leases/app"
    guard, next_one = lease / "changing", lease / "next"
    guard.mkdir(parents=True)
    waiting = start(take_host_lease("app", "one", 60), tmp_path)
    until = time.monotonic() + 3.5  # after 2 s of one guard its maker counts as dead
    while time.monotonic() < until:
        next_one.mkdir()
        next_one.rename(guard)  # without a moment between the two in which the waiter could make its own
        time.sleep(0.3)
        assert guard.exists()
        assert waiting.poll() is None
    output, _ = waiting.communicate(timeout=10)
    assert parse_host_lease(output, "one") == HostLease(True, 1, "one")
    assert os.listdir(lease) == ["holder"]

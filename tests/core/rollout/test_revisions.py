"""Retries and rollbacks are new revisions, and refuse what can't be before any host is touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sane.core.rollout.controller import RolloutState, apply
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import Revision, retry_of, rollback_of, rollback_to
from sane.core.units import Amount
from sane.errors import ConflictError, NotFoundError
from tests.core.rollout.rollout_world import QUICK, World, begin, drive, statuses

POLICY = RolloutPolicy(max_failures=Amount(1), **QUICK)  # type: ignore[arg-type]
HISTORY = [
    Revision(1, "1.0", "d1", "app-1", "successful", stable=True, pruned=True),
    Revision(2, "1.1", "d2", "app-2", "successful", stable=True),
    Revision(3, "1.2", "d3", "app-3", "failed", stable=False),
    Revision(4, "1.3", "d4", "app-4", "successful", stable=True),
]


def ended(fates: dict[str, str], policy: RolloutPolicy = POLICY) -> RolloutState:
    return drive(begin(["a", "b", "c"], policy, digest="d2"), World(fates)).state


def test_a_retry_touches_the_hosts_that_need_it_and_only_probes_the_others() -> None:
    first = ended({"b": "stage_fails"})
    run = drive(retry_of(first, "app-2", 2, 0), World({"b": "same"}))
    assert (run.state.status, run.state.revision) == ("successful", 2)
    assert statuses(run.state) == {"a": "unchanged", "b": "healthy", "c": "unchanged"}
    staged = [e.host for e in run.log if e.kind == "action_started" and e.data["action"] in ("stage", "switch")]
    assert staged == ["b", "b"]
    assert {h.spec.digest for h in run.state.hosts} == {"d2"}


def test_a_retry_keeps_the_previous_version_from_before_the_first_attempt() -> None:
    first = ended({"b": "switch_fails"})
    assert first.hosts[1].previous_version == "1"
    again = apply(None, retry_of(first, "app-2", 2, 0))
    assert again.hosts[1].previous_version == "1"


def test_a_retry_takes_hosts_that_were_never_begun() -> None:
    first = ended({"a": "stage_fails"}, RolloutPolicy(**QUICK))  # type: ignore[arg-type]
    assert statuses(first) == {"a": "failed", "b": "not_attempted", "c": "not_attempted"}
    assert statuses(drive(retry_of(first, "app-2", 2, 0), World({})).state) == dict.fromkeys("abc", "healthy")


def test_a_retry_of_a_blue_green_that_was_cancelled_takes_the_hosts_that_were_never_switched() -> None:
    """Their new version stands beside the old one: a probe of what takes the traffic could only find the old one."""
    policy = RolloutPolicy(strategy="blue-green", max_parallel=Amount(3), **QUICK)  # type: ignore[arg-type]

    def asking(request: str) -> Callable[[RolloutState, int], str]:
        return lambda state, _: request if state.status == "awaiting_promotion" and state.request is None else ""

    first = drive(begin(["a", "b", "c"], policy), World({}), meddle=asking("cancel")).state
    assert (first.status, statuses(first)) == ("cancelled", dict.fromkeys("abc", "healthy"))
    again = drive(retry_of(first, "app-2", 2, 0), World({}), meddle=asking("promote"))
    assert (again.state.status, again.state.switched) == ("successful", 0b111)


def test_what_can_not_be_retried_is_refused() -> None:
    with pytest.raises(ConflictError, match="is pending"):
        retry_of(apply(None, begin(["a"], POLICY)), "app-2", 2, 0)
    with pytest.raises(ConflictError, match="no host"):
        retry_of(ended({}), "app-2", 2, 0)
    reverted = ended({"a": "sick"}, RolloutPolicy(on_failure="revert_all", **QUICK))  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match="was reverted"):
        retry_of(reverted, "app-2", 2, 0)


def test_rollback_takes_the_newest_stable_revision_before_the_current_one() -> None:
    assert rollback_to(HISTORY, 4).revision == 2
    assert rollback_to(HISTORY, 4, 2).version == "1.1"


@pytest.mark.parametrize(
    ("to", "expect", "error", "match"),
    [
        (4, None, ConflictError, "current"),
        (1, None, ConflictError, "pruned"),
        (9, None, NotFoundError, "no revision 9"),
        (2, 3, ConflictError, "is 4, not 3"),
    ],
)
def test_an_impossible_rollback_is_refused(to: int, expect: int | None, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        rollback_to(HISTORY, 4, to, expect)


def test_a_revision_that_never_was_stable_is_gone_back_to_only_by_who_says_so() -> None:
    with pytest.raises(ConflictError, match="revision 3 is failed, and was never stable") as refused:
        rollback_to(HISTORY, 4, 3)
    assert "--unproven" in refused.value.hint
    assert rollback_to(HISTORY, 4, 3, unproven=True).revision == 3
    with pytest.raises(ConflictError, match="pruned"):
        rollback_to(HISTORY, 4, 1, unproven=True)


def test_there_may_be_nothing_to_roll_back_to() -> None:
    with pytest.raises(NotFoundError, match="no stable revision"):
        rollback_to(HISTORY[:2], 2)


def test_a_version_deployed_twice_is_not_gone_back_to_from_itself() -> None:
    again = Revision(5, "1.3", "d4", "app-5", "successful", stable=True)
    assert rollback_to([*HISTORY, again], 5).revision == 2
    assert rollback_to([*HISTORY, again], 5, 4).revision == 4  # by its number, it is
    broken = Revision(5, "1.3", "d4", "app-5", "failed", stable=False)
    assert rollback_to([*HISTORY, broken], 5).revision == 4


def test_a_rollback_is_a_new_revision_without_canaries() -> None:
    canary = RolloutPolicy(strategy="canary", canary=Amount(1), auto_promote=True, **QUICK)  # type: ignore[arg-type]
    old = ended({}, canary)
    run = drive(rollback_of(old, [host.spec for host in old.hosts], "app-9", 9, 0), World({}))
    assert (run.state.status, run.state.revision, run.state.version) == ("successful", 9, "2")
    assert run.state.canaries == 0
    assert (
        drive(rollback_of(old, [host.spec for host in old.hosts], "app-9", 9, 0, canary=True), World({})).state.canaries
        == 1
    )


def test_a_revision_for_fewer_hosts_is_no_way_back_for_all_of_them() -> None:
    fleet, one = frozenset({"web1", "web2"}), frozenset({"web1"})
    history = [
        Revision(1, "1", "d1", "app-1", "successful", True, hosts=fleet),
        Revision(2, "2", "d2", "app-2", "successful", True, hosts=one),
        Revision(3, "3", "d3", "app-3", "failed", False, hosts=fleet),
    ]
    assert rollback_to(history, 3).revision == 1
    assert rollback_to(history, 3, 2).revision == 2  # whoever names it means it
    assert rollback_to([*history, Revision(4, "4", "d4", "app-4", "failed", False, hosts=one)], 4).revision == 2
    # a host that was added since is in none of them: the newest is the way back for the others
    grown = Revision(4, "4", "d4", "app-4", "failed", False, hosts=fleet | {"web3"})
    assert (
        rollback_to([*history[:2], Revision(3, "3", "d3", "app-3", "successful", True, hosts=fleet), grown], 4).revision
        == 3
    )

"""What counts as done of a plan's step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sane.operations.plan_run import did_help


def state_of(status: str, **hosts: str) -> Any:
    rows = [SimpleNamespace(status=word) for word in hosts.values()]
    return SimpleNamespace(status=status, hosts=rows, index={name: number for number, name in enumerate(hosts)})


@pytest.mark.parametrize(
    ("status", "hosts", "wanted", "helped"),
    [
        ("successful", {"a": "healthy"}, ["a"], True),
        ("partial", {"a": "healthy", "b": "failed"}, ["a"], True),
        ("partial", {"a": "unchanged", "b": "failed"}, ["a"], True),
        ("partial", {"a": "healthy", "b": "failed"}, ["b"], False),
        ("partial", {"a": "healthy", "b": "failed"}, ["a", "b"], False),
        ("partial", {"a": "healthy", "b": "failed"}, [], False),
        ("partial", {"a": "healthy"}, ["gone"], False),
        ("failed", {"a": "healthy"}, ["a"], False),
        ("awaiting_promotion", {"a": "healthy"}, ["a"], True),
    ],
)
def test_a_partial_deployment_helped_only_where_the_hosts_of_the_step_are_well(
    status: str, hosts: dict[str, str], wanted: list[str], helped: bool
) -> None:
    assert did_help(state_of(status, **hosts), wanted) is helped

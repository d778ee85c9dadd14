"""Conditions to wait for: exactly true, or not."""

from __future__ import annotations

import pytest

from sane.core.watch.detect import HostWatch
from sane.core.watch.samples import Sample
from sane.core.watch.until import compile_until, fleet_document
from sane.errors import UsageError

DOCUMENT = fleet_document(
    [
        (Sample("web1", 0, version="2.0", fields={"files": 3.0}), HostWatch("web1")),
        (Sample("web2", 0, version="1.0", verdict="fail", status="unhealthy"), HostWatch("web2", acute="crash")),
        (Sample("web3", 0, "", "", reachable=False), HostWatch("web3")),
    ],
    episodes=1,
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("healthy == `1`", True),
        ("healthy == total", False),
        ("length(hosts[?version=='2.0']) >= `1`", True),
        ("episodes > `0`", True),
        ("hosts[?host=='web1'] | [0].fields.files < `5`", True),
        ("hosts[?host=='web1'] | [0].fields.absent < `5`", False),
        ("hosts", False),
        ("`1`", False),
        ("starts_with(total, 'x')", False),
        ("contains(hosts[].fault, 'crash')", True),
    ],
)
def test_only_exactly_true_is_true(expression: str, expected: bool) -> None:
    assert compile_until(expression)(DOCUMENT) is expected


def test_what_is_not_jmespath_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not JMESPath"):
        compile_until("healthy ==")

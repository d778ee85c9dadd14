"""Conditions to wait for: exactly true, or not."""

from __future__ import annotations

import pytest

from sane.core.watch.detect import HostWatch, observe_sample
from sane.core.watch.policy import WatchPolicy
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


@pytest.mark.parametrize(
    ("sample", "watch"),
    [
        (Sample("web1", 0, probe_ok=False), HostWatch("web1")),
        (Sample("web1", 0, gate="queue < 5"), HostWatch("web1")),
        (Sample("web1", 90_000, mtime_ms=1), None),  # a file that is too old
    ],
)
def test_a_host_whose_word_is_in_doubt_is_not_healthy_even_where_it_is_asked_only_once(
    sample: Sample, watch: HostWatch | None
) -> None:
    watch = watch or observe_sample(HostWatch("web1"), sample, policy=WatchPolicy(interval_ms=5_000))[0]
    assert fleet_document([(sample, watch)], episodes=0)["healthy"] == 0

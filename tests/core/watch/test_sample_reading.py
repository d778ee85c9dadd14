"""From what a host printed to a sample."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.health import Facts, judge
from sane.core.host.health_probe import ProbeReading
from sane.core.watch.sample_reading import MAX_FIELDS, numbers_of, sample_of, silent_sample
from sane.core.watch.samples import sample_from_json


def reading(document: object, *, age_ms: int = 2_000) -> ProbeReading:
    return ProbeReading(json.dumps(document).encode(), 9, 50_000 - age_ms, 1, 50_000)


def test_the_age_is_measured_on_the_hosts_clock() -> None:
    found = reading({"status": "healthy", "version": "2", "nonce": "n", "mem": {"used_mb": 5}, "queue": 3, "on": True})
    sample = sample_of("web1", 900_000, found, judge(found.content, Facts(fresh=False)), zone="a")
    assert (sample.verdict, sample.version, sample.nonce, sample.mtime_ms) == ("pass", "2", "n", 898_000)
    assert sample.fields == {"mem.used_mb": 5.0, "queue": 3.0}
    assert sample_from_json(sample.as_json()) == sample


def test_a_host_without_a_clock_or_a_file_has_no_age() -> None:
    nothing = ProbeReading(None)
    sample = sample_of("web1", 9, nothing, judge(None, Facts(fresh=False)))
    assert (sample.verdict, sample.mtime_ms, sample.reachable, sample.fields) == ("missing", 0, True, {})
    assert silent_sample("web1", 9).reachable is False


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_document_breaks_it(value: object) -> None:
    found = ProbeReading(json.dumps(value).encode(), 1, 1, 1, 1)
    sample = sample_of("h", 1, found, judge(found.content, Facts(fresh=False)))
    assert all(abs(number) < 1e300 for number in sample.fields.values())


@pytest.mark.parametrize(
    "content",
    [
        b'{"status":"healthy","\\ud801":5}',
        b'{"nonce":"\\ud800","a":1}',
        b"[" * 20_000,
        b'{"a":1,"a":2}',
        b'{"a":1e999,"b":1}',
    ],
)
def test_what_the_judge_refused_is_not_read_again(content: bytes) -> None:
    found = ProbeReading(content, len(content), 1, 1, 1)
    verdict = judge(content, Facts(fresh=False))
    sample = sample_of("h", 1, found, verdict)
    assert (sample.verdict, sample.fields, sample.nonce) == ("malformed", {}, "")
    json.dumps(sample.as_json(), ensure_ascii=False).encode()


def test_fields_are_bounded() -> None:
    assert len(numbers_of({f"n{i}": i for i in range(1_000)})) == MAX_FIELDS
    assert numbers_of({"a": {"b": 1, "c": {"d": 2}}, "timestamp": 5, "big": 10**400}) == {"a.b": 1.0}

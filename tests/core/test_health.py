"""The rules of health, one by one; and no content whatever makes `judge` raise or believe too much."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.health import MAX_BYTES, VERDICTS, WORDS, Facts, judge

NOW = 1_700_000_000_000
FACTS = Facts(
    version="2.0.0",
    digest="d2",
    nonce="n2",
    activated_at_ms=NOW - 1_000,
    mtime_ms=NOW - 500,
    host_now_ms=NOW,
    poll_interval_ms=1_000,
)


def written(**fields: Any) -> bytes:
    return json.dumps({"status": "healthy", "version": "2.0.0", **fields}).encode()


@pytest.mark.parametrize(("word", "verdict"), sorted(WORDS.items()))
def test_each_word_has_its_verdict(word: str, verdict: str) -> None:
    assert judge(written(status=word), FACTS).verdict == verdict


@pytest.mark.parametrize(
    "word",
    ["unhealthy_ish", "not healthy", "healthy ", " healthy", "healthyok", "HEALTHY", "", "up", None, True, 1, ["ok"]],
)
def test_any_other_word_is_unrecognised(word: object) -> None:
    seen = judge(written(status=word), FACTS)
    assert (seen.verdict, seen.rule) == ("unrecognised", "status")


def test_a_pass_names_every_rule_that_held() -> None:
    seen = judge(written(nonce="n2", digest="d2"), FACTS)
    names = [rule.name for rule in seen.rules]
    assert names == ["exists", "small", "whole", "version", "nonce", "written_after_activation", "young", "status"]
    assert seen.healthy
    assert all(rule.passed for rule in seen.rules)


@pytest.mark.parametrize(
    ("content", "facts", "verdict", "rule"),
    [
        (None, {}, "missing", "exists"),
        (b"", {}, "malformed", "whole"),
        (b'{"status": "heal', {}, "malformed", "whole"),
        (b'\xef\xbb\xbf{"status": "healthy"}', {}, "malformed", "whole"),
        (b'{"status": "fail", "status": "healthy", "version": "2.0.0"}', {}, "malformed", "whole"),
        (b'["healthy"]', {}, "malformed", "whole"),
        (b'"healthy"', {}, "malformed", "whole"),
        (b'{"status": "healthy", "version": "2.0.0", "x": NaN}', {}, "malformed", "whole"),
        (b'{"status": "healthy", "version": "2.0.0", "x": 1e999}', {}, "malformed", "whole"),
        (b'{"version": "2.0.0", "x": ' + b"9" * 10_000 + b"}", {}, "malformed", "whole"),
        (b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", {}, "malformed", "whole"),
        (b'{"status": "\xff"}', {}, "malformed", "whole"),
        (b'{"status": "\\ud800", "version": "2.0.0"}', {}, "malformed", "whole"),
        (written(pad="x" * MAX_BYTES), {}, "malformed", "small"),
        (written(), {"size_bytes": 1 << 30}, "malformed", "small"),
        (written(version="1.9.0"), {}, "version_mismatch", "version"),
        (written(version=None), {}, "version_mismatch", "version"),
        (written(version=2.0), {}, "version_mismatch", "version"),
        (written(digest="d1"), {}, "version_mismatch", "version"),
        (written(nonce="n1"), {}, "stale", "nonce"),
        (written(nonce=7), {}, "stale", "nonce"),
        (written(), {"mtime_ms": NOW - 1_001}, "stale", "written_after_activation"),
        (written(), {"mtime_ms": None}, "stale", "written_after_activation"),
        (written(), {"activated_at_ms": None, "mtime_ms": NOW - 3_001}, "stale", "young"),
        (written(), {"activated_at_ms": None, "mtime_ms": None}, "stale", "young"),
        (written(), {"host_now_ms": None}, "stale", "young"),
        (written(), {"mtime_ms": NOW + 60_000}, "stale", "young"),
    ],
)
def test_the_rule_that_fails_is_named(content: bytes | None, facts: dict[str, Any], verdict: str, rule: str) -> None:
    seen = judge(content, replace(FACTS, **facts))
    assert (seen.verdict, seen.rule) == (verdict, rule)
    assert seen.rules[-1].name == rule
    assert not seen.rules[-1].passed
    assert seen.reason == seen.rules[-1].detail != ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (written(version=2.1), "version is 2.1, a number: write it in quotes"),
        (written(version=True), 'version is true, expected "2.0.0"'),
        (written(version="1"), 'version is "1", expected "2.0.0"'),
        (b'{"status": "healthy', "it is not JSON: Unterminated string starting at character 12"),
        (b'{"status" 1}', "it is not JSON: Expecting ':' delimiter at character 11"),
    ],
)
def test_what_is_wrong_is_told_in_words_that_help(content: bytes, said: str) -> None:
    assert judge(content, FACTS).reason == said


def test_a_file_that_is_old_and_does_not_pass_its_gate_says_both() -> None:
    old = replace(FACTS, activated_at_ms=None, mtime_ms=NOW - 10_000_000, gates=[("errors", lambda _: False)])
    seen = judge(written(), old)
    assert (seen.verdict, seen.reason.partition(", ")[0]) == ("stale", "`errors` is false")


@pytest.mark.parametrize("content", [b"", b"{", written()[:-5], b"\x00" * 20, b'{"status": "caf\xc3'])
def test_content_that_looks_cut_is_torn(content: bytes) -> None:
    assert judge(content, FACTS).torn


def test_whole_content_that_is_refused_is_not_torn() -> None:
    assert not judge(b"[]", FACTS).torn
    assert not judge(written(version="1"), FACTS).torn


def test_a_clock_of_whole_seconds_counts_the_second_of_the_activation_as_after_it() -> None:
    coarse = replace(FACTS, activated_at_ms=NOW + 700, mtime_ms=NOW, host_now_ms=NOW + 900, mtime_resolution_ms=1_000)
    assert judge(written(), coarse).healthy
    assert judge(written(), replace(coarse, mtime_resolution_ms=1)).rule == "written_after_activation"


def test_age_does_not_count_where_it_is_not_to() -> None:
    old = replace(FACTS, activated_at_ms=None, mtime_ms=NOW - 10_000_000)
    assert judge(written(), old).verdict == "stale"
    assert judge(written(), replace(old, fresh=False)).healthy


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(True, "pass"), (False, "fail"), (None, "inconclusive"), (1, "inconclusive"), ("true", "inconclusive")],
)
def test_a_gate_passes_on_exactly_true(answer: Any, verdict: str) -> None:
    facts = replace(FACTS, gates=[("errors", lambda document: answer)])
    assert judge(written(), facts).verdict == verdict


def test_a_gate_that_raises_is_inconclusive_and_one_that_says_no_decides_first() -> None:
    def broken(document: object) -> bool:
        raise RuntimeError("no such function")

    seen = judge(written(), replace(FACTS, gates=[("a", broken)]))
    assert (seen.verdict, seen.rule) == ("inconclusive", "gate a")
    both = judge(written(), replace(FACTS, gates=[("a", broken), ("b", lambda document: False)]))
    assert (both.verdict, both.rule) == ("fail", "gate b")


@pytest.mark.parametrize("word", ["unhealthy", "starting", "degraded", "nonsense"])
def test_a_gate_never_overrides_a_verdict(word: str) -> None:
    facts = replace(FACTS, gates=[("contains(status, 'healthy')", lambda document: True)])
    assert judge(written(status=word), facts).verdict == WORDS.get(word, "unrecognised")


@pytest.mark.parametrize(
    ("agents", "verdict"),
    [
        ({"a": "healthy", "b": {"status": "ok"}}, "pass"),
        ([{"name": "a", "status": "healthy"}, "passing"], "pass"),
        ({"a": "healthy", "b": "starting"}, "wait"),
        ({"a": "starting", "b": "failed"}, "fail"),
        ({"a": "degraded", "b": "what"}, "unrecognised"),
        ({}, "inconclusive"),
        (None, "inconclusive"),
        ("healthy", "inconclusive"),
    ],
)
def test_agent_states_judge_the_worst_agent(agents: object, verdict: str) -> None:
    facts = replace(FACTS, health_check="agent_states")
    assert judge(written(status="failed", agents=agents), facts).verdict == verdict


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_no_content_makes_it_raise_or_pass(content: bytes) -> None:
    seen = judge(content, FACTS)
    assert seen.verdict in VERDICTS
    assert not seen.healthy
    str(seen).encode()


@pytest.mark.parametrize("health_check", ["checks", "agent_states"])
def test_nesting_of_any_depth_is_malformed_or_judged(health_check: str) -> None:
    facts = Facts(fresh=False, health_check=health_check)
    for depth in range(1, 1_100):
        inner = "[" * depth + "]" * depth
        seen = judge(f'{{"status":{inner},"agents":{{"a":{inner}}}}}'.encode(), facts)
        assert seen.verdict in ("unrecognised", "malformed")


@settings(max_examples=200, deadline=None)
@given(
    document=st.fixed_dictionaries(
        {"status": st.sampled_from([*WORDS, "up"]), "version": st.sampled_from(["2.0.0", "1"])},
        optional={"nonce": st.sampled_from(["n2", "n1"]), "digest": st.sampled_from(["d2", "d1"]), "extra": JSON},
    ),
    age_ms=st.integers(0, 4_000),
)
def test_a_pass_needs_every_rule(document: dict[str, Any], age_ms: int) -> None:
    seen = judge(json.dumps(document).encode(), replace(FACTS, activated_at_ms=NOW - 3_500, mtime_ms=NOW - age_ms))
    if seen.healthy:
        assert WORDS[document["status"]] == "pass"
        assert document["version"] == "2.0.0"
        assert document.get("nonce", "n2") == "n2"
        assert document.get("digest", "d2") == "d2"
        assert age_ms <= 3_000


def test_bad_news_that_is_old_is_told_with_its_age() -> None:
    facts = Facts(version="1.0", mtime_ms=1_000, host_now_ms=60_000, poll_interval_ms=1_000)
    seen = judge(b'{"status": "unhealthy", "version": "1.0"}', facts)
    assert (seen.verdict, seen.rule) == ("stale", "young")
    assert seen.reason == 'status is "unhealthy", 59s old, at most 3s counts'


def test_a_named_age_replaces_the_three_polls() -> None:
    content = b'{"status":"healthy"}'
    old = Facts(mtime_ms=1_000, host_now_ms=21_000, poll_interval_ms=1_000)
    assert judge(content, old).rule == "young"
    assert judge(content, replace(old, max_age_ms=30_000)).healthy
    assert judge(content, replace(old, fresh=False)).healthy


def test_a_file_that_names_this_activation_may_be_read_late() -> None:
    facts = Facts(nonce="n1", mtime_ms=1_000, host_now_ms=61_000, activated_at_ms=900, written_once=True)
    assert judge(b'{"status":"healthy","nonce":"n1"}', facts).healthy
    assert judge(b'{"status":"healthy"}', facts).rule == "young"
    assert judge(b'{"status":"healthy","nonce":"n1"}', replace(facts, written_once=False)).rule == "young"
    assert judge(b'{"status":"healthy","nonce":"n0"}', facts).rule == "nonce"


def test_ages_are_told_as_people_do() -> None:
    facts = Facts(version="1.0", mtime_ms=0, host_now_ms=336_374, activated_at_ms=121_001, poll_interval_ms=1_000)
    content = b'{"status": "healthy", "version": "1.0"}'
    assert judge(content, facts).reason == "written 2m 1s before the activation"
    assert judge(content, replace(facts, activated_at_ms=None)).reason == "5m 36s old, at most 3s counts"

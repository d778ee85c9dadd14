"""Durations, sizes and amounts."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.units import Amount, parse_amount, parse_duration_ms, parse_size_bytes, show_duration, tell_duration
from sane.errors import UsageError


@pytest.mark.parametrize(
    ("value", "name", "ms"),
    [
        ("500ms", "x", 500),
        ("5s", "x", 5_000),
        ("2m", "x", 120_000),
        ("1h", "x", 3_600_000),
        ("1.5s", "x", 1_500),
        (" 5 S ", "x", 5_000),
        (5, "wait_ms", 5),
        ("5", "wait_s", 5_000),
        (0.5, "wait_seconds", 500),
        ("2m", "wait_ms", 120_000),
        (0, "wait_s", 0),
        ("0ms", "x", 0),
    ],
)
def test_duration(value: object, name: str, ms: int) -> None:
    assert parse_duration_ms(value, name) == ms


@pytest.mark.parametrize(
    "value", ["5", 5, "5w", "5 parsecs", "", "s", "-5s", True, None, [], "1e3s", "9999999h", float("nan")]
)
def test_a_duration_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        parse_duration_ms(value, "wait")


def test_an_unknown_unit_names_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="unknown unit 'w'") as caught:
        parse_duration_ms("5w", "wait")
    assert caught.value.hint == "Valid units: ms, s, m, h."


@pytest.mark.parametrize(
    ("value", "name", "size"),
    [
        ("256MB", "x", 256 << 20),
        ("2GB", "x", 2 << 30),
        (512, "limit_mb", 512 << 20),
        ("1.5kb", "x", 1536),
        ("7B", "x", 7),
    ],
)
def test_size(value: object, name: str, size: int) -> None:
    assert parse_size_bytes(value, name) == size


@pytest.mark.parametrize("value", [5, "5", "5s", "-1MB", "9999999999TB"])
def test_a_size_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        parse_size_bytes(value, "limit")


@pytest.mark.parametrize(
    ("text", "total", "up", "down"),
    [("2", 10, 2, 2), ("25%", 10, 3, 2), ("25%", 3, 1, 0), ("0%", 10, 0, 0), ("100%", 7, 7, 7), ("33%", 3, 1, 0)],
)
def test_amount(text: str, total: int, up: int, down: int) -> None:
    amount = parse_amount(text)
    assert (amount.of(total, True), amount.of(total, False)) == (up, down)


@pytest.mark.parametrize("value", ["-1", "101%", "2.5", "x", "", True, None, 2.5, 10**9, "%"])
def test_an_amount_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        parse_amount(value)


@given(st.integers(0, 100), st.integers(0, 10_000))
def test_a_percentage_stays_within_one_of_exact(percent: int, total: int) -> None:
    amount = Amount(percent, percent=True)
    low, high = amount.of(total, False), amount.of(total, True)
    assert low <= percent * total / 100 <= high <= total
    assert high - low <= 1
    assert parse_amount(str(amount)) == amount


@given(st.integers(0, 10**9))
def test_a_shown_duration_reads_back(ms: int) -> None:
    assert parse_duration_ms(show_duration(ms)) == ms


@given(st.text(alphabet="0123456789.smhMGKB% -+e", max_size=12) | st.text(max_size=12) | st.floats() | st.integers())
def test_anything_gives_a_value_or_a_usage_error(value: object) -> None:
    for read in (parse_duration_ms, parse_size_bytes, parse_amount):
        with contextlib.suppress(UsageError):
            assert read(value) is not None


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0s"), (250, "250ms"), (1_000, "1s"), (3_050, "3.05s"), (12_000, "12s"), (15_061, "15.1s"), (59_000, "59s"),
        (59_999, "1m"), (60_000, "1m"), (336_374, "5m 36s"), (3_600_000, "1h"), (3_599_500, "1h"), (7_380_000, "2h 3m"),
        (86_400_000, "24h"), (50 * 3_600_000, "50h"), (100 * 3_600_000, "4d 4h"),
    ],
)  # fmt: skip
def test_a_duration_is_told_as_people_do(ms: int, said: str) -> None:
    assert tell_duration(ms) == said

"""Durations, sizes and amounts as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sane.errors import UsageError

DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
SIZE_UNITS_BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
MAX_DURATION_MS = 10 * 365 * 24 * 3_600_000  # ten years: anything longer is a slip of the keyboard
MAX_SIZE_BYTES = 1 << 60
MAX_COUNT = 1_000_000

# The unit of a bare number, by the end of the field's name.
DURATION_SUFFIXES = {"_ms": "ms", "_s": "s", "_seconds": "s", "_minutes": "m", "_hours": "h"}
SIZE_SUFFIXES = {"_bytes": "B", "_kb": "KB", "_mb": "MB", "_gb": "GB"}

_QUANTITY = re.compile(r"([+-]?)(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_AMOUNT = re.compile(r"(\d{1,9})\s*(%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Amount:
    """Hold a count of hosts, or a percentage of all of them. Raises UsageError for one that is out of range."""

    value: int
    percent: bool = False

    def __post_init__(self) -> None:
        limit = 100 if self.percent else MAX_COUNT
        if not 0 <= self.value <= limit:
            raise UsageError(f"{self} is out of range", hint=f"Write 0 to {limit}{'%' if self.percent else ''}.")

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)

    def __bool__(self) -> bool:
        return self.value > 0

    def of(self, total: int, round_up: bool) -> int:
        """Return how many of `total` it is; a count is never cut to `total`, a percentage is rounded as asked."""
        if not self.percent:
            return self.value
        return -(-total * self.value // 100) if round_up else total * self.value // 100


def parse_amount(value: object, name: str = "amount") -> Amount:
    """Return the count (`2`) or percentage (`25%`) that `value` says. Raises UsageError."""
    if isinstance(value, Amount):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return _amount(value, False, name)
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise UsageError(f"{name} must be a count or a percentage, got {value!r}", hint="Write 2 or 25%.")
    return _amount(int(found[1]), found[2] == "%", name)


def _amount(value: int, percent: bool, name: str) -> Amount:
    try:
        return Amount(value, percent)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None


def parse_duration_ms(value: object, name: str = "duration", *, bare: str = "") -> int:
    """Return a duration in milliseconds, rounded to the nearest.

    A bare number takes the unit that `name` ends in (`_ms`, `_s`, `_seconds`), else `bare`.
    Raises UsageError for anything else, naming the valid units.
    """
    unit = _unit_of(name, DURATION_SUFFIXES) or bare
    ms = _quantity(value, name, unit, DURATION_UNITS_MS, "5s")
    if ms > MAX_DURATION_MS:
        raise UsageError(f"{name} is longer than ten years, got {value!r}", hint="Check the unit.")
    return ms


def parse_size_bytes(value: object, name: str = "size", *, bare: str = "") -> int:
    """Return a size in bytes; 1 KB is 1024 bytes.

    A bare number takes the unit that `name` ends in (`_mb`), else `bare`.
    Raises UsageError for anything else, naming the valid units.
    """
    unit = _unit_of(name, SIZE_SUFFIXES) or bare
    size = _quantity(value, name, unit, SIZE_UNITS_BYTES, "256MB")
    if size > MAX_SIZE_BYTES:
        raise UsageError(f"{name} is too large, got {value!r}", hint="Check the unit.")
    return size


def _unit_of(name: str, suffixes: dict[str, str]) -> str:
    return next((unit for suffix, unit in suffixes.items() if name.endswith(suffix)), "")


def _quantity(value: object, name: str, bare: str, units: dict[str, int], example: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"{name} must be a number with a unit, got {value!r}", hint=f"Write for example {example}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r}", hint=f"Write for example {example}.")
    text = f"{value:f}" if isinstance(value, float) else str(value).strip()
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise UsageError(f"{name} must be a number with a unit, got {value!r}", hint=f"Write for example {example}.")
    sign, number, unit = found.groups()
    if sign == "-" and float(number) > 0:
        raise UsageError(f"{name} must not be negative, got {value!r}")
    known = {u.lower(): u for u in units}
    unit = known.get((unit or bare).lower(), unit)
    if not unit and float(number) == 0:
        return 0  # in any unit
    if not unit:
        raise UsageError(
            f"{name} has no unit, got {value!r}", hint=f"Write one of {', '.join(units)}, as in {example}."
        )
    if unit not in units:
        hint = f"Valid units: {', '.join(units)}."
        raise UsageError(f"{name} has an unknown unit '{unit}', got {value!r}", hint=hint)
    return round(float(number) * units[unit]) if "." in number else int(number) * units[unit]


# seconds in the larger unit and in the smaller, with their names
_TOLD = ((60, 1, "m", "s"), (3_600, 60, "h", "m"), (86_400, 3_600, "d", "h"))


def tell_duration(ms: int) -> str:
    """Return a duration as people say it, rounded to what matters: `3.05s`, `12.3s`, `5m 36s`, `2h 3m`, `4d 4h`."""
    if 0 < ms < 1_000:
        return f"{ms}ms"
    if ms < 59_950:
        return f"{round(ms / 1_000, 3 if ms < 10_000 else 1):g}s"
    seconds = round(ms / 1_000)
    large, small, *units = next((step for step in _TOLD if seconds < step[0] * 60), _TOLD[-1])
    count, fits = round(seconds / small), large // small
    rest = f" {count % fits}{units[1]}" if count % fits else ""
    return f"{count // fits}{units[0]}{rest}"


def show_duration(ms: int) -> str:
    """Return a duration in its largest exact unit: 90000 is `90s`, 120000 is `2m`."""
    unit = next((u for u in ("h", "m", "s") if ms and ms % DURATION_UNITS_MS[u] == 0), "ms")
    return f"{ms // DURATION_UNITS_MS[unit]}{unit}"

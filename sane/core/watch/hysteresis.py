"""k of n: one bad sample proves nothing, several of the last few do. The window is an integer's bits, the newest
lowest."""

from __future__ import annotations


def push(bits: int, is_bad: bool, size: int) -> int:
    """Return the window with one more sample, of which it keeps `size`."""
    return ((bits << 1) | is_bad) & ((1 << size) - 1)


def count(bits: int) -> int:
    """Return how many samples in the window are bad."""
    return bits.bit_count()


def fade(score: float, elapsed_ms: int, fade_ms: int) -> float:
    """Return a score after `elapsed_ms`: it falls to 1/e in `fade_ms`. A clock that went back leaves it as it is."""
    return score * 2.718281828459045 ** (-max(0, elapsed_ms) / fade_ms)

"""A persistent sequence and persistent sets of host numbers, so that a rollout's state is cheap to copy.

A set of hosts is one int, bit i for host i: a copy of 10,000 hosts is 1.25 kB. The sequence keeps blocks of 128
entries, so that replacing one copies two short tuples instead of everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_BLOCK = 128  # near the square root of 10,000 hosts: both levels stay short


class Rows(Generic[T]):
    """Hold entries by number; `replaced` returns a new sequence and leaves this one as it was."""

    __slots__ = ("_blocks", "_length")

    def __init__(self, entries: Iterable[T]) -> None:
        flat = tuple(entries)
        self._length = len(flat)
        self._blocks = tuple(flat[i : i + _BLOCK] for i in range(0, len(flat), _BLOCK))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> T:
        return self._blocks[number // _BLOCK][number % _BLOCK]

    def __iter__(self) -> Iterator[T]:
        return (entry for block in self._blocks for entry in block)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._blocks == other._blocks  # pyright: ignore[reportUnknownMemberType]

    __hash__ = None  # type: ignore[assignment]

    def replaced(self, number: int, entry: T) -> Rows[T]:
        """Return the sequence with one entry replaced."""
        at, inside = divmod(number, _BLOCK)
        block = self._blocks[at]
        fresh = Rows[T](())
        fresh._length = self._length
        fresh._blocks = (
            *self._blocks[:at],
            (*block[:inside], entry, *block[inside + 1 :]),
            *self._blocks[at + 1 :],
        )
        return fresh


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers in a set, lowest first, in time proportional to their count and the set's width."""
    base = 0
    while mask:
        word = mask & 0xFFFFFFFFFFFFFFFF
        while word:
            low = word & -word
            yield base + low.bit_length() - 1
            word ^= low
        mask >>= 64
        base += 64


def first_bits(mask: int, count: int) -> int:
    """Return the set of the `count` lowest numbers in a set."""
    chosen = 0
    for number in bits(mask):
        if count <= 0:
            break
        chosen |= 1 << number
        count -= 1
    return chosen

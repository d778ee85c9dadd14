"""Transactions as generators: they yield queries and are sent the rows.

SQLite and PostgreSQL run the same scripts, so the two cannot differ in meaning; each only knows how to drive one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Query(NamedTuple):
    """One statement; each `?` stands for an argument."""

    sql: str
    args: tuple[object, ...] = ()


Rows = Sequence[Sequence[Any]]
Script = Generator[Query, Rows, T]
# A script can be run once; what makes one can be run again, in a transaction of its own.
MakeScript = Callable[[], Script[T]]


def fetch(sql: str, *args: object) -> Script[Rows]:
    """Return the rows of one statement."""
    return (yield Query(sql, args))


def reserve(count: int) -> Script[int]:
    """Lock the log for this transaction, take the next `count` numbers and return the first.

    The counter's row stays locked until the commit, so events become visible in the order of their numbers,
    and a refused transaction gives its numbers back. (A sequence would do neither.)
    """
    yield Query("UPDATE log_counter SET last_seq = last_seq + ?", (count,))
    rows = yield Query("SELECT last_seq FROM log_counter")
    return int(rows[0][0]) - count + 1

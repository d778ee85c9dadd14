"""Tables and colours for people, with nothing to import: a library for them takes longer than most answers."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple, TextIO

import click

GAP = "   "
LEAST_COLUMNS = 20  # of the last column, however narrow the terminal is

Style = Callable[..., str]


class Cell(NamedTuple):
    """Hold what stands in a table, and its colour, "" for none."""

    text: str
    colour: str = ""


def style_for(stream: TextIO) -> Style:
    """Return `click.style` where a stream is a terminal with colours, else what leaves a text as it is."""
    dumb = os.environ.get("TERM", "dumb") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return click.style if stream.isatty() and not dumb else _as_it_is


def _as_it_is(text: str, **_: Any) -> str:
    return text


def plain(text: object) -> str:
    """Return text of a host such that it can't steer the terminal it is shown on."""
    # Control characters of a host's output would move the cursor of whoever reads it.
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in str(text))


def draw_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    style: Style,
    *,
    right: Collection[str] = (),
    columns: int | None = None,
) -> str:
    """Return a table with a line below its titles; the last column is wrapped to what a terminal's `columns` leave."""
    cells = [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in rows]
    widths = [max(map(len, (title, *(row[at].text for row in cells)))) for at, title in enumerate(titles)]
    if columns is not None:
        before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
        widths[-1] = max(len(titles[-1]), min(widths[-1], max(LEAST_COLUMNS, columns - before)))
    lines = [_line([Cell(title) for title in titles], titles, widths, right, partial(style, bold=True))]
    lines.append(style("─" * (sum(widths) + len(GAP) * (len(widths) - 1)), dim=True))
    for row in cells:
        first, *rest = textwrap.wrap(row[-1].text, widths[-1]) or [""]
        lines.append(_line([*row[:-1], row[-1]._replace(text=first)], titles, widths, right, style))
        lines += [_line([*[Cell("")] * (len(row) - 1), Cell(more)], titles, widths, right, style) for more in rest]
    return "".join(f"{line}\n" for line in lines)


def _line(
    cells: Sequence[Cell], titles: Sequence[str], widths: Sequence[int], right: Collection[str], style: Style
) -> str:
    """Return a row without blanks behind its last word; they are put outside of the colours."""
    shown = ""
    for cell, title, width in zip(cells, titles, widths, strict=True):
        gap = " " * (width - len(cell.text))
        text = style(cell.text, fg=cell.colour or None) if cell.text else ""
        shown += (gap + text if title in right else text + gap) + GAP
    return shown.rstrip()

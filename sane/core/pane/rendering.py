r"""What a stream of terminal output leaves to be read: text lines, without colours, wrapping or what was erased again.

For interpreters and devices, which mark nothing: their editors redraw lines, and their pagers erase `--More--`.
"""

from __future__ import annotations

import re
import unicodedata

SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # CSI
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\"  # OSC and the other strings
    r"|\x1b[ -/]+[0-~]|\x1b[0-OQ-WYZ`-~]"
    r"|([\x00-\x1a\x1c-\x1f\x7f])"
    r"|([^\x00-\x1f\x7f]+)"
    r"|\x1b"
)
UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)?\Z")
TAB_CELLS = 8
MOST_ROWS = 2000  # rows that an editor may still redraw; what is above is final
LONGEST_SEQUENCE = 4096
MOST_IN_CELL = 16  # a letter and what stands on it; tmux too keeps 32 bytes of a cell at most


class Rendering:
    """Follow terminal output on rows `width` cells wide, from a row that shows `text` left of the cursor.

    Keeps the first `limit` characters; `truncated` says that more came. `alternate` is true while a full-screen program
    draws: its drawing is not kept.
    """

    def __init__(self, width: int, text: str = "", limit: int = 1 << 26) -> None:
        self._width = max(2, width)
        self._rows: list[list[str]] = [[]]
        self._wraps: list[bool] = [False]  # whether the row goes on in the next one
        self._row = self._column = 0
        self._rest = ""
        self._final: list[str] = []
        self._room = limit
        self.truncated = False
        self.alternate = False
        self._print(text)

    def feed(self, text: str) -> None:
        """Take more output, cut anywhere."""
        text = self._rest + text
        cut = UNFINISHED.search(text, max(0, len(text) - LONGEST_SEQUENCE))
        self._rest = text[cut.start() :] if cut else ""
        for match in SEQUENCE.finditer(text[: cut.start()] if cut else text):
            parameters, letter, control, printed = match.groups()
            if letter is not None:
                self._control_sequence(parameters, letter)
            elif self.alternate:
                continue
            elif printed is not None:
                self._print(printed)
            elif control is not None:
                self._control(control)

    def lines(self) -> list[str]:
        """Return the lines so far, wrapped ones joined; the last ones are the cursor's and those below."""
        joined: list[str] = []
        open_line = False
        for cells, wraps in zip(self._rows, self._wraps, strict=True):
            text = "".join(cells)
            if open_line:
                joined[-1] += text
            else:
                joined.append(text)
            open_line = wraps
        return self._final + joined

    @property
    def cursor_line(self) -> str:
        """Return the line on which the cursor is, up to the cursor; "" where something stands behind it."""
        first = self._row
        while first > 0 and self._wraps[first - 1]:
            first -= 1
        cells = self._rows[self._row]
        if "".join(cells[self._column :]).strip() or any(any(row) for row in self._rows[self._row + 1 :]):
            return ""
        above = "".join("".join(row) for row in self._rows[first : self._row])
        return above + "".join(cells[: self._column]).ljust(self._column)

    def _print(self, text: str) -> None:
        if text.isascii():
            self._print_ascii(text)
            return
        for char in text:
            cells = 1
            if not char.isascii():
                if unicodedata.combining(char):
                    self._combine(char)
                    continue
                cells = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self._column + cells > self._width:
                self._wrap()
            row = self._rows[self._row]
            if len(row) < self._column:
                row.extend(" " * (self._column - len(row)))
            row[self._column : self._column + cells] = [char, ""][:cells]
            self._column += cells

    def _print_ascii(self, text: str) -> None:
        while text:
            if self._column >= self._width:
                self._wrap()
            piece, text = text[: self._width - self._column], text[self._width - self._column :]
            row = self._rows[self._row]
            if len(row) < self._column:
                row.extend(" " * (self._column - len(row)))
            row[self._column : self._column + len(piece)] = piece
            self._column += len(piece)

    def _wrap(self) -> None:
        self._wraps[self._row] = True
        self._next_row()
        self._column = 0

    def _combine(self, char: str) -> None:
        row = self._rows[self._row]
        if row and self._column:
            place = min(self._column, len(row)) - 1
            row[place] = (row[place] + char)[:MOST_IN_CELL]

    def _control(self, control: str) -> None:
        if control == "\n":
            self._wraps[self._row] = False
            self._next_row()
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(0, min(self._column, self._width) - 1)
        elif control == "\t":
            self._print(" " * min(TAB_CELLS - self._column % TAB_CELLS, self._width - self._column))

    def _next_row(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])
            self._wraps.append(False)
        if len(self._rows) > MOST_ROWS:
            self._finish(MOST_ROWS // 2)

    def _finish(self, count: int) -> None:
        """Make the first rows final, up to the end of a line."""
        while count < self._row and self._wraps[count - 1]:
            count += 1
        if self._row < count:
            return
        kept, wraps = self._rows[count:], self._wraps[count:]
        self._rows, self._wraps = self._rows[:count], self._wraps[:count]
        before, self._final = self._final, []
        for line in self.lines():
            self.truncated |= len(line) > self._room
            if self._room > 0:
                before.append(line[: self._room])
            self._room -= len(line) + 1
        self._final, self._rows, self._wraps = before, kept, wraps
        self._row -= count

    def _control_sequence(self, parameters: str, letter: str) -> None:
        if letter in "hl" and parameters in ("?1049", "?47", "?1047"):
            self.alternate = letter == "h"
        if self.alternate:
            return
        number = int(parameters[:9]) if parameters.isdigit() else 0  # int() refuses 5,000 digits
        row = self._rows[self._row]
        if letter in "AB":
            step = -max(1, number) if letter == "A" else max(1, number)
            self._row = min(max(0, self._row + step), len(self._rows) - 1)
        elif letter in "CD":
            step = max(1, number) if letter == "C" else -max(1, number)
            self._column = min(max(0, self._column + step), self._width - 1)
        elif letter == "G":
            self._column = min(max(1, number), self._width) - 1
        elif letter in "KJ":
            self._erase(number, below=letter == "J")
        elif letter == "P":
            del row[self._column : self._column + max(1, number)]
        elif letter == "@":
            row[self._column : self._column] = " " * min(max(1, number), self._width)
            del row[self._width :]
        elif letter == "X":
            end = min(len(row), self._column + max(1, number))
            row[self._column : end] = " " * max(0, end - self._column)
        elif letter == "H" and self._rows[self._row]:  # somewhere else on the screen: a new line for us
            self._wraps[self._row] = False
            self._row = len(self._rows) - 1
            self._next_row()
            self._column = 0

    def _erase(self, mode: int, *, below: bool) -> None:
        row = self._rows[self._row]
        if mode == 0:
            del row[self._column :]
            if below:
                del self._rows[self._row + 1 :], self._wraps[self._row + 1 :]
        elif mode == 1:
            end = min(len(row), self._column + 1)
            row[:end] = " " * end
        elif not below:
            row.clear()

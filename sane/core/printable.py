"""What of a text from elsewhere may be shown on a terminal."""

from __future__ import annotations


def printable(text: str, *, keep: str = "", instead: str = "�") -> str:
    """Return text that can't steer a terminal: control characters other than those in `keep` become `instead`."""
    return "".join(c if c.isprintable() or c in keep else instead for c in text)

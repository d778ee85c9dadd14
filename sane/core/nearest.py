"""The nearest valid name to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the valid name most like `name`, or None when none is like it by `cutoff` (0 to 1)."""
    import difflib  # 8 ms, paid only on a mistake

    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def nearest_hint(name: str, valid: Iterable[str]) -> str:
    """Return one sentence that names the nearest valid name, or all of them where none is near."""
    names = sorted(valid)
    match = nearest(name, names)
    if match is not None:
        return f"Did you mean '{match}'?"
    return f"Valid: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}." if names else ""

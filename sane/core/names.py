"""Names that may hold some characters only, made from names that may hold any."""

from __future__ import annotations

import hashlib
import re

MAX_CHARS = 100


def distinct_name(name: str, other: str, instead: str) -> str:
    """Return the name with what the pattern `other` matches replaced, and cut after 100 characters.

    Two names never give one: behind whatever was replaced or cut stand eight digits of a digest.
    """
    safe = re.sub(other, instead, name)[:MAX_CHARS]
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"

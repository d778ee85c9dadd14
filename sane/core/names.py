"""Names that may hold some characters only: versions, and what is made from names that may hold any."""

from __future__ import annotations

import hashlib
import re

from sane.errors import UsageError

MAX_CHARS = 100
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~@:-]{0,127}")


def distinct_name(name: str, other: str, instead: str) -> str:
    """Return the name with what the pattern `other` matches replaced, and cut after 100 characters.

    Two names never give one: behind whatever was replaced or cut stand eight digits of a digest.
    """
    safe = re.sub(other, instead, name)[:MAX_CHARS]
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def check_version(version: str) -> str:
    """Return a version that is safe as a word and as a directory's name. Raises UsageError for any other."""
    if not _VERSION.fullmatch(version):
        hint = "Use letters, digits and . _ + ~ @ : -, starting with a letter or digit, 128 at most."
        raise UsageError(f"version {version[:140]!r} can't be used", hint=hint)
    return version

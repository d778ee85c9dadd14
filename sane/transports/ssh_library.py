"""Import asyncssh without starting a compiler.

asyncssh looks for two libraries that it can use but does not need, and `ctypes` asks ldconfig and gcc for them, which
takes twelve processes and a third of the import's time. The dynamic loader's own cache answers the same.
"""

from __future__ import annotations

import ctypes.util
import re

CACHE = "/etc/ld.so.cache"


def find_cached(name: str, cache: str = CACHE) -> str | None:
    """Return the file name of a shared library as the loader's cache has it, None where it has none of that name."""
    try:
        with open(cache, "rb") as file:
            found = re.search(rb"[/\0](lib%s\.so[.0-9]*)\0" % re.escape(name.encode()), file.read())
    except OSError:  # no glibc: elsewhere it starts no compiler
        return _find_library(name)
    return found[1].decode() if found else None


_find_library = ctypes.util.find_library
ctypes.util.find_library = find_cached
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library

__all__ = ["asyncssh"]

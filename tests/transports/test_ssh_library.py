"""The import of the SSH library, in an interpreter of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

from sane.transports.ssh_library import find_cached

IMPORT = """
import sys
started = []
sys.addaudithook(lambda name, _: started.append(name) if name in ("subprocess.Popen", "os.posix_spawn") else None)
import ctypes.util
find_library = ctypes.util.find_library
from sane.transports.ssh_library import asyncssh
assert asyncssh.connect and ctypes.util.find_library is find_library
print(started)
"""


def test_the_import_starts_no_process() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_library_is_found_by_the_name_it_can_be_loaded_by(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(b"glibc\0/usr/lib/libzz.so.1\0/usr/lib/libc.so.6\0libcurl.so.4\0libc++.so.1\0")
    assert find_cached("c", str(cache)) == "libc.so.6"
    assert find_cached("c++", str(cache)) == "libc++.so.1"
    assert find_cached("z", str(cache)) is None
    name = find_cached("c")
    assert name is not None
    assert ctypes.CDLL(name)


def test_without_a_cache_it_is_looked_for_as_ever(tmp_path: Path) -> None:
    assert find_cached("c", str(tmp_path / "none")) is not None

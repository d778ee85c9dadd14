"""Fill the disk of a lab host: its root becomes a file system of its own without a free block.

    python -I -S disk.py ROOT DISK PROGRAM ARGUMENT…

Root mounts a tmpfs over the host's directory, so everything on the host meets ENOSPC. An ordinary user can't; there
the host's server runs as PROGRAM in a user and mount namespace that has the full disk, so sessions begun after the
fault meet it. As on any full disk, a file may still be rewritten within the blocks it has.
Imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_PAGE_BYTES = 4096


def mount_full(root: Path, disk: Path) -> None:
    """Put a full file system with the same files over `root`; it can be reached at `disk`, too. Raises OSError."""
    disk.mkdir(exist_ok=True)
    _mount("tmpfs", disk, "tmpfs", 0, "mode=755")
    try:
        subprocess.run(["cp", "-a", f"{root}/.", f"{disk}/"], check=True, capture_output=True, timeout=120)
        if _used_bytes(disk) == 0:
            (disk / ".filler").write_bytes(b"\0" * _PAGE_BYTES)  # size=0 would mean no limit
        _mount("tmpfs", disk, "tmpfs", _MS_REMOUNT, f"size={_used_bytes(disk)}")
        _mount(str(disk), root, "", _MS_BIND, "")
    except (OSError, subprocess.SubprocessError):
        unmount(disk)
        raise


def unmount_full(root: Path, disk: Path) -> None:
    """Take the full file system away; what became of the files on it stays, in `root`."""
    unmount(root)
    mirror(disk, root)
    unmount(disk)
    disk.rmdir()


def mirror(source: Path, root: Path) -> None:
    """Make the content of `root` that of `source`; the directory itself stays the same one."""
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    subprocess.run(["cp", "-a", f"{source}/.", f"{root}/"], check=True, capture_output=True, timeout=120)
    (root / ".filler").unlink(missing_ok=True)


def mounts_under(directory: Path) -> list[Path]:
    """Return the mount points in a directory, the innermost and latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (Path(line.split()[4].encode().decode("unicode_escape")) for line in lines)  # blanks are \040 there
    return [point for point in points if directory in point.parents][::-1]


def unmount(point: Path) -> None:
    """Take one mount off a directory, even a busy one; nothing happens where nothing is mounted."""
    _libc().umount2(os.fsencode(point), _MNT_DETACH)


def _used_bytes(disk: Path) -> int:
    answer = os.statvfs(disk)
    return (answer.f_blocks - answer.f_bfree) * answer.f_frsize


def _mount(source: str, point: Path, kind: str, flags: int, options: str) -> None:
    result = _libc().mount(source.encode(), os.fsencode(point), kind.encode(), flags, options.encode())
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(point))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _enter_own_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    if _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "this kernel gives ordinary users no namespaces of their own")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE, "")


def main(arguments: list[str]) -> None:
    """Run PROGRAM where ROOT is full; its capabilities end with the exec, as its user is not root there either."""
    root, disk, *program = arguments
    _enter_own_namespaces()
    mount_full(Path(root), Path(disk))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What scripts on a host share, as data: where sane's directory is there, and a lock on a part of it.

Hosts may share one directory: an NFS home, or two names of one machine. What is replaced there is changed under the
lock, so its temporary names may be fixed; a process id would be no name of its own among several machines.
"""

from __future__ import annotations

HOME = r"""
home=${SANE_HOST_DIR:-$HOME/.sane}
case $home in "~/"*) home=$HOME/${home#??} ;; esac
"""

LOCK = r"""
lock() { # $1 a directory that is there: until this shell ends, nobody else changes what is in it
    locked=$1
    mark=$1/waiting.$$
    tries=0
    until mkdir "$locked/changing" 2>/dev/null; do
        [ -d "$locked" ] || exit 98
        if [ $tries -eq 0 ]; then
            trap 'rm -f "$mark"' EXIT
            echo >"$mark" || exit 98
        fi
        tries=$((tries + 1))
        if [ $tries -ge 20 ]; then
            # Nobody needs 2 s for two lines: whoever made it has died, unless it is another one than when we began.
            [ -z "$(find "$locked/changing" -prune ! -newer "$mark" 2>/dev/null)" ] ||
                rmdir "$locked/changing" 2>/dev/null
            tries=0
        fi
        sleep 0.1
    done
    trap 'rmdir "$locked/changing" 2>/dev/null; [ ! -e "$mark" ] || rm -f "$mark"' EXIT
}
"""

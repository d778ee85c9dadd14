"""The scripts that move a file through a pane, and the lines that carry it.

Content goes in as base64 lines that a program in the pane reads with echo off, and comes out in DATA marks, which
terminals
swallow: a watcher sees one line that says what happens. Both scripts are for sh, whatever the pane's own shell is.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from sane.core.pane.framing import CHECKSUM, CHUNK_BYTES, DATA, FEED, OSC_NUMBER, printf_mark, quote

TOKEN = "@SANE-TOKEN@"  # stands for the token of the exchange, which is not known yet
PIECE_BYTES = 1 << 18

# Exit codes of the scripts, from sysexits(3): what went wrong where.
NO_SUCH_FILE, NOT_READABLE, NOT_WRITABLE, DAMAGED = 66, 77, 73, 74

SHA256 = "{ sha256sum 2>/dev/null||shasum -a 256 2>/dev/null||openssl dgst -sha256;}"


def path_word(path: str) -> str:
    """Return a path as one shell word; a leading `~/` is the home of whoever the pane belongs to."""
    if path == "~":
        return '"$HOME"'
    return '"$HOME"/' + quote(path[2:], "posix") if path.startswith("~/") else quote(path, "posix")


def put_script(path: str, content: bytes, mode: int | None) -> str:
    """Return the sh script that replaces a file atomically with the content that is fed to it.

    Mode and owner of the file that was there are kept unless `mode` is given; a symbolic link is written through.
    """
    import hashlib  # 3 ms, which a command that moves no file should not pay

    lines = -(-len(base64_of(content)) // CHUNK_BYTES)
    keep = (
        f'chmod {mode:o} "$t"'
        if mode is not None
        else 'm=$(stat -c %a "$p" 2>/dev/null||stat -f %Lp "$p" 2>/dev/null)&&chmod "$m" "$t"||chmod "$n" "$t"'
    )
    owner = 'o=$(stat -c %u:%g "$p" 2>/dev/null||stat -f %u:%g "$p" 2>/dev/null)&&chown "$o" "$t" 2>/dev/null'
    receive = f"stty -echo;{printf_mark(TOKEN, FEED)};head -n{lines}|tr -d '\\n'|" if lines else "printf '' |"
    return (
        f'p={path_word(path)};[ -h "$p" ]&&p=$(readlink -f -- "$p");d=$(dirname -- "$p");t=$d/.sane-{TOKEN};'
        "n=$(printf %o $((0666&~0$(umask))));umask 077;"
        'if [ -e "$p" ]&&[ ! -f "$p" ];then echo "$p: Not a regular file";exit 73;fi;'
        ': >"$t"||exit 73;trap \'rm -f -- "$t"\' EXIT;'
        f'{receive}base64 -d 2>/dev/null|{{ cat >"$t"||{{ cat >/dev/null;false;}};}};'
        "s=$?;stty echo;[ $s = 0 ]||exit 73;"
        f'{SHA256} <"$t"|grep -q {hashlib.sha256(content).hexdigest()}||exit 74;'
        f'{owner};{keep};mv -f -- "$t" "$p"||exit 73;trap - EXIT'
    )


def put_lines(content: bytes) -> Iterator[str]:
    """Yield the content's lines in pieces of about 256 KB."""
    text = base64_of(content)
    step = PIECE_BYTES // CHUNK_BYTES * CHUNK_BYTES
    for begin in range(0, len(text), step):
        part = text[begin : begin + step]
        yield "".join(f"{part[i : i + CHUNK_BYTES]}\n" for i in range(0, len(part), CHUNK_BYTES))


def base64_of(content: bytes) -> str:
    """Return content as one line of base64."""
    return binascii.b2a_base64(content, newline=False).decode()


def get_script(path: str, limit_bytes: int) -> str:
    """Return the sh script that sends a file's first `limit_bytes` in DATA marks, and their SHA-256."""
    send = f"awk '{{printf \"\\033]{OSC_NUMBER};{TOKEN};{DATA};%s\\007\",$0}}'"
    read = f'head -c {limit_bytes} -- "$p" 2>/dev/null'
    return (
        f'p={path_word(path)};[ -e "$p" ]||exit 66;[ -r "$p" ]&&[ -f "$p" ]||exit 77;'
        f"{read}|base64|{send};"
        f"h=$({read}|{SHA256}|tr -dc 0-9a-f|tail -c 64);{printf_mark(TOKEN, CHECKSUM, chr(34) + '$h' + chr(34))}"
    )

"""sane-create-file: replace a file on a target, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sane.errors import RemoteError, UsageError
from sane.primitives._script import FILE_FUNCTIONS, REPLACE_FUNCTIONS, backup_path, base_name, real_path, run_script
from sane.transports.context import Context
from sane.verbs.registry import verb

SCRIPT = (
    FILE_FUNCTIONS
    + REPLACE_FUNCTIONS
    + r"""
find_path
if [ -f "$path" ] && [ -r "$path" ] && [ "$(($(wc -c <"$path")))" = "$SANE_SIZE" ]; then
    sums "$path"
    kept=$(owner_of "$path")
    if [ "$sha256" = "$SANE_SHA256" ] && [ "$((0${SANE_MODE:-${kept%% *}}))" = "$((0${kept%% *}))" ]; then
        cat >/dev/null
        printf 'unchanged=1\ndone=1\n'
        exit 0
    fi
fi
make_temporary
reason=$({ cat >"$temporary"; } 2>&1) || fail "${reason##*: }"
sums "$temporary"
[ "$size" = "$SANE_SIZE" ] || fail "only $size of $SANE_SIZE bytes arrived"
[ -z "$sha256" ] || [ "$sha256" = "$SANE_SHA256" ] || fail 'what arrived is not what was sent'
put_in_place
printf 'done=1\n'
"""
)


@dataclass(frozen=True, slots=True)
class CreatedFile:
    """Answer where a file is now and what it holds; `checksum` is MD5, as scripts expect."""

    status: str
    path: str
    checksum: str
    sha256: str
    size_bytes: int
    backup_path: str | None
    unchanged: bool | None


@verb(access="write", destructive=True, example="sane-create-file local: ~/motd 'hello there'")
async def create_file(
    context: Context,
    target: Annotated[str, "where"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    content: Annotated[str, "what it shall hold; a newline is added"],
    backup: Annotated[bool, "keep the old file in /var/tmp"] = True,
    *,
    exact: Annotated[bool, "add no newline"] = False,
    encoding: Annotated[Literal["utf-8", "base64"], "how CONTENT is written"] = "utf-8",
    mode: Annotated[str | None, "octal mode, as chmod takes it; default: kept, or what the umask leaves"] = None,
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> CreatedFile:
    """Replace a file on the target atomically, keeping its mode and owner, with a backup of the old one.

    Writing what is there already changes nothing and makes no backup. A symbolic link is written through.
    Raises RemoteError naming the path and the reason; then the file is as it was.
    """
    import hashlib

    data = _bytes_of(content, encoding)
    if not exact:
        data += b"\n"
    sha256 = hashlib.sha256(data).hexdigest()
    values = {
        "SANE_PATH": path,
        "SANE_SIZE": str(len(data)),
        "SANE_SHA256": sha256,
        "SANE_BACKUP_NAME": base_name(path) if backup else "",
        "SANE_MODE": _checked_mode(mode),
    }
    if not path:
        raise UsageError("path is empty")
    try:
        answer = await run_script(
            context, target, SCRIPT, values, display=f"sane-create-file {path}", stdin=data, timeout_s=timeout_s
        )
    except RemoteError as error:
        raise RemoteError(f"{path} can't be written: {error.message}", hint=error.hint) from error
    return CreatedFile(
        status="created",
        path=real_path(path, answer.fields),
        checksum=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        sha256=sha256,
        size_bytes=len(data),
        backup_path=backup_path(path, answer.fields),
        unchanged=True if "unchanged" in answer.fields else None,
    )


def _bytes_of(content: str, encoding: str) -> bytes:
    if encoding == "utf-8":
        return content.encode("utf-8", "surrogateescape")
    import base64

    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise UsageError(f"content is not base64: {error}") from error


def _checked_mode(mode: str | None) -> str:
    if mode is None:
        return ""
    if not (3 <= len(mode) <= 4 and all(digit in "01234567" for digit in mode)):
        raise UsageError(f"mode must be three or four octal digits, got '{mode}'")
    return mode

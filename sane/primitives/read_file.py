"""sane-read-file: what a file on a target holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from sane.primitives._script import FILE_FUNCTIONS, failure_of, real_path, run_script
from sane.transports.context import Context
from sane.verbs.registry import verb

# `tail -c +N` skips, `head -c` bounds. An answer is carried past a terminal unseen, so its bytes go as they are.
SCRIPT = (
    FILE_FUNCTIONS
    + r"""
find_path
must_be_file
sums "$path"
modified=$(stat -L -c %Y "$path" 2>/dev/null || stat -L -f %m "$path" 2>/dev/null)
printf 'md5=%s\nsha256=%s\nsize=%s\nmodified=%s\nbody=\n' "$md5" "$sha256" "$size" "$modified"
tail -c "+$((SANE_OFFSET + 1))" "$path" | head -c "$SANE_LIMIT"
"""
)
FIELDS_BYTES = 65536  # the lines before the content


@dataclass(frozen=True, slots=True)
class FileContent:
    """Answer what a file holds from `offset` on; `encoding` is base64 where that is no UTF-8 text, or less than one
    character.

    The checksums and `size_bytes` are the whole file's; `checksum` is MD5. `truncated`: there is more behind `content`.
    """

    path: str
    content: str
    encoding: str
    checksum: str
    sha256: str
    size_bytes: int
    modified_time: str | None
    truncated: bool
    next_offset: int | None


@verb(access="read", example="sane-read-file local: /etc/hosts")
async def read_file(
    context: Context,
    target: Annotated[str, "where"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    *,
    limit_bytes: Annotated[int, "at most so many bytes"] = 1 << 20,
    offset: Annotated[int, "from this byte on"] = 0,
    encoding: Annotated[Literal["auto", "base64"], "auto: as text where it is UTF-8"] = "auto",
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> FileContent:
    """Read a file, or a part of it. Raises NotFoundError when it is absent, RemoteError when unreadable."""
    values = {"SANE_PATH": path, "SANE_LIMIT": str(limit_bytes), "SANE_OFFSET": str(offset)}
    failure = failure_of(path, "read")
    answer = await run_script(
        context,
        target,
        SCRIPT,
        values,
        failure=failure,
        display=f"sane-read-file {path}",
        timeout_s=timeout_s,
        output_limit_bytes=limit_bytes + FIELDS_BYTES,
    )
    fields, data = answer.fields, answer.body
    size = int(fields["size"])
    truncated = offset + len(data) < size
    text = None if encoding == "base64" else _as_text(data, truncated)
    end = offset + (len(data) if text is None else len(text.encode()))
    return FileContent(
        path=real_path(path, fields),
        content=_as_base64(data) if text is None else text,
        encoding="base64" if text is None else "utf-8",
        checksum=fields["md5"],
        sha256=fields["sha256"],
        size_bytes=size,
        modified_time=_as_time(fields["modified"]),
        truncated=end < size,
        next_offset=end if end < size and end > offset else None,
    )


def _as_text(data: bytes, truncated: bool) -> str | None:
    for cut in range(4 if truncated else 1):  # a limit may fall inside a character
        try:
            text = data[: len(data) - cut].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text or (cut and not text) else text  # a part of a character alone would not get on
    return None


def _as_base64(data: bytes) -> str:
    import binascii

    return binascii.b2a_base64(data, newline=False).decode()


def _as_time(epoch_s: str) -> str | None:
    try:
        return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):  # the target tells none, or one that no date can: tmpfs keeps any number
        return None

"""sane-checksum-file: the checksums of a file on a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sane.primitives._script import FILE_FUNCTIONS, failure_of, real_path, run_script
from sane.transports.context import Context
from sane.verbs.registry import verb

SCRIPT = (
    FILE_FUNCTIONS
    + r"""
find_path
must_be_file
sums "$path"
[ -n "$md5$sha256" ] || fail 'there is no tool for checksums (md5sum, sha256sum, shasum, openssl)'
printf 'md5=%s\nsha256=%s\nsize=%s\ndone=1\n' "$md5" "$sha256" "$size"
"""
)


@dataclass(frozen=True, slots=True)
class FileSums:
    """Answer a file's checksums; one is None where the target has no tool for it."""

    path: str
    md5: str | None
    sha256: str | None
    size_bytes: int


@verb(access="read", example="sane-checksum-file ssh:web1 /etc/hosts")
async def checksum_file(
    context: Context,
    target: Annotated[str, "where"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    *,
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> FileSums:
    """Tell the MD5, SHA-256 and size of a file. Raises NotFoundError when it is absent, RemoteError when unreadable."""
    failure = failure_of(path, "read")
    answer = await run_script(
        context,
        target,
        SCRIPT,
        {"SANE_PATH": path},
        failure=failure,
        display=f"sane-checksum-file {path}",
        timeout_s=timeout_s,
    )
    fields = answer.fields
    return FileSums(real_path(path, fields), fields["md5"] or None, fields["sha256"] or None, int(fields["size"]))

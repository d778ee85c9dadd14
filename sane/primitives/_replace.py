"""Replace one file on a target with given bytes: what create-file and edit-file share."""

from __future__ import annotations

from collections.abc import Mapping

from sane.primitives._script import FILE_FUNCTIONS, REPLACE_FUNCTIONS, base_name, failure_of, run_script
from sane.transports.context import Context

# Nothing is written where the file already is what it shall be. With SANE_BEFORE_SHA256 it must still be that one.
SCRIPT = (
    FILE_FUNCTIONS
    + REPLACE_FUNCTIONS
    + r"""
find_path
if [ -f "$path" ] && [ -r "$path" ]; then
    sums "$path"
    kept=$(owner_of "$path")
    if [ "$size" = "$SANE_SIZE" ] && [ "$sha256" = "$SANE_SHA256" ] &&
        [ "$((0${SANE_MODE:-${kept%% *}}))" = "$((0${kept%% *}))" ]; then
        cat >/dev/null
        printf 'unchanged=1\ndone=1\n'
        exit 0
    fi
fi
[ -z "$SANE_BEFORE_SHA256" ] || [ "$sha256" = "$SANE_BEFORE_SHA256" ] || fail 'somebody else changed it meanwhile'
make_temporary
reason=$({ cat >"$temporary"; } 2>&1) || fail "${reason##*: }"
sums "$temporary"
[ "$size" = "$SANE_SIZE" ] || fail "only $size of $SANE_SIZE bytes arrived"
[ -z "$sha256" ] || [ "$sha256" = "$SANE_SHA256" ] || fail 'what arrived is not what was sent'
put_in_place
printf 'done=1\n'
"""
)


async def replace_file(
    context: Context,
    target: str,
    path: str,
    data: bytes,
    *,
    display: str,
    backup: bool,
    mode: str = "",
    before_sha256: str = "",
    timeout_s: float = 60.0,
) -> Mapping[str, str]:
    """Replace a file atomically and return the script's fields (`unchanged`, `backup`, `home`).

    Raises RemoteError naming the path and the reason; then the file is as it was.
    """
    import hashlib

    values = {
        "SANE_PATH": path,
        "SANE_SIZE": str(len(data)),
        "SANE_SHA256": hashlib.sha256(data).hexdigest(),
        "SANE_BEFORE_SHA256": before_sha256,
        "SANE_BACKUP_NAME": base_name(path) if backup else "",
        "SANE_MODE": mode,
    }
    failure = failure_of(path, "written")
    answer = await run_script(
        context, target, SCRIPT, values, failure=failure, display=display, stdin=data, timeout_s=timeout_s
    )
    return answer.fields

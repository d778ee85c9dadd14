"""sane-transfer-from-workstation: put a file of this machine on a target, or let it fetch one by a wormhole code."""

from __future__ import annotations

import os
from typing import Annotated

from sane.core.target import parse_target
from sane.errors import UsageError
from sane.primitives._script import FILE_FUNCTIONS, base_name, failure_of, run_script
from sane.primitives._transfer import LIMIT_BYTES, NO_WORMHOLE, WORMHOLE_CODE, Transferred, must_match, transferred
from sane.transports.context import Context
from sane.transports.local import LocalTransport
from sane.verbs.registry import verb

SCRIPT = (
    FILE_FUNCTIONS
    + rf"""
command -v wormhole >/dev/null 2>&1 || fail '{NO_WORMHOLE}'
"""
    + r"""
inbox=$(mktemp -d) || fail 'no temporary folder can be made'
trap 'rm -rf "$inbox"' EXIT
reason=$(wormhole receive --accept-file --hide-progress -o "$inbox/file" -- "$SANE_CODE" 2>&1 </dev/null) ||
    fail "wormhole: $(printf '%s\n' "$reason" | tail -n 3)"
[ -f "$inbox/file" ] || fail 'what came is not one file'
name=$(printf '%s\n' "$reason" | sed -n 's/^.*Receiving file ([^)]*) into: *//p' | sed "s/^'//; s/'\$//" | head -n 1)
[ -n "$SANE_PATH" ] || { SANE_PATH=${name##*/}; [ -n "$SANE_PATH" ] && [ "$SANE_PATH" != file ] || SANE_PATH=received; }
find_path
[ ! -d "$path" ] || fail 'Is a directory'
sums "$inbox/file"
reason=$(cp "$inbox/file" "$path" 2>&1) || fail "${reason##*: }"
printf 'path=%s\nmd5=%s\nsha256=%s\nsize=%s\ndone=1\n' "$SANE_PATH" "$md5" "$sha256" "$size"
"""
)


@verb(access="write", destructive=True, example="sane-transfer-from-workstation ssh:web1 ./app.conf /etc/app.conf")
async def transfer_from_workstation(
    context: Context,
    target: Annotated[str, "where the file goes"],
    code: Annotated[str, "a wormhole code, or a file of this machine"],
    path: Annotated[str | None, "the file there; default: its own name"] = None,
    *,
    timeout_s: Annotated[float, "how long a wormhole may take"] = 600.0,
) -> Transferred:
    """Copy a file of this machine to the target; or, given a wormhole code, have the target receive what it means.

    The copy is checked by SHA-256. Raises NotFoundError, RemoteError, and UsageError above 1 GB.
    """
    if WORMHOLE_CODE.fullmatch(code) and not os.path.exists(code):
        values = {"SANE_CODE": code, "SANE_PATH": path or ""}
        failure = failure_of(path or code, "received")
        answer = await run_script(
            context, target, SCRIPT, values, failure=failure, display=f"wormhole receive {code}", timeout_s=timeout_s
        )
        got = answer.fields
        return Transferred("transferred", got["path"], int(got["size"]), got["md5"], got["sha256"], code, "wormhole")
    data = await LocalTransport().get(code, limit_bytes=LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise UsageError(f"{code} is larger than 1 GB", hint="Copy it with scp or rsync.")
    there = path or base_name(code)
    transport = await context.transport(parse_target(target))
    await transport.put(there, data)
    await must_match(context, target, there, data)
    return transferred(there, data)

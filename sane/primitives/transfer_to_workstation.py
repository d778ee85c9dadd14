"""sane-transfer-to-workstation: bring a file of a target here, or offer it to somebody by a wormhole code."""

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

# The sender stays behind in a session of its own until somebody receives, at most an hour.
SCRIPT = (
    FILE_FUNCTIONS
    + rf"""
find_path
must_be_file
command -v wormhole >/dev/null 2>&1 || fail '{NO_WORMHOLE}'
sums "$path"
said=$(mktemp) || fail 'no temporary file can be made'
set -- wormhole send --hide-progress
[ -z "$SANE_CODE" ] || set -- "$@" --code "$SANE_CODE"
"""
    + r"""
set -- "$@" -- "$path"
if command -v timeout >/dev/null 2>&1; then set -- timeout 3600 "$@"; fi
if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; else set -- nohup "$@"; fi
"$@" >"$said" 2>&1 </dev/null &
sender=$!
tries=0
while [ $tries -lt 200 ]; do
    code=$(sed -n 's/^Wormhole code is: *//p' "$said" | head -n 1)
    [ -z "$code" ] || break
    kill -0 $sender 2>/dev/null || break
    tries=$((tries + 1))
    sleep 0.1
done
reason=$(tail -n 3 "$said"); rm -f "$said"
[ -n "$code" ] || { kill $sender 2>/dev/null; fail "wormhole gave no code: $reason"; }
printf 'code=%s\nmd5=%s\nsha256=%s\nsize=%s\ndone=1\n' "$code" "$md5" "$sha256" "$size"
"""
)


@verb(
    access="write",
    destructive=True,  # of a file of that name here
    example="sane-transfer-to-workstation ssh:web1 /var/log/app.log --to ./app.log",
)
async def transfer_to_workstation(
    context: Context,
    target: Annotated[str, "where the file is"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    code: Annotated[str | None, "offer it by magic-wormhole under this code"] = None,
    *,
    to: Annotated[
        str | None, "where it goes on this machine; default: its name, in the folder that sane was started in"
    ] = None,
    wormhole: Annotated[bool, "offer it by magic-wormhole, with a code of its own"] = False,
) -> Transferred:
    """Copy a file of the target to this machine; or, where people have no SSH path to it, answer a wormhole code.

    The copy is checked by SHA-256 and takes its place atomically.
    Raises NotFoundError, RemoteError, and UsageError above 1 GB.
    """
    if code is not None or wormhole:
        return await _offer(context, target, path, code or "")
    transport = await context.transport(parse_target(target))
    data = await transport.get(path, limit_bytes=LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise UsageError(f"{path} is larger than 1 GB", hint="Copy it with scp or rsync.")
    await must_match(context, target, path, data)
    here = to or base_name(path)
    await LocalTransport().put(here, data)
    # A server was started in a folder that its client does not know.
    return transferred(os.path.realpath(os.path.expanduser(here) if here.startswith("~/") else here), data)


async def _offer(context: Context, target: str, path: str, code: str) -> Transferred:
    if code and not WORMHOLE_CODE.fullmatch(code):
        raise UsageError(f"'{code}' is no wormhole code", hint="A code is a number and words: 7-crossover-clockwork.")
    values = {"SANE_PATH": path, "SANE_CODE": code}
    failure = failure_of(path, "offered")
    answer = await run_script(context, target, SCRIPT, values, failure=failure, display=f"wormhole send {path}")
    fields = answer.fields
    size = int(fields["size"])
    return Transferred("waiting", path, size, fields["md5"], fields["sha256"], fields["code"], "wormhole")

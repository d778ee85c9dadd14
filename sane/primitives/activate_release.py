"""sane-activate-release: turn an application's `current` link to one of its releases, in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sane.core.host.bundle import is_digest
from sane.core.host.release_scripts import ACTIVATE
from sane.core.names import check_version
from sane.errors import UsageError
from sane.primitives._script import run_script
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclass(frozen=True, slots=True)
class ActivatedRelease:
    """Answer which release is current and which was before; `pruned` are the digests that were removed."""

    status: str
    root: str
    current: str
    previous: str | None
    pruned: list[str]


@verb(access="write", destructive=True, example="sane-activate-release ssh:web1 /srv/app 1.0.0")
async def activate_release(
    context: Context,
    target: Annotated[str, "where"],
    root: Annotated[str, "the application's directory there"],
    release: Annotated[str, "the name or the digest of a release in ROOT/releases"],
    keep: Annotated[int, "releases that stay, the last activated ones; 0 keeps all"] = 5,
    *,
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> ActivatedRelease:
    """Turn ROOT/current to a release by one rename, and remove the oldest releases beyond `keep`.

    The current and the previous release stay in any case; only what push-bundle made is ever removed. Raises
    NotFoundError where there is no such release, RemoteError with the target's reason; then `current` is as it was.
    """
    if not root or "\n" in root or root.strip("/") == "":
        raise UsageError(f"root must be a directory of the application, got {root!r}")
    values = {"SANE_ROOT": root, "SANE_RELEASE": release if is_digest(release) else check_version(release)}
    values["SANE_KEEP"] = str(keep)
    display, failure = f"sane-activate-release {root} {release}", f"{root} can't be switched"
    answered = await run_script(
        context, target, ACTIVATE, values, display=display, failure=failure, timeout_s=timeout_s
    )
    fields = answered.fields
    return ActivatedRelease(
        status="activated" if "changed" in fields else "unchanged",
        root=fields["root"],
        current=fields["current"],
        previous=fields["previous"] or None,
        pruned=answered.body.decode("ascii", "replace").split(),
    )

"""sane-push-bundle: put the files of a version beside the older ones on a target, sending only what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from sane.core.host.bundle import Manifest, is_digest
from sane.core.host.release_scripts import ASK, ASSEMBLE
from sane.core.names import check_version
from sane.errors import SaneError, UsageError
from sane.primitives._script import run_script
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclass(frozen=True, slots=True)
class PushedBundle:
    """Answer where a bundle is now, and what of it was sent; `reused` files were on the target already."""

    status: str
    digest: str
    path: str
    release: str | None
    files: int
    files_sent: int
    bytes_sent: int
    reused: int


@verb(access="write", example="sane-push-bundle ssh:web1 ./dist /srv/app 1.0.0")
async def push_bundle(
    context: Context,
    target: Annotated[str, "where"],
    source: Annotated[str, "a directory or a .tar.gz on this machine"],
    root: Annotated[str, "the application's directory there; the files go to ROOT/releases/DIGEST"],
    release: Annotated[str, "a name for it: ROOT/releases/NAME becomes a link to it"] = "",
    *,
    expect: Annotated[str, "the digest it must have; what the target has of it is used when SOURCE changed"] = "",
    timeout_s: Annotated[float, "how long each of its two commands may take"] = 600.0,
) -> PushedBundle:
    """Put a bundle on the target: whole under the name of its content, or not at all.

    Only files that no earlier release there has are sent, and every file is verified there by SHA-256. Raises
    NotFoundError and UsageError for the source, RemoteError with the target's reason; then no release was changed.
    """
    from sane.primitives._bundle import pack

    manifest = _manifest_as_expected(source, expect)
    digest = manifest.digest if manifest else expect
    values = {"SANE_ROOT": _checked_root(root), "SANE_DIGEST": digest, "SANE_RELEASE": check_release(release)}
    display, failure = f"sane-push-bundle {source} {root}", f"{root} can't take the bundle"
    text = manifest.text() if manifest else b""
    asked = await run_script(
        context, target, ASK, values, display=display, failure=failure, stdin=text, timeout_s=timeout_s
    )
    path = f"{asked.fields['root']}/releases/{digest}"
    if "complete" in asked.fields:
        count = int(asked.fields["files"])
        return PushedBundle("present", digest, path, release or None, count, 0, 0, count)
    if manifest is None:
        raise UsageError(
            f"the bundle {source} is no longer {expect[:12]}, and {target} has none of it",
            hint="Build that version again, or deploy the new content as a new version.",
        )
    wanted = set(asked.body.decode("ascii", "replace").split())
    packed = pack(source, manifest, wanted)
    await run_script(
        context, target, ASSEMBLE, values, display=display, failure=failure, stdin=packed, timeout_s=timeout_s
    )
    sent = sum(entry.sha256 in wanted for entry in manifest.files)
    count = len(manifest.files)
    return PushedBundle("pushed", digest, path, release or None, count, sent, len(packed), count - sent)


def _manifest_as_expected(source: str, expect: str) -> Manifest | None:
    """Return the source's manifest; None where it is not the expected one, or gone. Raises UsageError."""
    from sane.primitives._bundle import read_manifest

    if expect and not is_digest(expect):
        raise UsageError(f"expect must be a SHA-256 digest, got '{expect[:80]}'")
    try:
        manifest = read_manifest(source)
    except SaneError:
        if expect:
            return None
        raise
    return None if expect and manifest.digest != expect else manifest


def check_release(name: str) -> str:
    """Return a release's name that is safe as a directory's. Raises UsageError."""
    if name and is_digest(name):
        raise UsageError("a release can't be named like a digest", hint="Use a version.")
    return check_version(name) if name else ""


def _checked_root(root: str) -> str:
    if not root or "\n" in root or root.strip("/") == "":
        raise UsageError(f"root must be a directory of the application, got {root!r}")
    return root

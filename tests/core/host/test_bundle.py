"""Manifests of bundles: what they name, what they refuse."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.host.bundle import BundleEntry, make_manifest
from sane.errors import UsageError

SHA = hashlib.sha256(b"").hexdigest()
PATHS = st.lists(st.sampled_from(["a", "b c", "ü", "-x", " y ", "z.txt"]), min_size=2, max_size=3).map("/".join)


@given(st.sets(PATHS, min_size=1, max_size=5), st.randoms())
def test_digest_does_not_depend_on_the_order(paths: set[str], random: object) -> None:
    depth = {path: path for path in paths if path.count("/") == 2} or {path: path for path in paths}
    entries = [BundleEntry("f", path, 0o644, SHA, 0) for path in depth]
    shuffled = sorted(entries, key=lambda entry: random.random())  # type: ignore[attr-defined]
    assert make_manifest(entries, "b").digest == make_manifest(shuffled, "b").digest


@pytest.mark.parametrize(
    "other",
    [
        BundleEntry("f", "bin/run", 0o644, SHA, 0),
        BundleEntry("f", "bin/ran", 0o755, SHA, 0),
        BundleEntry("f", "bin/run", 0o755, "0" * 64, 0),
        BundleEntry("l", "bin/run", 0o777, target="ran"),
    ],
)
def test_digest_covers_path_mode_content_and_kind(other: BundleEntry) -> None:
    one = BundleEntry("f", "bin/run", 0o755, SHA, 0)
    assert make_manifest([one], "b").digest != make_manifest([other], "b").digest


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\tb", "a\nb", "a\\b", "x" * 256, "a/" * 600 + "a"]
)
def test_refuses_a_path_that_leaves_the_bundle_or_fits_no_host(path: str) -> None:
    with pytest.raises(UsageError):
        make_manifest([BundleEntry("f", path, 0o644, SHA, 0)], "b")


def test_refuses_a_file_below_a_link() -> None:
    link = BundleEntry("l", "etc", 0o777, target="/etc")
    with pytest.raises(UsageError, match="no directory"):
        make_manifest([link, BundleEntry("f", "etc/passwd", 0o644, SHA, 0)], "b")


def test_refuses_nothing_and_twice_the_same() -> None:
    with pytest.raises(UsageError, match="empty"):
        make_manifest([], "b")
    with pytest.raises(UsageError, match="twice"):
        make_manifest([BundleEntry("f", "a", 0o644, SHA, 0)] * 2, "b")

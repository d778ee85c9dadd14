"""sane-push-bundle and sane-activate-release on `local:`."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sane.errors import NotFoundError, RemoteError, UsageError
from sane.primitives._bundle import read_manifest
from sane.surfaces.context import BlockingContext
from sane.transports.blocking import run_blocking
from sane.verbs.registry import as_json, load_verb

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "a b" / "empty").mkdir(parents=True)
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "a b" / " spaces ").write_bytes(bytes(range(256)))
    (top / "-rf").write_text("a name like an option")
    (top / "copy").write_text("#!/bin/sh\n")  # the same content as run, another mode
    (top / "link").symlink_to("a b/ spaces ")
    return top


def tree(top: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        kind = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[name] = (kind, oct(path.stat().st_mode) if path.is_file() else "")
    return found


def leftovers(root: Path) -> list[str]:
    return [str(path) for path in root.rglob(".sane-new-*")] if root.exists() else []


def test_puts_the_bundle_there_whole_and_named(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    answer = call("push-bundle", "local:", str(source), str(root), "1.0")
    assert tree(root / "releases" / "1.0") == tree(source)
    assert os.readlink(root / "releases" / "1.0") == answer["digest"] == read_manifest(str(source)).digest
    assert (answer["status"], answer["files"], answer["files_sent"], answer["reused"]) == ("pushed", 4, 4, 0)
    assert leftovers(root) == []
    again = call("push-bundle", "local:", str(source), str(root), "1.0")
    assert (again["status"], again["files_sent"], again["bytes_sent"], again["reused"]) == ("present", 0, 0, 4)


def test_sends_only_what_is_missing_and_links_the_rest(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    (source / "big").write_bytes(os.urandom(1 << 20))
    first = call("push-bundle", "local:", str(source), str(root), "1.0")
    (source / "run").write_text("#!/bin/sh\necho 2\n")
    second = call("push-bundle", "local:", str(source), str(root), "2.0")
    assert (second["files_sent"], second["reused"]) == (1, 4)
    assert second["bytes_sent"] < 2_000 < 1 << 20 < first["bytes_sent"]
    assert (root / "releases/1.0/big").samefile(root / "releases/2.0/big")
    assert (root / "releases/1.0/run").read_text() == "#!/bin/sh\n"
    assert tree(root / "releases" / "2.0") == tree(source)


def test_a_directory_and_its_archive_are_one_bundle(call: Call, source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, ".")
    assert read_manifest(str(archive)).digest == read_manifest(str(source)).digest
    call("push-bundle", "local:", str(archive), str(tmp_path / "app"), "1.0")
    assert tree(tmp_path / "app/releases/1.0") == tree(source)


def test_mends_what_was_changed_there(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    call("push-bundle", "local:", str(source), str(root), "1.0")
    (source / "new").write_text("new")
    (root / "releases/1.0/-rf").write_text("changed on the host")
    (root / "releases/1.0/link").unlink()
    second = call("push-bundle", "local:", str(source), str(root), "2.0")
    assert second["files_sent"] == 2  # `new`, and the content that the host only claimed to have
    assert tree(root / "releases/2.0") == tree(source)
    (source / "new").unlink()
    assert call("push-bundle", "local:", str(source), str(root), "1.0")["status"] == "pushed"
    assert tree(root / "releases/1.0") == tree(source)


def test_a_full_disk_leaves_nothing(call: Call, source: Path, small_disk: Path) -> None:
    root = small_disk / "app"
    call("push-bundle", "local:", str(source), str(root), "1.0")
    before = tree(root)
    (source / "big").write_bytes(os.urandom(200_000))
    with pytest.raises(RemoteError, match="No space left on device"):
        call("push-bundle", "local:", str(source), str(root), "2.0")
    assert tree(root) == before
    assert leftovers(root) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted file system of 128 KB."""
    from sane.core.command import Command
    from sane.transports.local import LocalTransport

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run_blocking(LocalTransport().run(Command(f"mount -t tmpfs -o size=128k tmpfs '{disk}'")))
    assert mounted.exit_code == 0, mounted.text
    yield disk
    run_blocking(LocalTransport().run(Command(f"umount '{disk}'")))


def test_names_the_reason_of_a_refusal(call: Call, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RemoteError, match=r"file can't take the bundle: Not a directory|File exists"):
        call("push-bundle", "local:", str(source), str(tmp_path / "file"), "1.0")
    with pytest.raises(NotFoundError, match="there is no bundle"):
        call("push-bundle", "local:", str(tmp_path / "none"), str(tmp_path / "app"))
    with pytest.raises(UsageError, match="root must be"):
        call("push-bundle", "local:", str(source), "/")
    assert not (tmp_path / "app").exists()


def test_refuses_an_archive_that_leads_out_or_is_cut(call: Call, source: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as packed:
        member = tarfile.TarInfo("../escaped")
        member.size = 1
        packed.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UsageError, match="does not stay inside"):
        call("push-bundle", "local:", str(evil), str(tmp_path / "app"))
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as packed:
        packed.add(source, ".")
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(UsageError, match="no whole"):
        call("push-bundle", "local:", str(tmp_path / "cut.tar.gz"), str(tmp_path / "app"))
    assert not (tmp_path / "app").exists()
    assert not (tmp_path / "escaped").exists()


def test_two_pushes_at_once_agree(source: Path, tmp_path: Path) -> None:
    root, answers = tmp_path / "app", list[dict[str, Any]]()

    def push() -> None:
        answers.append(
            as_json(
                run_blocking(
                    load_verb("push-bundle").function(BlockingContext(), "local:", str(source), str(root), "1.0")
                )
            )
        )

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 4
    assert tree(root / "releases/1.0") == tree(source)
    assert leftovers(root) == []


def test_what_was_expected_is_used_from_the_host_where_the_source_changed(
    call: Call, source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    digest = call("push-bundle", "local:", str(source), str(root), "1.0")["digest"]
    before = tree(source)
    (source / "run").write_text("changed")
    answer = call("push-bundle", "local:", str(source), str(root), "again", expect=digest)
    assert answer["status"] == "present"
    assert tree(root / "releases/again") == before
    with pytest.raises(UsageError, match="no longer"):
        call("push-bundle", "local:", str(source), str(tmp_path / "other"), "1.0", expect=digest)


def push_versions(call: Call, source: Path, root: Path, *names: str) -> list[str]:
    digests: list[str] = []
    for number, name in enumerate(names):
        (source / "VERSION").write_text(name)
        digests.append(call("push-bundle", "local:", str(source), str(root), name)["digest"])
        os.utime(root / "releases/.sane" / digests[-1], (number, number))
    return digests


def test_activation_is_a_switch_that_can_be_repeated(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    one, two = push_versions(call, source, root, "1.0", "2.0")
    assert "previous" not in call("activate-release", "local:", str(root), "1.0")
    answer = call("activate-release", "local:", str(root), "2.0")
    assert (answer["status"], answer["current"], answer["previous"], answer["pruned"]) == ("activated", two, one, [])
    again = call("activate-release", "local:", str(root), two)
    assert (again["status"], again["current"], again["previous"]) == ("unchanged", two, one)
    assert (root / "current/VERSION").read_text() == "2.0"


def test_current_names_a_whole_release_at_every_moment(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    push_versions(call, source, root, "1.0", "2.0")
    call("activate-release", "local:", str(root), "1.0")
    seen, stop = set[str](), threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add((root / "current/VERSION").read_text())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(5):
            call("activate-release", "local:", str(root), "2.0")
            call("activate-release", "local:", str(root), "1.0")
    finally:
        stop.set()
        thread.join(10)
    assert seen == {"1.0", "2.0"}


def test_prunes_the_oldest_but_never_current_or_previous(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    digests = push_versions(call, source, root, "1", "2", "3", "4", "5")
    (root / "releases/by-hand").mkdir()
    call("activate-release", "local:", str(root), "1", 0)
    os.utime(root / "releases/.sane" / digests[0], (0, 0))
    answer = call("activate-release", "local:", str(root), "2", 1)
    assert answer["previous"] == digests[0]
    assert sorted(answer["pruned"]) == sorted(digests[2:])
    assert sorted(os.listdir(root / "releases")) == sorted(
        [".sane", ".sane-previous", "1", "2", "by-hand", *digests[:2]]
    )


def test_refuses_to_activate_what_is_not_there(call: Call, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    push_versions(call, source, root, "1.0")
    with pytest.raises(NotFoundError, match="there is no release '9.9'"):
        call("activate-release", "local:", str(root), "9.9")
    (root / "releases/out").symlink_to("../../elsewhere")
    with pytest.raises(RemoteError, match="leads out"):
        call("activate-release", "local:", str(root), "out")
    (root / "current").mkdir()
    with pytest.raises(RemoteError, match="is no link"):
        call("activate-release", "local:", str(root), "1.0")


@pytest.mark.parametrize("damage", ["content", "manifest", "cut"])
def test_what_is_damaged_on_the_way_is_refused_there(
    call: Call, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from sane.primitives import _bundle

    whole = _bundle.pack

    def damaged(*arguments: Any) -> bytes:
        packed = whole(*arguments)
        if damage == "cut":
            return packed[: len(packed) // 2]
        plain, changed = io.BytesIO(packed), io.BytesIO()
        with tarfile.open(fileobj=plain) as old, tarfile.open(fileobj=changed, mode="w:gz") as new:
            for member in old:
                opened = old.extractfile(member)
                assert opened is not None
                content = opened.read()
                if (member.name == "manifest") == (damage == "manifest"):
                    content = content[:-1] + bytes([content[-1] ^ 1])
                new.addfile(member, io.BytesIO(content))
        return changed.getvalue()

    monkeypatch.setattr(_bundle, "pack", damaged)
    root = tmp_path / "app"
    with pytest.raises(RemoteError, match="app can't take the bundle"):
        call("push-bundle", "local:", str(source), str(root), "1.0")
    assert os.listdir(root / "releases") == [".sane"]
    assert leftovers(root) == []

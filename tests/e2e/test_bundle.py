"""Bundles on real sshd hosts: sent once, skipped by content, reverted and rolled back by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

WORKFLOW = """\
name: app
vars: {root: ~}
policy: {min_healthy: 0ms, healthy_deadline: 4s, progress_deadline: 60s, on_failure: revert_all}
health: {path: "{{ root }}/health.json", poll_interval: 200ms}
stage:
  - push-bundle: {source: dist, root: "{{ root }}/app", release: "{{ version }}-{{ digest }}"}
switch:
  - activate-release: {root: "{{ root }}/app", release: "{{ version }}-{{ digest }}", keep: KEEP}
  - run-command: |
      printf '{"status":"%s","version":"%s","nonce":"%s"}' "$(cat {{ root }}/app/current/health)" {{ version }} "$SANE_NONCE" >{{ health_path }}
revert:
  - activate-release: {root: "{{ root }}/app", release: "{{ previous_version }}-{{ previous_digest }}"}
  - run-command: |
      printf '{"status":"healthy","version":"%s","nonce":"%s"}' {{ previous_version }} "$SANE_NONCE" >{{ health_path }}
"""


def build(site: Site, word: str, *, health: str = "healthy", keep: int = 5) -> None:
    site.workflow.write_text(WORKFLOW.replace("KEEP", str(keep)))
    dist = site.directory / "dist"
    dist.mkdir(exist_ok=True)
    (dist / "word").write_text(word)
    (dist / "health").write_text(health)
    (dist / "same").write_bytes(b"x" * 100_000)


def current(site: Site, host: str) -> Path:
    return site.root(host) / "app" / "current"


def test_changed_content_of_one_version_is_deployed_and_equal_content_is_not(open_site: Callable[..., Site]) -> None:
    site = open_site(2)
    build(site, "one")
    assert site.deploy("1.0").hosts() == {"server1": "healthy", "server2": "healthy"}
    (site.directory / "dist" / "word").touch()
    assert site.deploy("1.0").hosts() == {"server1": "unchanged", "server2": "unchanged"}
    build(site, "two")
    changed = site.deploy("1.0")
    assert changed.hosts() == {"server1": "healthy", "server2": "healthy"}, changed.stdout
    for host in site.lab.hosts:
        assert (current(site, host) / "word").read_text() == "two"
        releases = site.root(host) / "app" / "releases"
        assert len({path.stat().st_ino for path in releases.glob("*/same")}) == 1  # linked, not sent again


def test_a_bad_content_of_the_same_version_goes_back_to_the_content_before(open_site: Callable[..., Site]) -> None:
    site = open_site(1)
    build(site, "good")
    assert site.deploy("1.0").exit_code == 0
    was = os.readlink(current(site, "server1"))
    build(site, "bad", health="unhealthy")
    assert site.deploy("1.0").exit_code == 5
    assert os.readlink(current(site, "server1")) == was
    assert (current(site, "server1") / "word").read_text() == "good"


def test_a_rollback_activates_what_was_deployed_though_the_files_here_changed(open_site: Callable[..., Site]) -> None:
    site = open_site(1)
    for number in (1, 2, 3):
        build(site, f"word {number}", keep=2)
        assert site.deploy(f"{number}.0").exit_code == 0
    back = call("deployment", "rollback", "app", "--to-revision", "2", "--output", "json")
    assert back.exit_code == 0, back.stderr
    assert (current(site, "server1") / "word").read_text() == "word 2"
    before = site.snapshot("server1")
    refused = call("deployment", "rollback", "app", "--to-revision", "1", "--output", "json")
    assert refused.exit_code == 7
    assert "pruned" in refused.stderr
    assert site.snapshot("server1") == before
    build(site, "word 1", keep=2)  # the files are here again: they can be sent
    assert call("deployment", "rollback", "app", "--to-revision", "1", "--output", "json").exit_code == 0
    assert (current(site, "server1") / "word").read_text() == "word 1"

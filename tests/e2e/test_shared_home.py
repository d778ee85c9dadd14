"""Two names of an inventory that share one home: an NFS home, or two names of one machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import call, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

NAMES = [f"node{number}" for number in range(1, 9)]
WORKFLOW = "name: nfs\npolicy: {max_parallel: 8}\nhealth: none\nstage: [{run-command: 'true'}]\n"


def deploy(directory: Path, inventory: str, version: str) -> dict[str, str]:
    (directory / "nfs.yaml").write_text(WORKFLOW)
    (directory / "hosts.yaml").write_text(inventory)
    words = ("-i", str(directory / "hosts.yaml"), "--version", version, "--output", "json")
    return call("deploy", str(directory / "nfs.yaml"), *words).hosts()


def test_names_of_one_home_are_all_deployed_at_the_same_time_and_share_its_record(tmp_path: Path) -> None:
    inventory = "hosts: {'node[1-8]': {target: 'local:'}}\n"
    for version in ("1", "2", "3"):
        assert deploy(tmp_path, inventory, version) == dict.fromkeys(NAMES, "healthy")
    answer = call("whatis", "all", "-i", str(tmp_path / "hosts.yaml"), "--output", "json")
    kept = [host["keys"] for host in json.loads(answer.stdout)]
    assert [key["key"] for key in kept[0]] == ["nfs"]
    assert sorted(r["version"] for r in kept[0][0]["history"]) == ["1"] * 8 + ["2"] * 8 + ["3"] * 8
    assert kept == [kept[0]] * 8


@pytest.mark.parametrize("written", ["host_dir: '~/.sane-{{ name }}'", "vars: {host_dir: '~/.sane-{{ name }}'}"])
def test_a_directory_for_each_name_parts_what_they_keep(
    tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inventory = f"hosts: {{'node[1-8]': {{target: 'local:', {written}}}}}\n"
    assert deploy(tmp_path, inventory, "1") == dict.fromkeys(NAMES, "healthy")
    assert sorted(os.listdir(Path.home())) == [f".sane-{name}" for name in NAMES]
    assert sorted(os.listdir(tmp_path)) == ["hosts.yaml", "nfs.yaml"]

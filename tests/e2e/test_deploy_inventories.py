"""Hosts move, go away and come back under another address between two revisions of a deployment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.deploy_fixtures import Site, call, lab, open_site

__all__ = ["lab", "open_site"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

OpenSite = Callable[..., Site]


def hosts_of(site: Site, **names: str) -> str:
    """Return an inventory in which each name is one of the hosts of the lab."""
    lines = {line.split(":")[0].strip(): line.partition(": ")[2] for line in site.inventory.read_text().splitlines()}
    return "hosts:\n" + "".join(f"  {name}: {lines[host]}\n" for name, host in names.items())


def deploy(site: Site, version: str, inventory: Path, *words: str) -> int:
    return call("deploy", site.workflow, "-i", inventory, "--version", version, *words).exit_code


def test_a_rollback_goes_to_the_machine_that_a_host_is_now(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(2)
    then, now = tmp_path / "then.yaml", tmp_path / "now.yaml"
    then.write_text(hosts_of(site, web="server1"))
    now.write_text(hosts_of(site, web="server2"))
    assert deploy(site, "1.0.0", then) == deploy(site, "2.0.0", now) == 0
    answer = call("deployment", "rollback", "app", "--output", "json")
    assert answer.exit_code == 0, answer.stderr
    assert answer.hosts() == {"web": "healthy"}
    assert site.marks("server2") == ["put 2.0.0", "turn 2.0.0", "put 1.0.0", "turn 1.0.0"]
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0"], "nothing was done there"


def test_a_host_that_is_in_the_inventory_no_more_keeps_no_rollback_from_the_others(
    open_site: OpenSite, tmp_path: Path
) -> None:
    site = open_site(2)
    both, one = tmp_path / "both.yaml", tmp_path / "one.yaml"
    both.write_text(hosts_of(site, web1="server1", web2="server2"))
    one.write_text(hosts_of(site, web1="server1"))
    assert deploy(site, "1.0.0", both) == deploy(site, "2.0.0", one) == 0
    site.lab.fault("server2", "refuse")
    answer = call("deployment", "rollback", "app", "--output", "json")
    assert answer.exit_code == 0, answer.stderr
    assert answer.hosts() == {"web1": "healthy"}
    assert "these hosts are in the inventory no more, and are left alone: web2" in answer.stderr
    refused = call("deployment", "rollback", "app", "--to-revision", "2", "-i", str(one_without_hosts(tmp_path)))
    assert (refused.exit_code, "has none of the hosts of revision 2: web1" in refused.stderr) == (7, True)


def one_without_hosts(tmp_path: Path) -> Path:
    path = tmp_path / "others.yaml"
    path.write_text("hosts: {db1: {target: 'local:'}}\n")
    return path


def test_a_retry_reaches_a_host_by_its_corrected_address(open_site: OpenSite, tmp_path: Path) -> None:
    site = open_site(1)
    wrong, right = tmp_path / "wrong.yaml", tmp_path / "right.yaml"
    right.write_text(hosts_of(site, web1="server1"))
    wrong.write_text(right.read_text().replace("127.0.0.1", "127.0.0.77"))
    assert deploy(site, "1.0.0", wrong) == 4
    assert call("retry", "app").exit_code == 4, "the deployment has the address of then"
    shutil.copy(right, wrong)
    answer = call("retry", "app", "-i", str(wrong), "--output", "json")
    assert (answer.exit_code, answer.hosts()) == (0, {"web1": "healthy"}), answer.stderr
    assert site.marks("server1") == ["put 1.0.0", "turn 1.0.0"]

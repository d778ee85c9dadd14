"""Rehearse a deployment: the same workflow and policy on throwaway hosts that stand in for the real ones."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sane.core.fleet.inventory import Host
from sane.errors import UsageError
from sane.operations import lab as labs
from sane.operations.files import load_inventory
from sane.operations.inputs import DeployRequest

MAX_HOSTS = 20  # each is an SSH server and a directory on this machine


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Hold the request on the throwaway hosts, which bear the names of the real ones."""

    request: DeployRequest
    hosts: int


@contextmanager
def rehearsal(asked: DeployRequest) -> Generator[Rehearsal]:
    """Start a lab for the hosts of a request, with a state directory of its own; all of it is gone at the end.

    Hosts keep their names, groups, order, versions and variables; `root` is their lab directory. The commands run as
    the caller on this machine: what a workflow does outside `~` and `root`, it does here. Raises UsageError for more
    than 20 hosts.
    """
    hosts = load_inventory(asked.inventory).select(asked.limit)
    if len(hosts) > MAX_HOSTS:
        raise UsageError(
            f"a rehearsal takes {MAX_HOSTS} hosts at most, this would be {len(hosts)}", hint="Name some with --limit."
        )
    directory = Path(tempfile.mkdtemp(prefix="sane-rehearsal-"))
    before = {name: os.environ.get(name) for name in ("SANE_STATE_DIR", "SANE_DATABASE_URL")}
    try:
        lab = labs.start(directory / "lab", len(hosts))
        inventory = directory / "inventory.yaml"
        stand_ins = load_inventory(lab.inventory).hosts
        inventory.write_text(json.dumps(_inventory(hosts, stand_ins), indent=1))
        os.environ["SANE_STATE_DIR"] = str(directory / "state")
        os.environ.pop("SANE_DATABASE_URL", None)
        yield Rehearsal(replace(asked, inventory=inventory, limit="all", idempotency_key=""), len(hosts))
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        labs.end(directory / "lab")
        shutil.rmtree(directory, ignore_errors=True)


def _inventory(hosts: tuple[Host, ...], stand_ins: tuple[Host, ...]) -> dict[str, Any]:
    """Return an inventory in JSON, which is YAML, in which each host is reached at its stand-in."""
    entries: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for number, (host, lab_host) in enumerate(zip(hosts, stand_ins, strict=False)):
        entry: dict[str, Any] = {name: getattr(lab_host, name) for name in ("address", "port", "user", "key")}
        entry |= {"known_hosts": lab_host.known_hosts, "order": number, "vars": {**host.vars, **lab_host.vars}}
        entry |= {name: value for name in ("version", "health_path") if (value := getattr(host, name))}
        entries[host.name] = entry | ({"tags": list(host.tags)} if host.tags else {})
        for group in host.groups:
            groups.setdefault(group, {"hosts": []})["hosts"].append(host.name)
    return {"hosts": entries, "groups": groups} if groups else {"hosts": entries}

"""Where a host of an inventory is, and where it keeps its records."""

from __future__ import annotations

from sane.core.fleet.inventory import Host
from sane.core.target import Target, parse_target


def target_of(host: Host) -> Target:
    """Return where commands for a host run: its own target where it names one, else over SSH by its name."""
    return parse_target(host.target) if host.target else Target(host.name, None)


def environment_of(host: Host) -> dict[str, str]:
    """Return what tells the scripts on a host where it keeps its records; {} for `~/.sane`."""
    directory = host.host_dir or host.vars.get("host_dir")
    return {"SANE_HOST_DIR": str(directory)} if directory else {}

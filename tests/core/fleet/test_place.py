"""Where a host is, from what its inventory says."""

from __future__ import annotations

import pytest

from sane.core.fleet.inventory import Host
from sane.core.fleet.place import environment_of, target_of
from sane.core.target import Target


@pytest.mark.parametrize(
    ("host", "target", "env"),
    [
        (Host("web1"), Target("web1", None), {}),
        (Host("web1", target="local:"), Target(None, None), {}),
        (Host("web1", target="ssh:other"), Target("other", None), {}),
        (Host("web1", vars={"host_dir": "/srv/sane"}), Target("web1", None), {"SANE_HOST_DIR": "/srv/sane"}),
        (Host("web1", host_dir="~/.sane-web1"), Target("web1", None), {"SANE_HOST_DIR": "~/.sane-web1"}),
        (Host("web1", host_dir="/a", vars={"host_dir": "/b"}), Target("web1", None), {"SANE_HOST_DIR": "/a"}),
    ],
)
def test_a_host_is_where_its_inventory_says(host: Host, target: Target, env: dict[str, str]) -> None:
    assert (target_of(host), environment_of(host)) == (target, env)

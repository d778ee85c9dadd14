"""Where an ssh command line goes."""

from __future__ import annotations

import shlex

import pytest

from sane.core.ssh.line import parse_resolved, parse_ssh_line


@pytest.mark.parametrize(
    ("line", "found"),
    {
        "ssh web1": ("web1", None, None),
        "ssh -p 2222 -l bob web1 uname": ("web1", "bob", 2222),
        "ssh -tt -i key -oX=y ann@web1": ("web1", "ann", None),
        "ssh -p2200 -- web1": ("web1", None, 2200),
        "ssh ssh://ann@web1:99": ("web1", "ann", 99),
        "ssh web1 -l root -p 7": ("web1", "root", 7),
        "ssh web1 uname -l root": ("web1", None, None),
        "ssh -- web1 -l root": ("web1", None, None),
        "ssh -oPort=7 -oUser=root web1": ("web1", "root", 7),
        "ssh -o 'port 7' -o 'user = \"root\"' web1": ("web1", "root", 7),
        "ssh -l ann bob@web1": ("web1", "ann", None),
        "ssh bob@web1 -l ann": ("web1", "bob", None),
        "ssh -p 7 -p 8 -oPort=9 web1": ("web1", None, 7),
        "ssh -o ProxyCommand='python3 proxy.py %h 7' -i '/x/my keys/k' web1": ("web1", None, None),
        "ssh -o HostName=10.0.0.1 web1": ("web1", None, None),
        "ssh -4Ap 7 web1": ("web1", None, 7),
    }.items(),
)
def test_ssh_lines(line: str, found: tuple[str, str | None, int | None]) -> None:
    assert parse_ssh_line(shlex.split(line)) == found


@pytest.mark.parametrize("line", ["ssh -V", "ssh", "ssh -p", "ssh --"])
def test_ssh_line_without_a_host(line: str) -> None:
    assert parse_ssh_line(line.split()) is None


def test_what_ssh_resolved() -> None:
    assert parse_resolved("user root\nhostname 10.0.0.1\nport 2222\n") == ("root", 2222)
    assert parse_resolved("") == (None, None)

"""Which names of hosts and users are taken: they reach a shell of this machine in ProxyCommand and Match exec."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sane.core.ssh.config import Surroundings, parse_ssh_config
from sane.core.ssh.settings import HostOverrides, HostSettings, resolve_settings, split_host
from sane.errors import ConfigError, SaneError, UsageError

READ_BY_A_SHELL = "'`\"$;&<>|(){}\n\r\t\0\x1b\x7f"
NAMES = st.text(st.sampled_from(READ_BY_A_SHELL + "\\ ,-ab.@:[]%~é"), min_size=1, max_size=8)
CONFIG = "Host *\n ProxyCommand relay %h %r %n\n"


def resolve(
    text: str, overrides: HostOverrides | None = None, config: str = CONFIG, ran: list[str] | None = None
) -> HostSettings:
    def run(command: str) -> bool:
        (ran if ran is not None else []).append(command)
        return True

    around = Surroundings(home="/home/me", user="me", uid=1, hostname="here", environ={}, run=run)
    return resolve_settings(text, parse_ssh_config(config, "config", lambda _: ()), around, lambda _: overrides)


def check_command(command: str | None) -> None:
    """Fail where a shell finds anything else in it than words, none of which is an option."""
    assert command is not None
    assert not set(command) & set(READ_BY_A_SHELL)
    assert not any(word.startswith("-") for word in shlex.split(command))


@given(text=NAMES)
def test_what_is_accepted_holds_nothing_that_a_shell_would_read(text: str) -> None:
    try:
        found = resolve(text)
    except UsageError:
        return
    check_command(found.proxy_command)
    assert not set(found.address) & set("\\ ,")


@given(text=NAMES)
def test_what_an_inventory_says_is_no_different(text: str) -> None:
    for overrides in (HostOverrides(address=text), HostOverrides(user=text), HostOverrides(options={"User": text})):
        try:
            found = resolve("web1", overrides)
        except ConfigError:
            continue
        check_command(found.proxy_command)
    with pytest.raises(SaneError):
        resolve(f"{text};id", HostOverrides())
    with pytest.raises(SaneError):
        resolve("web1", HostOverrides(jump=f"bastion,{text}|id"), "")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("a;id", None),
        ("a|id@web1", None),
        ("$(id)", HostOverrides()),
        ("web1", HostOverrides(address="$(id)")),
        ("web1", HostOverrides(user="`id`")),
        ("web1", HostOverrides(options={"HostName": "$(id)"})),
    ],
)
def test_no_condition_is_asked_of_a_name_that_is_refused(text: str, overrides: HostOverrides | None) -> None:
    ran: list[str] = []
    with pytest.raises(SaneError, match="id"):
        resolve(text, overrides, 'Match exec "test %h = %r"\n User u\n', ran)
    assert ran == []


@pytest.mark.parametrize("line", ["HostName $(id).%h", "HostName a,b", "User u`id`"])
def test_what_comes_of_a_configuration_is_looked_at_too(line: str) -> None:
    with pytest.raises(ConfigError, match=r"can't be"):
        resolve("web1", None, f"Host web1\n {line}\n")


def test_what_ssh_takes_is_taken() -> None:
    for text, user, host in (
        ("web_1", None, "web_1"),
        ("fe80::1%eth0", None, "fe80::1%eth0"),
        ("[fe80::1%eth0]:22", None, "fe80::1%eth0"),
        ("me@corp.example@web1", "me@corp.example", "web1"),
        ("CORP\\me@web1", "CORP\\me", "web1"),
        ("a user@é.example", "a user", "é.example"),
        ("a~b!c#d=e^f[g]", None, "a~b!c#d=e^f[g]"),
    ):
        assert split_host(text)[:2] == (user, host)
        assert resolve(text, None, "").address == host

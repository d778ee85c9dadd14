"""Our resolution of ssh configuration against `ssh -G`, the reference."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sane.core.ssh.config import resolve_raw
from sane.core.ssh.settings import HostOverrides
from sane.errors import ConfigError, UsageError
from sane.transports.ssh_config import SshConfig, surroundings

CASES = {
    "first value wins": "Host web*\n Port 1\nHost *\n Port 2\n User u\nHost web1\n User v\n",
    "before any Host": "User early\nHost web1\n User late\n",
    "negation": "Host * !web1\n User other\nHost *\n User all\n",
    "only negation": "Host !web2\n User never\n",
    "question mark": "Host web?\n User one\nHost web??\n User two\n",
    "several patterns": "Host a b web1 c\n User listed\n",
    "equals sign": "Host=web1\nUser=eq\nPort = 77\n",
    "quotes": 'Host "web1"\n User "quo ted"\n IdentityFile "~/my keys/id"\n',
    "single quotes": "Host web1\n User 'single'\n",
    "comments": "# c\n  # c\nHost web1 # c\n User u # the user\n\n\t\n Port 5\n",
    "case of keywords": "hOsT web1\n uSeR u\n",
    "case of hosts": "Host WEB1\n User upper\nHost web1\n User lower\n",
    "hostname tokens": "Host web1\n HostName %h.example.%%com\n",
    "hostname in capitals": "Host web1\n HostName WEB.Example.COM\n",
    "identity files add up": "IdentityFile ~/.ssh/a\nHost web1\n IdentityFile ~/b\n IdentityFile ~/.ssh/a\n",
    "known hosts": "Host web1\n UserKnownHostsFile ~/a /tmp/b\n GlobalKnownHostsFile /dev/null\n",
    "strictness": "Host web1\n StrictHostKeyChecking accept-new\nHost web2\n StrictHostKeyChecking off\n",
    "alias": "Host web1\n HostKeyAlias other\n",
    "times": "Host web1\n ConnectTimeout 1m30s\n ServerAliveInterval 15\n ServerAliveCountMax 7\n ConnectionAttempts 4\n",
    "jump": "Host web1\n ProxyJump u@b:22\nHost *\n ProxyCommand nc %h %p\n",
    "jump list": "Host web1\n ProxyJump a,u@b:2222,c\n",
    "command before jump": "Host b\n ProxyJump none\nHost web1\n ProxyCommand nc %h # kept\nHost *\n ProxyJump b\n",
    "jump none": "Host web1 b\n ProxyJump none\nHost *\n ProxyJump b\n",
    "match host": "Host web1\n HostName real.one\nMatch host real.one\n User matched\nMatch host web1\n Port 9\n",
    "match originalhost": "Host web1\n HostName real.example\nMatch originalhost web1\n User matched\n",
    "match user": "Host web1\n User u1\nMatch user u1\n Port 91\nMatch user *\n Port 92\n",
    "match not": "Match !host web1\n User notweb1\nMatch host web*,!web2\n Port 33\n",
    "match all": "Match all\n User everyone\n",
    "match localuser": f"Match localuser {os.environ.get('USER', 'root')},root\n Port 44\n",
    "match exec": 'Match exec "test %h = web1"\n User ran\nMatch exec "exit 1"\n Port 7\n',
    "match several": 'Match host web1 exec "true" user *\n Port 45\nMatch host web2 exec "false"\n Port 46\n',
    "match final": "Match final host real.example\n User final\nHost web1\n HostName real.example\n",
    "host after match": "Match host nothing\n User no\nHost web1\n User yes\n",
    "include": "Include inc/*.conf\nHost web1\n User outer\n",
    "include in a host": "Host web2\n Include inc/one.conf\nHost *\n User outer\n",
    "include of nothing": "Include no/such/*.conf\nUser u\n",
    "agent": "Host web1\n IdentityAgent none\nHost web2\n IdentityAgent ~/agent.sock\n",
    "only": "Host web1\n IdentitiesOnly yes\n HashKnownHosts yes\n AddressFamily inet6\n",
}
INCLUDED = {
    "one.conf": "Host web1\n Port 101\nHost web2\n Port 102\n",
    "two.conf": "Host web1\n Port 201\n User inner\n",
}


def ask_openssh(config: Path, host: str) -> dict[str, list[str]]:
    # `ssh -F FILE` takes a relative Include from ~/.ssh of the password database, so the cases name full paths.
    done = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        answer.setdefault(key, []).append(value)
    return answer


def compare(config: Path, host: str) -> None:
    """Fail where ours differs from OpenSSH's in anything that concerns reaching the host."""
    theirs = ask_openssh(config, host)
    resolver = SshConfig(config=str(config))
    # A jump host is resolved too; those of the cases are plain names.
    ours = resolver.resolve(host)
    home = os.path.expanduser("~root") if os.getuid() == 0 else os.path.expanduser("~")
    here = os.environ["HOME"]
    assert ours.address == theirs["hostname"][0]
    assert ours.user == theirs["user"][0]
    assert str(ours.port) == theirs["port"][0]
    assert ours.identities_only == (theirs["identitiesonly"] == ["yes"])
    assert ours.hash_known_hosts == (theirs["hashknownhosts"] == ["yes"])
    assert ours.address_family == theirs["addressfamily"][0]
    strict = {"true": "yes", "ask": "yes", "accept-new": "accept-new", "false": "no"}[
        theirs["stricthostkeychecking"][0]
    ]
    assert ours.strict == strict
    assert ours.host_key_alias == theirs.get("hostkeyalias", [None])[0]
    if theirs["connecttimeout"] != ["none"]:
        assert ours.connect_timeout_s == float(theirs["connecttimeout"][0])
    if theirs["serveraliveinterval"] != ["0"]:
        assert ours.keepalive_s == float(theirs["serveraliveinterval"][0])
    assert ours.connect_attempts == int(theirs["connectionattempts"][0])
    assert ours.keepalive_count == int(theirs["serveralivecountmax"][0])
    known = " ".join(ours.known_hosts).replace(here, home)
    assert known == theirs["userknownhostsfile"][0].replace("~", home)
    if ours.keys_given:
        assert [key.replace(here, "~") for key in ours.keys] == theirs["identityfile"]
    raw = resolve_raw(resolver._directives or (), host, {}, surroundings(os.environ))  # pyright: ignore[reportPrivateUsage]
    assert raw.get("proxyjump", ("none",))[0] == theirs.get("proxyjump", ["none"])[0]
    if ours.jump is None and "proxycommand" in theirs:
        expected = theirs["proxycommand"][0].replace("%h", ours.address).replace("%p", str(ours.port))
        assert ours.proxy_command == expected
    if "identityagent" in theirs:
        agent = None if theirs["identityagent"] == ["none"] else theirs["identityagent"][0].replace("~", here)
        assert (ours.agent or "").replace(home, here) == (agent or "").replace(home, here)


@pytest.mark.parametrize("case", CASES)
def test_as_openssh_does(tmp_path: Path, case: str) -> None:
    (tmp_path / "inc").mkdir()
    for name, text in INCLUDED.items():
        (tmp_path / "inc" / name).write_text(text)
    config = tmp_path / "config"
    config.write_text(CASES[case].replace("Include ", f"Include {tmp_path}/"))
    for host in ("web1", "web2", "WEB1", "other"):
        compare(config, host)


PATTERNS = st.sampled_from(["web1", "web*", "*", "!web1", "w?b1", "other", "!*2", "real.*"])
OPTION = st.sampled_from(
    [
        "User a",
        "User b",
        "Port 1",
        "Port 2",
        "HostName real.one",
        "HostName %h.two",
        "IdentityFile /k/a",
        "IdentityFile /k/b",
        "ProxyJump j1",
        "ProxyJump none",
        "ProxyCommand nc %h",
        "ProxyCommand none",
        "HostKeyAlias al",
        "ConnectTimeout 3",
    ]
)
SECTION = st.one_of(
    st.lists(PATTERNS, min_size=1, max_size=3).map(lambda names: "Host " + " ".join(names)),
    st.lists(PATTERNS, min_size=1, max_size=2).map(lambda names: "Match host " + ",".join(names)),
    st.sampled_from(
        ["Match all", "Match user a", "Match !user a", "Match originalhost web1", "Match final", "Match !final"]
    ),
)
CONFIG = st.lists(st.tuples(SECTION, st.lists(OPTION, max_size=3)), max_size=6).map(
    lambda blocks: "".join(f"{head}\n" + "".join(f"  {line}\n" for line in lines) for head, lines in blocks)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=CONFIG, host=st.sampled_from(["web1", "web2", "other", "WEB1"]))
def test_as_openssh_does_on_random_files(tmp_path: Path, text: str, host: str) -> None:
    config = tmp_path / "config"
    config.write_text("Host j1\n  ProxyJump none\n" + text)  # a host that is its own jump host is refused
    compare(config, host)


def test_the_users_file_comes_before_the_systems(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text("Include more\nHost web1\n User mine\n")
    (ssh / "more").write_text("Host web1\n Port 55\n")
    found = SshConfig(environ={"HOME": str(tmp_path)}).resolve("web1")
    assert (found.user, found.port) == ("mine", 55)
    assert found.known_hosts[0] == f"{tmp_path}/.ssh/known_hosts"


def test_a_file_that_changed_counts_for_the_next_host(tmp_path: Path) -> None:
    config, included = tmp_path / "config", tmp_path / "inc"
    included.mkdir()
    config.write_text(f"Include {included}/*.conf\nUser first\n")
    resolver = SshConfig(config=str(config))
    assert resolver.resolve("web1").user == "first"
    (included / "a.conf").write_text("User added\n")
    assert resolver.resolve("web1").user == "added"
    (included / "a.conf").write_text("User 'open\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match="quote"):
            resolver.resolve("web1")
    (included / "a.conf").unlink()
    assert resolver.resolve("web1").user == "first"
    config.write_text("User second\n")
    assert resolver.resolve("web1").user == "second"


def test_the_files_are_parsed_once_for_many_hosts(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("".join(f"Host web{n}\n User u{n}\n" for n in range(3)))
    resolver = SshConfig(config=str(config))
    resolver.resolve("web0")
    parsed = resolver._directives  # pyright: ignore[reportPrivateUsage]
    assert [resolver.resolve(f"web{n}").user for n in range(3)] == ["u0", "u1", "u2"]
    assert resolver._directives is parsed  # pyright: ignore[reportPrivateUsage]


async def test_the_loop_goes_on_while_a_condition_runs_its_command(tmp_path: Path) -> None:
    gate, config = tmp_path / "gate", tmp_path / "config"
    os.mkfifo(gate)
    config.write_text(f'Match exec "read word <{gate}"\n User ran\n')
    resolver = SshConfig(config=str(config))
    asking = asyncio.create_task(resolver.resolve_aside("web1"))
    async with asyncio.timeout(8):
        while True:  # until the command waits for its word, the system refuses us
            try:
                writer = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                await asyncio.sleep(0.01)
        os.write(writer, b"word\n")
        os.close(writer)
        assert (await asking).user == "ran"


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config"
    for text, line, words in (
        ("User a\nMatch hots web1\n", 2, "Did you mean 'host'"),
        ('Host web1\n User "open\n', 2, "quote"),
        ("Host web1\n Port\n", 2, "no argument"),
    ):
        config.write_text(text)
        with pytest.raises(ConfigError, match=f"{config}:{line}: .*{words}"):
            SshConfig(config=str(config)).resolve("web1")


def test_an_include_of_itself_ends(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Include {config}\n")
    with pytest.raises(ConfigError, match="too many levels"):
        SshConfig(config=str(config)).resolve("web1")


def test_the_inventory_comes_first(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host web1\n User file\n Port 9\n HostName file.example\n IdentityFile /k/file\n ProxyJump b\n")
    overrides = {
        "web1": HostOverrides(address="10.0.0.1", user="inv", keys=("/k/inv",), jump="none"),
        "web2": HostOverrides(
            jump="web1,u@c:7", options={"StrictHostKeyChecking": "accept-new"}, connect_timeout_s=2.5
        ),
    }
    resolver = SshConfig(config=str(config), overrides_of=overrides.get)
    web1, web2 = resolver.resolve("web1"), resolver.resolve("web2")
    assert (web1.address, web1.user, web1.port, web1.jump) == ("10.0.0.1", "inv", 9, None)
    assert web1.keys == ("/k/inv", "/k/file")
    assert (web2.strict, web2.connect_timeout_s) == ("accept-new", 2.5)
    assert web2.jump is not None
    assert (web2.jump.address, web2.jump.user, web2.jump.port) == ("c", "u", 7)
    assert web2.jump.jump == web1


def test_what_the_target_says_comes_before_everything(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n User file\n Port 9\n")
    resolver = SshConfig(config=str(config))
    found = resolver.resolve("me@web1:2222")
    assert (found.address, found.user, found.port) == ("web1", "me", 2222)
    found = resolver.resolve("[fe80::1]:2222")
    assert (found.address, found.user, found.port) == ("fe80::1", "file", 2222)
    for wrong in ("me@", "@web1", "web1:x", "web1:0", "web1:70000", "-oProxyCommand=x", ""):
        with pytest.raises(UsageError):
            resolver.resolve(wrong)


REFUSED_BY_SSH = [
    "a b",
    "a$b",
    "a`b",
    "a,b",
    "a\\b",
    "a\tb",
    "a\x7fb",
    "$(id)",
    "a;b",
    "u{@h",
    "u\x1b@h",
    "-u@h",
    "u'@h",
]
REFUSED_BY_SSH += ["u -x@h", "u\\@h", "u\n@h", "u|b@h", "u(b)@h", "-lu@h"]
TAKEN_BY_SSH = [
    "a*b",
    "a~",
    "a!b",
    "a#b",
    "a[b",
    "a=b",
    "é.x",
    "fe80::1%eth0",
    "a_b",
    "D\\u@h",
    "u x@h",
    "u@d@h",
    "é@h",
]


@pytest.mark.parametrize("name", [*REFUSED_BY_SSH, *TAKEN_BY_SSH])
def test_a_name_is_refused_where_openssh_refuses_it(tmp_path: Path, name: str) -> None:
    config = tmp_path / "config"
    config.write_text("")
    done = subprocess.run(["ssh", "-G", "-F", config, "--", name], capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode != 0) == (name in REFUSED_BY_SSH)
    if name in REFUSED_BY_SSH:
        with pytest.raises(UsageError):
            SshConfig(config=str(config)).resolve(name)
    else:
        compare(config, name)


def test_a_circle_of_jumps_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(ConfigError, match="a → b → a"):
        SshConfig(config=str(config)).resolve("a")


def test_values_of_the_environment_in_paths(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("IdentityFile ${KEYS}/%r-%n\nUser u\nIdentityAgent $SOCK\n")
    environ = {"HOME": "/home/x", "KEYS": "/k", "SOCK": "/run/agent"}
    found = SshConfig(config=str(config), environ=environ).resolve("web1")
    assert (found.keys, found.agent) == (("/k/u-web1",), "/run/agent")
    with pytest.raises(ConfigError, match="KEYS"):
        SshConfig(config=str(config), environ={"HOME": "/home/x"}).resolve("web1")

"""How to reach one host over SSH: what an inventory says, merged over the user's OpenSSH configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sane.core.ssh.config import Directive, Surroundings, expand_tokens, hostname_of, resolve_raw, tokens_for
from sane.errors import ConfigError, UsageError

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 5.0  # with KEEPALIVE_COUNT unanswered, a dead peer is noticed within 20 s
KEEPALIVE_COUNT = 3
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")  # the order of ssh(1)
_DURATION = re.compile(r"(\d+)([smhdw]?)")
# ProxyCommand and Match exec hand names to a shell of this machine, so what ssh(1) refuses is refused here
# (`valid_hostname` and `valid_ruser` in its sources); also `$` in a user, and a blank there before a backslash.
_NAMES = {
    "host": re.compile(r"""(?!-)[^\x00-\x20\x7f'`"$\\;&<>|(){},]+"""),
    "user": re.compile(r"""(?!-)(?!.*\s[-\\])(?!.*\\\Z)[^\x00-\x1f\x7f'`"$;&<>|(){}]+"""),
}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class HostOverrides:
    """Hold what an inventory says of a host; None and empty leave it to the OpenSSH configuration.

    `jump` is a ProxyJump value, `none` for no jump. `options` are further OpenSSH options, as `ssh -o` takes them.
    """

    address: str | None = None
    user: str | None = None
    port: int | None = None
    keys: tuple[str, ...] = ()
    jump: str | None = None
    known_hosts: str | None = None
    connect_timeout_s: float | None = None
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Hold all that is needed to reach one host; two hosts with equal settings share a connection.

    `strict` is yes, accept-new or no. `keys_given`: somebody named the keys, so a missing one is worth a word.
    """

    name: str
    address: str
    user: str
    port: int = 22
    keys: tuple[str, ...] = ()
    keys_given: bool = False
    certificates: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    jump: HostSettings | None = None
    proxy_command: str | None = None
    known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    host_key_alias: str | None = None
    strict: str = "yes"
    hash_known_hosts: bool = False
    address_family: str = "any"
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    connect_attempts: int = 1
    keepalive_s: float = KEEPALIVE_S
    keepalive_count: int = KEEPALIVE_COUNT


OverridesOf = Callable[[str], HostOverrides | None]


def split_host(text: str) -> tuple[str | None, str, int | None]:
    """Return user, host and port of `[user@]host[:port]`, an IPv6 address in brackets. Raises UsageError."""
    text = text.removeprefix("ssh://")
    user, at, rest = text.rpartition("@")
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?|([^\[]*:[^\[]*:[^\[]*)", rest)
    host = found and (found[1] or found[3] or found[5])
    if not found or not host or (at and not user) or host.startswith("-"):
        raise UsageError(f"'{text}' is not a host", hint="Write [user@]host[:port], an IPv6 address in brackets.")
    port = found[2] or found[4]
    _check_name("host", host, UsageError)
    if user:
        _check_name("user", user, UsageError)
    return user or None, host, _port(port, text) if port else None


def _check_name(kind: str, name: str, error: type[UsageError | ConfigError] = ConfigError) -> None:
    if not _NAMES[kind].fullmatch(name):
        raise error(
            f"{name!r} can't be the name of a {kind}",
            hint="As for ssh, it does not begin with '-', and holds nothing that means something to a shell.",
        )


def _port(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise UsageError(f"'{where}': port '{text}' is not a number from 1 to 65535")
    return int(text)


def resolve_settings(
    text: str,
    directives: Sequence[Directive],
    around: Surroundings,
    overrides_of: OverridesOf = lambda _: None,
) -> HostSettings:
    """Return the settings for an inventory name, a configured alias or `[user@]host[:port]`.

    What `text` itself says comes first, then `overrides_of(name)`, then the configuration, as with options of ssh(1).
    Raises UsageError and ConfigError.
    """
    return _Resolver(directives, around, overrides_of).resolve(text, None, ())


@dataclass(frozen=True, slots=True)
class _Resolver:
    directives: Sequence[Directive]
    around: Surroundings
    overrides_of: OverridesOf

    def resolve(self, text: str, jump: str | None, path: tuple[str, ...]) -> HostSettings:
        overrides = self.overrides_of(text)
        user, host, port = (None, text, None) if overrides is not None else split_host(text)
        overrides = overrides or self.overrides_of(host) or HostOverrides()
        given = _given(replace(overrides, user=user or overrides.user, port=port or overrides.port))
        if jump is not None:
            given["proxyjump"] = (jump,)
            given.pop("proxycommand", None)
        _check_name("host", host)
        for kind, keyword in (("host", "hostname"), ("user", "user")):
            if keyword in given:  # the conditions of a Match are asked of it
                _check_name(kind, given[keyword][0])
        raw = resolve_raw(self.directives, host, given, self.around)
        if (host_path := (*path, text)).count(text) > 1 or len(host_path) > 16:
            raise ConfigError(f"ProxyJump goes in a circle: {' → '.join(host_path)}")
        settings = _typed(text, host, raw, self.around)
        return replace(settings, jump=self._jump(raw, host_path))

    def _jump(self, raw: Mapping[str, tuple[str, ...]], path: tuple[str, ...]) -> HostSettings | None:
        jump = raw.get("proxyjump", ("none",))[0]
        if jump.lower() == "none":
            return None
        # As `ssh -J a,b`: the last one is connected to through the ones before it.
        before, _, last = jump.rpartition(",")
        return self.resolve(last.strip(), before or None, path)


def _given(overrides: HostOverrides) -> dict[str, tuple[str, ...]]:
    given: dict[str, tuple[str, ...]] = {}
    for keyword, value in (
        ("hostname", overrides.address and overrides.address.replace("%", "%%")),
        ("user", overrides.user),
        ("port", overrides.port),
        ("proxyjump", overrides.jump),
        ("userknownhostsfile", overrides.known_hosts),
        ("connecttimeout", overrides.connect_timeout_s),
    ):
        if value is not None:
            given[keyword] = (str(value),)
    if overrides.keys:
        given["identityfile"] = overrides.keys
    for name, value in overrides.options.items():
        keyword = name.lower()
        if keyword in ("proxyjump", "proxycommand") and ("proxyjump" in given or "proxycommand" in given):
            continue
        given.setdefault(keyword, (value,))
    return given


def _typed(name: str, host: str, raw: Mapping[str, tuple[str, ...]], around: Surroundings) -> HostSettings:
    first = {keyword: values[0] for keyword, values in raw.items() if values}
    tokens = tokens_for(host, raw, around)
    tokens["h"] = hostname_of(host, raw).lower()
    _check_name("host", tokens["h"])
    _check_name("user", tokens["r"])

    def files(keyword: str, default: Sequence[str]) -> tuple[str, ...]:
        values = raw.get(keyword, tuple(default))
        return tuple(_path(value, tokens, around, keyword) for value in values if value.lower() != "none")

    proxy_command = first.get("proxycommand", "none")
    return HostSettings(
        name=name,
        address=tokens["h"],
        user=tokens["r"],
        port=_number(first, "port", 22, 1, 65535),
        keys=files("identityfile", [f"~/.ssh/{key}" for key in DEFAULT_KEYS]),
        keys_given="identityfile" in raw,
        certificates=files("certificatefile", ()),
        identities_only=_flag(first, "identitiesonly"),
        agent=_agent(first.get("identityagent"), tokens, around),
        proxy_command=None if proxy_command.lower() == "none" else expand_tokens(proxy_command, tokens, "ProxyCommand"),
        known_hosts=files("userknownhostsfile", ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")),
        global_known_hosts=files("globalknownhostsfile", ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")),
        host_key_alias=first.get("hostkeyalias"),
        strict=_strict(first.get("stricthostkeychecking", "ask")),
        hash_known_hosts=_flag(first, "hashknownhosts"),
        address_family=first.get("addressfamily", "any").lower(),
        connect_timeout_s=_seconds(first, "connecttimeout", CONNECT_TIMEOUT_S),
        connect_attempts=_number(first, "connectionattempts", 1, 1, 1000),
        keepalive_s=_seconds(first, "serveraliveinterval", KEEPALIVE_S),
        keepalive_count=_number(first, "serveralivecountmax", KEEPALIVE_COUNT, 1, 1000),
    )


def _path(text: str, tokens: Mapping[str, str], around: Surroundings, what: str) -> str:
    def variable(found: re.Match[str]) -> str:
        if found[1] not in around.environ:
            raise ConfigError(f"{what}: the environment has no {found[1]}, which '{text}' names")
        return around.environ[found[1]]

    text = re.sub(r"\$\{([^}]*)\}", variable, expand_tokens(text, tokens, what))
    return around.home + text[1:] if text == "~" or text.startswith("~/") else text


def _agent(text: str | None, tokens: Mapping[str, str], around: Surroundings) -> str | None:
    if text is None or text == "SSH_AUTH_SOCK":
        return around.environ.get("SSH_AUTH_SOCK") or None
    if text.lower() == "none":
        return None
    if text.startswith("$") and not text.startswith("${"):
        return around.environ.get(text[1:]) or None
    return _path(text, tokens, around, "IdentityAgent")


def _strict(text: str) -> str:
    known = {"ask": "yes", "true": "yes", "false": "no", "off": "no"} | {s: s for s in ("yes", "accept-new", "no")}
    if text.lower() not in known:
        raise ConfigError(f"StrictHostKeyChecking can't be '{text}'", hint="Write yes, ask, accept-new or no.")
    return known[text.lower()]


def _flag(first: Mapping[str, str], keyword: str) -> bool:
    text = first.get(keyword, "no").lower()
    if text not in ("yes", "no", "true", "false"):
        raise ConfigError(f"{keyword} must be yes or no, got '{text}'")
    return text in ("yes", "true")


def _number(first: Mapping[str, str], keyword: str, default: int, least: int, most: int) -> int:
    text = first.get(keyword, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(f"{keyword} must be a number from {least} to {most}, got '{text}'")
    return int(text)


def _seconds(first: Mapping[str, str], keyword: str, default: float) -> float:
    """Return a duration; `none` and 0 mean the default, for no wait is without end."""
    text = first.get(keyword, "none").lower()
    if text == "none":
        return default
    if re.fullmatch(r"\d+\.\d+", text):  # an inventory may say 2.5
        return float(text) or default
    if not re.fullmatch(r"(\d+[smhdw]?)+", text):
        raise ConfigError(f"{keyword} must be a duration such as 10 or 1m30s, got '{text}'")
    return float(sum(int(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))) or default

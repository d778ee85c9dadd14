"""Say what went wrong on the way to a host: its name, the phase, and what to do next. No secret is ever part of it."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence

from sane.core.ssh.known_hosts import Verdict, fingerprint, known_hosts_name
from sane.core.ssh.settings import HostSettings
from sane.errors import AuthError, TransportError, UnreachableError
from sane.transports.ssh_library import asyncssh

_TIMEOUTS = {
    "connect": "did not answer the connection within",
    "banner": "accepted the connection and sent no SSH banner within",
    "login": "stopped answering during the login; waited",
}
_TOO_MANY_KEYS = "Too many authentication failures"


def describe_host(settings: HostSettings) -> str:
    """Return a host as people recognise it: its name, and its address where that says more."""
    place = settings.address if settings.port == 22 else f"{settings.address}:{settings.port}"
    return settings.name if settings.name in (place, settings.address) else f"{settings.name} ({place})"


def explain_timeout(settings: HostSettings, phase: str) -> UnreachableError:
    """Return the error for a host that did not get on within its time."""
    hint = {
        "connect": "Check the address and the firewall; connect_timeout_s waits longer.",
        "banner": "Something listens there, and it is no sshd or one that is stuck.",
        "login": "The host may be overloaded; connect_timeout_s waits longer.",
    }[phase]
    what = f"{describe_host(settings)} {_TIMEOUTS[phase]} {settings.connect_timeout_s:g} s"
    return UnreachableError(what, phase=phase, host=settings.name, hint=hint)


def explain_failure(settings: HostSettings, phase: str, error: Exception, keys_tried: Sequence[str]) -> TransportError:
    """Return the error of sane's tree for what asyncssh or the system raised."""
    host = describe_host(settings)
    if isinstance(error, asyncssh.PermissionDenied) or _TOO_MANY_KEYS in str(error):
        return _refused_user(settings, error, keys_tried)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return AuthError(f"{host}: {error.reason}", phase="login", host=settings.name, hint="Check known_hosts.")
    if isinstance(error, OSError) and not isinstance(error, asyncssh.Error):
        what, hint = _system_failure(settings, error)
    else:
        what, hint = _protocol_failure(phase, error)
    if phase == "banner" and settings.proxy_command is not None:
        hint = "Run its ProxyCommand by hand and see what it says."
    return UnreachableError(f"{host} {what}", phase=phase, host=settings.name, hint=hint)


def _system_failure(settings: HostSettings, error: OSError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        own = settings.address == settings.name
        return (
            "is a name nobody knows" if own else f"has an address nobody knows: {settings.address}",
            "Check its address, or HostName in ssh_config.",
        )
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection", f"Does sshd run there, and is {settings.port} its port?"
    return f"can't be reached: {error.strerror or type(error).__name__}", "Check the address and the network."


def _protocol_failure(phase: str, error: Exception) -> tuple[str, str]:
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"can't be reached from its jump host: {error.reason}", "Check the address as the jump host sees it."
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return "has no algorithm in common with us", str(error.reason)
    if isinstance(error, asyncssh.ProtocolNotSupported) or (
        isinstance(error, asyncssh.ProtocolError) and phase == "banner"
    ):
        return "does not speak SSH", "Is it the right port?"
    if isinstance(error, asyncssh.ConnectionLost):
        when = "before it said anything" if phase == "banner" else "during the login"
        return (
            f"closed the connection {when}",
            "Its sshd may be limiting new connections (MaxStartups) or this address.",
        )
    return f"ended the login: {error}", "See the log of its sshd."


def _refused_user(settings: HostSettings, error: Exception, keys_tried: Sequence[str]) -> AuthError:
    hint = (
        f"Keys tried: {'; '.join(keys_tried)}." if keys_tried else "No key was at hand: name one, or start ssh-agent."
    )
    if _TOO_MANY_KEYS in str(error):
        hint += " It stops listening after a few: set IdentitiesOnly and name the one key."
    what = f"{describe_host(settings)} refused the login of user '{settings.user}'"
    return AuthError(what, phase="login", host=settings.name, hint=hint)


def explain_host_key(settings: HostSettings, verdict: Verdict, algorithm: str, key: bytes) -> AuthError:
    """Return the error for a host key that is not the one known_hosts has."""
    host, shown = describe_host(settings), f"{key_name(algorithm)} key {fingerprint(key)}"
    entry = verdict.entry
    name = settings.host_key_alias or known_hosts_name(settings.address, settings.port)
    if entry is None:
        file = settings.known_hosts[0] if settings.known_hosts else "known_hosts"
        what = f"{host} is not known: it shows {shown}, and no known_hosts file has {name}"
        hint = (
            f"Compare the fingerprint with the host's own, then add the key to {file} "
            "(ssh-keyscan), or set StrictHostKeyChecking accept-new."
        )
    elif verdict.kind == "revoked":
        what = f"{host} shows {shown}, which {entry.file}:{entry.line} revokes"
        hint = "Do not log in; find out who runs that host."
    else:
        what = (
            f"the host key of {host} has changed: it shows {shown}, "
            f"and {entry.file}:{entry.line} has another {key_name(entry.key_type)} key"
        )
        remove = f"ssh-keygen -f {shlex.quote(entry.file)} -R {shlex.quote(name)}"
        hint = f"Somebody may be in between. If the host was set up anew: {remove}"
    return AuthError(what, phase="login", host=settings.name, hint=hint)


def key_name(algorithm: str) -> str:
    """Return a key's type as OpenSSH's messages write it."""
    for part, name in (("ed25519", "ED25519"), ("ecdsa", "ECDSA"), ("rsa", "RSA"), ("dss", "DSA")):
        if part in algorithm:
            return name
    return algorithm

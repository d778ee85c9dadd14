"""Open one SSH connection, and name the phase in which it failed.

Options, keys and known hosts are prepared once; the agent, GSS and X.509 stay out of the way unless asked for; cheap
algorithms are offered first and all others after them (figures: docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import ipaddress
import socket
from collections.abc import Callable
from typing import Any, cast

from sane.core.ssh.known_hosts import KnownHost, Verdict, judge_key
from sane.core.ssh.settings import HostSettings
from sane.errors import AuthError
from sane.transports.known_hosts import KnownHostsFiles
from sane.transports.ssh_errors import explain_failure, explain_host_key, explain_timeout
from sane.transports.ssh_keys import UserKeyring, UserKeys
from sane.transports.ssh_library import asyncssh

# AES-GCM runs on the processor's own instructions; ChaCha20-Poly1305 is the dearest here.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
    "aes192-ctr",
    "chacha20-poly1305@openssh.com",
)
KEY_EXCHANGES_FIRST = ("mlkem768x25519-sha256", "curve25519-sha256", "ecdh-sha2-nistp256")
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-rsa",
)
MSG_IGNORE = 2  # RFC 4253, section 11.2
CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


class HostClient(asyncssh.SSHClient):
    """Follow one connection: in which phase it is, and whether the host's key is the known one."""

    def __init__(self, settings: HostSettings, entries: tuple[KnownHost, ...], known: KnownHostsFiles) -> None:
        self.settings = settings
        self.entries = entries
        self.known = known
        self.refusal: AuthError | None = None
        self.connection: asyncssh.SSHClientConnection | None = None

    @property
    def phase(self) -> str:
        """Return connect, banner or login."""
        if self.connection is None:
            return "connect"
        return "login" if self.connection.get_extra_info("server_version") else "banner"

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn
        send_no_empty_packets(conn)

    def auth_completed(self) -> None:
        if self.connection is not None:
            acknowledge_quickly(self.connection.get_extra_info("socket"))

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        verdict = judge_key(self.entries, base64.b64encode(key.public_data).decode())
        if verdict.kind == "known" or self._accepts(verdict, key):
            return True
        self.refusal = explain_host_key(self.settings, verdict, key.get_algorithm(), key.public_data)
        return False

    def _accepts(self, verdict: Verdict, key: asyncssh.SSHKey) -> bool:
        if verdict.kind == "unknown" and self.settings.strict in ("accept-new", "no"):
            self.known.remember(self.settings, key.get_algorithm(), key.public_data)
            return True
        return verdict.kind == "changed" and self.settings.strict == "no"


def send_no_empty_packets(connection: Any) -> None:
    """Keep asyncssh from sending a packet to be ignored before each of its packets.

    They hide the predictable IV of CBC ciphers, of which `CIPHERS` has none, and double what is encrypted and sent.
    """
    send_packet = connection.send_packet

    def send(kind: int, *args: bytes, **options: Any) -> None:
        if kind != MSG_IGNORE:
            send_packet(kind, *args, **options)

    connection.send_packet = send


def acknowledge_quickly(sock: socket.socket | None) -> None:
    """Ask the kernel to acknowledge at once: its delay, with the server's Nagle, costs 42 ms otherwise."""
    if sock is not None and hasattr(socket, "TCP_QUICKACK"):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            return  # a proxy's pipe, or a socket that has just gone


@functools.cache
def tuned_options() -> asyncssh.SSHClientConnectionOptions:
    """Return the options that all connections start from; loading them does no I/O."""
    common: dict[str, Any] = {
        "config": None,
        "client_keys": None,
        "agent_path": None,
        "agent_forwarding": False,
        "gss_host": None,
        "x509_trusted_certs": None,
        "preferred_auth": ("publickey",),
        "encryption_algs": CIPHERS,
        "compression_algs": ("none",),
        "login_timeout": 0,  # the one deadline is ours
        "env": None,
        "send_env": None,
        "command": None,
    }
    try:
        return asyncssh.SSHClientConnectionOptions(kex_algs="^" + ",".join(KEY_EXCHANGES_FIRST), **common)
    except ValueError:  # the crypto library has no ML-KEM
        return asyncssh.SSHClientConnectionOptions(kex_algs="^" + ",".join(KEY_EXCHANGES_FIRST[1:]), **common)


async def open_connection(
    settings: HostSettings,
    keyring: UserKeyring,
    known: KnownHostsFiles,
    tunnel: asyncssh.SSHClientConnection | None = None,
) -> asyncssh.SSHClientConnection:
    """Return a connection, logged in, within `settings.connect_timeout_s`.

    Raises UnreachableError or AuthError with the phase (connect, banner, login) in which it stopped.
    """
    keys = UserKeys((), ())
    client = HostClient(settings, known.lookup(settings), known)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            keys = await keyring.keys_for(settings)
            try:
                return await _connect(settings, keys, client, tunnel)
            except (asyncssh.DisconnectError, ValueError, OSError) as error:
                if client.phase != "login":
                    raise
                refused, keys = keys, await keyring.renew(settings, keys)
                if keys.offers == refused.offers and isinstance(error, asyncssh.DisconnectError):
                    raise  # any other is what the agent said, or that it has gone
            client = HostClient(settings, known.lookup(settings), known)
            return await _connect(settings, keys, client, tunnel)
    except TimeoutError:
        raise explain_timeout(settings, client.phase) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        if client.refusal is not None:
            raise client.refusal from None
        raise explain_failure(settings, client.phase, error, keys.words) from error


async def _connect(
    settings: HostSettings, keys: UserKeys, client: HostClient, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    way: dict[str, Any] = {}
    if tunnel is not None:
        way["tunnel"] = tunnel
    elif settings.proxy_command is not None:
        # asyncssh reads its stderr as if it came from the host, and takes the end of that pipe for the end of it all.
        way["proxy_command"] = ["/bin/sh", "-c", f"exec 9>&2 2>/dev/null; exec {settings.proxy_command}"]
    else:
        way["sock"] = await connect_socket(settings)
    authorities = [e for e in client.entries if e.marker == "@cert-authority"]
    revoked = [e for e in client.entries if e.marker == "@revoked"] if authorities else []
    return await asyncssh.connect(
        settings.address,
        settings.port,
        options=tuned_options(),
        config=None,
        username=settings.user,
        client_keys=list(keys.pairs) or None,
        client_factory=cast("Callable[[], asyncssh.SSHClient]", lambda: client),
        known_hosts=([], _public_keys(authorities), _public_keys(revoked)),
        host_key_alias=settings.host_key_alias,
        server_host_key_algs=host_key_algorithms(client.entries),
        keepalive_interval=settings.keepalive_s,
        keepalive_count_max=settings.keepalive_count,
        **way,
    )


def host_key_algorithms(entries: tuple[KnownHost, ...]) -> list[str]:
    """Return what to offer: algorithms of the keys we know first, so that the host shows one of those."""
    types = {entry.key_type for entry in entries if not entry.marker}
    if "ssh-rsa" in types:
        types |= {"rsa-sha2-512", "rsa-sha2-256"}
    plain: list[str] = sorted(HOST_KEY_ALGORITHMS, key=lambda name: name not in types)
    if any(entry.marker == "@cert-authority" for entry in entries):
        return [name.removesuffix("@openssh.com") + CERTIFICATE_SUFFIX for name in HOST_KEY_ALGORITHMS] + plain
    return plain


def _public_keys(entries: list[KnownHost]) -> list[asyncssh.SSHKey]:
    keys: list[asyncssh.SSHKey] = []
    for entry in entries:
        try:
            keys.append(asyncssh.import_public_key(f"{entry.key_type} {entry.key}"))
        except asyncssh.KeyImportError:
            continue  # a kind of key we can't use can't vouch for a host either
    return keys


async def connect_socket(settings: HostSettings) -> socket.socket:
    """Return a connected socket; a host's addresses share the time there is. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    addresses = await _addresses(settings)
    share_s = settings.connect_timeout_s / len(addresses)
    failure: OSError = TimeoutError()
    for number, (family, address) in enumerate(addresses, 1):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(None if number == len(addresses) else share_s):
                await loop.sock_connect(sock, address)
            acknowledge_quickly(sock)
            return sock
        except OSError as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise failure


async def _addresses(settings: HostSettings) -> list[tuple[int, Any]]:
    family = FAMILIES.get(settings.address_family, socket.AF_UNSPEC)
    try:
        version = ipaddress.ip_address(settings.address).version
    except ValueError:
        infos = await asyncio.get_running_loop().getaddrinfo(
            settings.address, settings.port, family=family, type=socket.SOCK_STREAM
        )
        return [(info[0], info[4]) for info in infos]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (settings.address, settings.port))]

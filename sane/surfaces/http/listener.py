"""Where a server listens: an address as it is written, its socket, its URL; needs no HTTP library."""

from __future__ import annotations

import ipaddress
import socket

from sane.errors import UsageError

BACKLOG = 512


def split_address(address: str, example: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [HOST]:PORT. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"'{address}' is not HOST:PORT", hint=f"Write {example}.")
    return host.strip("[]"), int(port)


def bind_listener(address: tuple[str, int], unguarded: UsageError | None) -> socket.socket:
    """Return a socket that has an address and does not listen yet: who connects is refused until it does.

    Raises `unguarded`, where given, for an address that others can reach; OSError.
    """
    host, port = address
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:
        raise OSError(0, f"'{host}' is no name of a host") from error
    if unguarded is not None and not is_loopback(place[0]):
        raise unguarded
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
    except OSError:
        listener.close()
        raise
    return listener


def is_loopback(host: str | int) -> bool:
    """Return whether only this machine can reach an address."""
    return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""Where `sane mcp --http` listens, and who may call; needs neither the MCP SDK nor an HTTP library."""

from __future__ import annotations

import os
import socket

from sane.errors import UnavailableError, UsageError
from sane.surfaces.http.listener import bind_listener, split_address

TOKEN_VARIABLE = "SANE_MCP_TOKEN"


def bearer_token() -> str:
    """Return the token that clients must send, empty where none is set."""
    return os.environ.get(TOKEN_VARIABLE, "")


def bind(address: str) -> socket.socket:
    """Return a socket that has the address HOST:PORT and does not listen yet: nobody is served before all is loaded.

    Raises UsageError for an address that is none, or that others can reach where no token is set; UnavailableError for
    one that can't be had.
    """
    host, port = place = split_address(address, "127.0.0.1:8765")
    unguarded = UsageError(
        f"{host} is not a loopback address, so anyone could call the tools",
        hint=f"Set {TOKEN_VARIABLE}, or serve on 127.0.0.1.",
    )
    try:
        return bind_listener(place, None if bearer_token() else unguarded)
    except OSError as error:
        raise UnavailableError(
            f"{host}:{port} can't be served: {error.strerror or error}",
            hint="Another program may have that port. Name another one; 0 takes any that is free.",
        ) from error

"""Throwaway keys, made in process: ssh-keygen would cost a process a host."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def make_key(path: Path, comment: str) -> None:
    """Write an Ed25519 private key to `path` (0600) and its public one to `path`.pub, unless both are there."""
    public_path = path.with_name(path.name + ".pub")
    if path.exists() and public_path.exists():
        return
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public_path.write_text(f"{public} {comment}\n")


def public_key(path: Path) -> str:
    """Return the public key beside a private one, as `TYPE BASE64`."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])

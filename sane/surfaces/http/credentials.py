"""Who may call: principals with scopes, kept in a file of mode 0600 in the state directory.

A token is kept as its SHA-256 (it is 256 random bits, so nothing slower is needed). The secret of a signed request has
to be kept as it is, because the server computes the same HMAC.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sane.core.signing import KEY_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_request
from sane.errors import ConfigError, ConflictError, NotFoundError, UnknownCallerError, UsageError

SCOPES = ("read", "deploy", "promote", "admin")
SKEW_S = 300
MOST_CREDENTIALS = 1000
HINT = "Send 'Authorization: Bearer TOKEN'; `sane server credential add NAME` makes one."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Principal:
    """Hold who calls, and what they may do; `admin` may do everything."""

    name: str
    scopes: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """Return whether a scope is granted."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True, slots=True)
class Credential:
    """Hold one credential: `token_sha256` of a bearer token, or `secret` of signed requests (never shown)."""

    name: str
    scopes: tuple[str, ...]
    token_sha256: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @property
    def kind(self) -> str:
        """Return `signed` or `token`."""
        return "signed" if self.secret else "token"


class CredentialFile:
    """Read and change the credentials of a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "credentials.json"
        self._stamp: tuple[int, int, int] | None = None
        self._known: tuple[Credential, ...] = ()

    def load(self) -> tuple[Credential, ...]:
        """Return the credentials, read again when the file changed. Raises ConfigError for a file others can read."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                stamp = (state.st_ino, state.st_ctime_ns, state.st_size)
                if stamp != self._stamp:
                    if state.st_mode & 0o077:
                        raise self._wrong("others can read it", f"Run chmod 600 {self.path}")
                    self._known, self._stamp = self._parse(file.read()), stamp
        except FileNotFoundError:
            self._known, self._stamp = (), None
        except OSError as error:
            raise self._wrong(f"it can't be read: {error.strerror}", "Check its owner.") from None
        return self._known

    def add(self, name: str, scopes: Sequence[str], *, signed: bool = False) -> str:
        """Add a credential and return its token or secret, which is never shown again.

        Raises UsageError for a bad name or scope, ConflictError for a name that is taken.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name[:64]}' is no name for a credential", hint="Use letters, digits, . _ and -.")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            hint = f"Valid: {', '.join(SCOPES)}."
            raise UsageError(f"unknown scope '{unknown[0]}'" if unknown else "a credential needs a scope", hint=hint)
        secret = secrets.token_urlsafe(32)
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        kept = {"secret": secret} if signed else {"token_sha256": hashlib.sha256(secret.encode()).hexdigest()}
        with self._locked():
            known = self.load()
            if any(credential.name == name for credential in known):
                raise ConflictError(f"credential '{name}' exists", hint=f"sane server credential remove {name}")
            if len(known) >= MOST_CREDENTIALS:
                raise UsageError(f"there are {MOST_CREDENTIALS} credentials; remove those that nobody uses")
            self._write([*known, Credential(name, ordered, **kept)])
        return secret

    def remove(self, name: str) -> None:
        """Take a credential away; a running server refuses it from its next request on. Raises NotFoundError."""
        with self._locked():
            known = self.load()
            rest = [credential for credential in known if credential.name != name]
            if len(rest) == len(known):
                raise NotFoundError(
                    f"there is no credential '{name}'", hint="`sane server credential list` shows them."
                )
            self._write(rest)

    def _parse(self, content: bytes) -> tuple[Credential, ...]:
        try:
            return tuple(
                Credential(entry["name"], tuple(entry["scopes"]), entry["token_sha256"], entry["secret"])
                for entry in json.loads(content)["credentials"]
            )
        except (ValueError, KeyError, TypeError):
            raise self._wrong("it is damaged", "Restore it, or remove it and add the credentials again.") from None

    def _write(self, credentials: Sequence[Credential]) -> None:
        text = json.dumps({"credentials": [asdict(credential) for credential in credentials]}, indent=1)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Generator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _wrong(self, message: str, hint: str) -> ConfigError:
        return ConfigError(message, file=str(self.path), hint=hint)


def find_by_token(credentials: Sequence[Credential], authorization: str) -> Principal:
    """Return whose bearer token an Authorization header has. Raises UnknownCallerError."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnknownCallerError("the Authorization header is not 'Bearer TOKEN'", hint=HINT)
    given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    found: Credential | None = None
    for credential in credentials:  # to the end: how long it takes tells nothing
        if hmac.compare_digest(credential.token_sha256, given):
            found = credential
    if found is None:
        raise UnknownCallerError("the token is not valid", hint=HINT)
    return Principal(found.name, found.scopes)


def find_by_signature(
    credentials: Sequence[Credential], headers: Mapping[str, str], method: str, path: str, body: bytes, now_s: float
) -> tuple[Principal, str]:
    """Return who signed a request, and a key by which the signature can be remembered. Raises UnknownCallerError.

    `path` is the path with its query as they were sent; `headers` have small names.
    """
    key_id, stamp = headers.get(KEY_ID_HEADER.lower(), ""), headers.get(TIMESTAMP_HEADER.lower(), "")
    given = headers.get(SIGNATURE_HEADER.lower(), "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise UnknownCallerError(f"{TIMESTAMP_HEADER} must be epoch seconds", hint="Write the output of: date +%s")
    if abs(now_s - int(stamp)) > SKEW_S:
        raise UnknownCallerError(f"{TIMESTAMP_HEADER} is more than {SKEW_S} s off", hint="Check both clocks.")
    wanted: Any = next((c for c in credentials if c.secret and c.name == key_id), None)
    secret = wanted.secret if wanted else "none"
    right = base64.b64decode(sign_request(secret.encode(), int(stamp), method, path, body))
    try:
        told = base64.b64decode(given, validate=True)
    except ValueError:
        told = b""
    if not hmac.compare_digest(right, told) or wanted is None:
        raise UnknownCallerError("the signature is not valid", hint="Sign TIMESTAMP;METHOD;PATH?QUERY;SHA256(BODY).")
    # of the bytes, not of the text: base64 can write the same bytes in several ways
    return Principal(wanted.name, wanted.scopes), hashlib.sha256(key_id.encode() + told).hexdigest()

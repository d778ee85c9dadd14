"""The signature of a request: what a controller checks, and what a webhook of ours carries."""

from __future__ import annotations

import base64
import hashlib
import hmac

KEY_ID_HEADER = "X-Sane-Key-ID"
TIMESTAMP_HEADER = "X-Sane-Timestamp"
SIGNATURE_HEADER = "X-Sane-Signature"


def sign_request(secret: bytes, timestamp_s: int, method: str, path_and_query: str, body: bytes) -> str:
    """Return base64(HMAC-SHA256(secret, `{timestamp};{METHOD};{path?query};{sha256hex(body)}`))."""
    told = f"{timestamp_s};{method.upper()};{path_and_query};{hashlib.sha256(body).hexdigest()}"
    return base64.b64encode(hmac.digest(secret, told.encode(), "sha256")).decode()

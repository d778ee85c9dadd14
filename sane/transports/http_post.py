"""Post over HTTP without a client library: a one-shot call must stay quick."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sane.errors import UnavailableError

PIECE_BYTES = 1 << 16


def post(what: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, limit_bytes: int = 0) -> bytes:
    """Return the first bytes of the answer, `limit_bytes` at most; anything but 2xx is an error, also a redirect.

    Raises UnavailableError, which calls the other end `what`.
    """
    import http.client
    import urllib.error
    import urllib.request

    class _NoRedirects(urllib.request.HTTPRedirectHandler):
        """Refuse redirects: a signature is for one receiver, and urllib would take a key along to another host."""

        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    deadline = time.monotonic() + timeout_s
    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as response:
            answer = b""
            while len(answer) < limit_bytes and (piece := response.read1(min(PIECE_BYTES, limit_bytes - len(answer)))):
                answer += piece
                if time.monotonic() > deadline:  # the library's time limit is that of each read
                    raise TimeoutError(f"no whole answer in {timeout_s:g} s")
            return answer
    except urllib.error.HTTPError as error:
        error.close()
        raise UnavailableError(f"{what} answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"{what} can't be used: {reason or type(error).__name__}") from None

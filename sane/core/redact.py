"""Take secrets out of text before it leaves the machine.

A pattern here errs on the side of hiding: a packet with a word too few is still evidence, one with a token too many
is a leak. What is recognised: private keys (also cut off, and with line breaks written as backslash-n),
Authorization and cookie headers, `name=value` and `"name": "value"` where the name says secret, passwords in URLs,
JSON Web Tokens, and the keys whose form is public (AWS, GitHub, GitLab, Slack, Google, Stripe, npm, PyPI, OpenAI
and Anthropic). The same in percent-encoding, and base64 of any of them, is hidden too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache
from urllib.parse import unquote

MARK = "[redacted]"
_SECRET_WORDS = (
    r"passw(?:or)?d|passphrase|\bpwd|_pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key|"
    r"client[_-]?key|encryption[_-]?key|credential|signature|session[_-]?id"
)
_NAME = rf"[\w.-]{{0,64}}(?:{_SECRET_WORDS})[\w.-]{{0,64}}"  # bounded: a long word must not cost its square
_VALUE = r"""(?:"(?:[^"\\]|\\.)*(?:"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|\\"[^"]*\\?"|[^\s,;&'"}\])]+)"""

# (pattern, replacement), in the order in which they are applied
_SOURCES: tuple[tuple[str, str], ...] = (
    (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)", MARK),
    (r"(?:[A-Za-z0-9+/=]{16,}\s+){0,200}[A-Za-z0-9+/=]*\s*-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----", MARK),
    (
        r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)(\"?'?\s*[:=]\s*)"
        r"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]+)*",
        r"\1\2" + MARK,
    ),
    (r"(?i)\b(bearer|basic|digest)[ \t\r\n]+[A-Za-z0-9+/=._~-]{6,}", r"\1 " + MARK),
    (r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]*(?:@[^\s/@]*)*@", r"\1:" + MARK + "@"),
    (r"(?i)(" + _NAME + r"[\"']?\s{0,3}(?:=>|:=|[:=])\s{0,3}(?:[|>][+-]?\s{1,20})?)" + _VALUE, r"\1" + MARK),
    (r"(?i)(--?" + _NAME + r"[ \t]+)" + _VALUE, r"\1" + MARK),
    (r"\beyJ[A-Za-z0-9_-]{6,}\s?\.\s?[A-Za-z0-9_-]{4,}(?:\s?\.\s?[A-Za-z0-9_-]*)?", MARK),
    (r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}", MARK),
    (r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})", MARK),
    (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", MARK),
    (r"\bAIza[A-Za-z0-9_-]{30,}", MARK),
    (r"\b(?:sk|rk|pk)[-_](?:live|test|ant|proj|or)?[-_A-Za-z0-9]{16,}", MARK),
    (r"\b(?:npm_|pypi-)[A-Za-z0-9_-]{20,}", MARK),
)
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_PERCENT = re.compile(r"[^\s%]{0,200}(?:%[0-9A-Fa-f]{2}[^\s%]{0,200})+")


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(source, re.DOTALL), replacement) for source, replacement in _SOURCES)


def redact(text: str) -> str:
    """Return the text with every secret that is recognised replaced by `[redacted]`.

    Redacting twice changes nothing more.
    """
    return _hide_encoded(_redact_plain(text))


def _redact_plain(text: str) -> str:
    for pattern, replacement in _patterns():
        text = pattern.sub(replacement, text)
    return text


def _hide_encoded(text: str) -> str:
    """Hide base64 and percent-encoded words that hold a secret once decoded."""
    text = _PERCENT.sub(_hide_when(unquote), text)
    return _ENCODED.sub(_hide_when(_from_base64), text)


def _hide_when(decode: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    def hide(match: re.Match[str]) -> str:
        plain = decode(match[0])
        return MARK if plain and _redact_plain(plain) != plain else match[0]

    return hide


def _from_base64(word: str) -> str:
    padded = word.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""

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
# no prefix before the word, and a bounded suffix: a long line must not cost its square
_NAME = rf"(?:{_SECRET_WORDS})[\w.-]{{0,64}}"
_HIDDEN = r"""(?!\[redacted\](?:[\s,;&'"}\])]|\Z))"""
_VALUE = _HIDDEN + r"""(?:"(?:[^"\\]|\\.)*(?:"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|\\"[^"]*\\?"|[^\s,;&'"}\])]+)"""

# (pattern, replacement), in the order in which they are applied
_SOURCES: tuple[tuple[str, str], ...] = (
    (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)", MARK),
    (
        r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)(\"?'?\s*[:=]\s*)"
        r"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]+)*",
        r"\1\2" + MARK,
    ),
    (r"(?i)\b(bearer|basic|digest)[ \t\r\n]+[A-Za-z0-9+/=._~-]{6,}", r"\1 " + MARK),
    (r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?!\[redacted\]@)[^\s/@]*:[^\s/@]*(?:@[^\s/@]*)*@", r"\1" + MARK + "@"),
    (
        r"(?i)(" + _NAME + r"[\"']?\s{0,3}(?:=>|:=|[:=])\s{0,40}(?:[|>][+-]?\s{1,20})?)(?![|>][+-]?\s)" + _VALUE,
        r"\1" + MARK,
    ),
    (r"(?i)(--?[\w-]{0,40}" + _NAME + r"[ \t]+)" + _VALUE, r"\1" + MARK),
    (r"\beyJ[A-Za-z0-9_-]{6,}\s?\.\s?[A-Za-z0-9_-]{4,}(?:\s?\.\s?[A-Za-z0-9_-]*)?", MARK),
    (r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}", MARK),
    (r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})", MARK),
    (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", MARK),
    (r"\bAIza[A-Za-z0-9_-]{30,}", MARK),
    (r"\b(?:sk|rk|pk)[-_](?:live|test|ant|proj|or)?[-_A-Za-z0-9]{16,}", MARK),
    (r"\b(?:npm_|pypi-)[A-Za-z0-9_-]{20,}", MARK),
)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY[A-Z ]{0,10}-----")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=\r\t ]*")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_PERCENT = re.compile(r"[^\s%]{0,200}(?:%[0-9A-Fa-f]{2}[^\s%]{0,200})+")


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(source, re.DOTALL), replacement) for source, replacement in _SOURCES)


def redact(text: str) -> str:
    """Return the text with every secret that is recognised replaced by `[redacted]`.

    Redacting twice changes nothing more.
    """
    return _hide_encoded(_redact_plain(_hide_key_tails(text)))


def _hide_key_tails(text: str) -> str:
    """Hide the body of a private key whose beginning was cut off: the lines of base64 before its end."""
    done, kept = 0, list[str]()
    for match in _KEY_END.finditer(text):
        before = text[done : match.start()]
        if "PRIVATE KEY" not in before:
            lines = before.split("\n")
            while len(lines) > 1 and _KEY_BODY.fullmatch(lines[-1]):
                lines.pop()
            if _KEY_BODY.fullmatch(lines[-1]):
                lines[-1] = ""
            kept.append("\n".join([*lines, MARK]))
        else:
            kept.append(text[done : match.end()])
        done = match.end()
    return "".join(kept) + text[done:]


def _redact_plain(text: str) -> str:
    for pattern, replacement in _patterns():
        text = pattern.sub(replacement, text)
    return text


def _hide_encoded(text: str) -> str:
    """Hide base64 and percent-encoded words that hold a secret once decoded."""
    if "%" in text:
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

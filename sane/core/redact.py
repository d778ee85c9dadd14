"""Take secrets out of text before it leaves the machine.

A pattern here errs on the side of hiding: a packet with a word too few is still evidence, one with a token too many
is a leak. What is recognised: private keys (also cut off, and with line breaks written as backslash-n),
Authorization and cookie headers, `name=value` and `"name": "value"` where the name says secret, passwords in URLs,
JSON Web Tokens, and the keys whose form is public (AWS, GitHub, GitLab, Slack, Google, Stripe, npm, PyPI, OpenAI
and Anthropic). The same inside JSON strings inside JSON strings, to any depth, in percent-encoding and in base64, is
hidden too: a text is looked at once more for each level of escaping taken off it, and what is found there is hidden
where it stands in the text as it is. A text of n characters takes O(n log n) at worst, for no run of backslashes can
be halved more often than that.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
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
_VALUE = _HIDDEN + r"""(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|[^\s,;&'"}\])]+)"""

# In each match the group `kept` stays, and what follows it is hidden.
_SOURCES: tuple[str, ...] = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)",
    r"(?i)(?P<kept>\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)\"?'?\s*[:=]\s*)"
    r"[^\r\n]*(?:\r?\n[ \t]+[^\r\n]+)*",
    r"(?i)(?P<kept>\b(?:bearer|basic|digest)[ \t\r\n]+)[A-Za-z0-9+/=._~-]{6,}",
    r"(?i)(?P<kept>\b[a-z][a-z0-9+.-]{0,20}://)(?!\[redacted\]@)[^\s/:]*+:[^\s/@]*+(?:@[^\s/@]*+(?=@))*+(?=@)",
    r"(?i)(?P<kept>" + _NAME + r"[\"']?\s{0,3}(?:=>|:=|[:=])\s{0,40}(?:[|>][+-]?\s{1,20})?)(?![|>][+-]?\s)" + _VALUE,
    r"(?i)(?P<kept>(?<![\w-])--?[\w-]{0,40}" + _NAME + r"[ \t]+)" + _VALUE,
    r"(?<![A-Za-z0-9_-])(?P<kept>(?:(?!eyJ)[A-Za-z0-9_-])*+)eyJ[A-Za-z0-9_-]{6,}+\s?\.\s?[A-Za-z0-9_-]{4,}(?:\s?\.\s?[A-Za-z0-9_-]*)?",
    r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}",
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\b(?:sk|rk|pk)[-_](?:live|test|ant|proj|or)?[-_A-Za-z0-9]{16,}",
    r"\b(?:npm_|pypi-)[A-Za-z0-9_-]{20,}",
)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY[A-Z ]{0,10}-----")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=\r\t ]*")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_PERCENT = re.compile(r"[^\s%]{0,200}(?:%[0-9A-Fa-f]{2}[^\s%]{0,200})+")
_ESCAPE = re.compile(r"""\\(?:u([0-9A-Fa-f]{4})|([\\"'/bfnrt]))""")
_ESCAPED = {"b": " ", "f": " ", "n": "\n", "r": "\r", "t": "\t"}
_DECODINGS = 8  # of an encoding in an encoding; each makes the text shorter

_Span = tuple[int, int]


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(source, re.DOTALL) for source in _SOURCES)


def redact(text: str) -> str:
    """Return the text with every secret that is recognised replaced by `[redacted]`.

    Redacting twice changes nothing more.
    """
    return _put_marks(text, _find(text, _DECODINGS))


def _put_marks(text: str, spans: Iterable[_Span]) -> str:
    kept, done = list[str](), 0
    for start, end in _merged(spans):
        kept += (text[done:start], MARK)
        done = end
    return "".join(kept) + text[done:]


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _find(text: str, decodings: int) -> list[_Span]:
    """Return where secrets stand, at every level of escaping."""
    found = list(_find_plain(text, decodings))
    level, places = text, list[_Places]()
    while "\\" in level:
        unescaped, place = _unescape(level)
        if unescaped == level:
            break
        level = unescaped
        places.append(place)
        for span in _find_plain(level, decodings):
            start, end = span
            for one in reversed(places):
                start, end = one.before(start), one.before(end)
            found.append((start, end))
    return found


def _find_plain(text: str, decodings: int) -> Iterator[_Span]:
    """Yield where secrets stand in a text as it is."""
    yield from _find_key_tails(text)
    for pattern in _patterns():
        has_kept = "kept" in pattern.groupindex
        for match in pattern.finditer(text):
            yield (match.end("kept") if has_kept else match.start(), match.end())
    if decodings:
        if "%" in text:
            yield from _find_encoded(_PERCENT, unquote, text, decodings)
        yield from _find_encoded(_ENCODED, _from_base64, text, decodings)


def _find_key_tails(text: str) -> Iterator[_Span]:
    """Yield the body of each private key whose beginning was cut off: the lines of base64 before its end."""
    done = 0
    for match in _KEY_END.finditer(text):
        before = text[done : match.start()]
        if "PRIVATE KEY" not in before:
            lines = before.split("\n")
            while len(lines) > 1 and _KEY_BODY.fullmatch(lines[-1]):
                lines.pop()
            start = done if _KEY_BODY.fullmatch(lines[-1]) else done + len("\n".join(lines)) + 1
            yield (min(start, match.start()), match.end())
        done = match.end()


def _find_encoded(pattern: re.Pattern[str], decode: Callable[[str], str], text: str, decodings: int) -> Iterator[_Span]:
    """Yield the words that hold a secret once decoded, however often they were encoded."""
    for match in pattern.finditer(text):
        plain = decode(match[0])
        if plain and plain != match[0] and _find(plain, decodings - 1):
            yield match.span()


class _Places:
    """Tell where a place in an unescaped text is in the escaped one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._shifts = [0]

    def add(self, start: int, length: int) -> None:
        """Note that the character at `start` was an escape of so many characters."""
        self._starts.append(start)
        self._shifts.append(self._shifts[-1] + length - 1)

    def before(self, place: int) -> int:
        """Return the place in the escaped text."""
        return place + self._shifts[bisect_left(self._starts, place)]


def _unescape(text: str) -> tuple[str, _Places]:
    """Return the text with one level of the escapes of JSON strings taken off, and the places."""
    pieces, places, done, length = list[str](), _Places(), 0, 0
    for match in _ESCAPE.finditer(text):
        pieces += (text[done : match.start()], chr(int(match[1], 16)) if match[1] else _ESCAPED.get(match[2], match[2]))
        length += match.start() - done
        places.add(length, match.end() - match.start())
        length += 1
        done = match.end()
    return "".join([*pieces, text[done:]]), places


def _from_base64(word: str) -> str:
    padded = word.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""

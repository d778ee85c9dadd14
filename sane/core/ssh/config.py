"""OpenSSH's client configuration: parse the files once, resolve any number of hosts without a process each.

`ssh -G HOST` is the reference, and the tests compare with it. The caller reads files and runs `Match exec`.

Not supported: CanonicalizeHostname, Match localnetwork and version (refused by name), and the algorithm lists, where
asyncssh's own lists stay on offer. Options that concern terminals and forwarding are of no use here and are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sane.core.nearest import nearest_hint
from sane.errors import ConfigError

# pattern of an Include -> the files it means, as (name, text), in OpenSSH's order
ReadInclude = Callable[[str], Sequence[tuple[str, str]]]

MAX_INCLUDE_DEPTH = 16  # as OpenSSH has it
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+""", re.DOTALL)
_PIECE = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^"'\\]|\\.)+)""", re.DOTALL)
_WHOLE_LINE = {"proxycommand", "localcommand", "remotecommand", "knownhostscommand"}
_LISTS = {"identityfile", "certificatefile"}
_CRITERIA = {"all", "canonical", "final", "host", "originalhost", "user", "localuser", "exec"}
_WITHOUT_ARGUMENT = {"all", "canonical", "final"}


@dataclass(frozen=True, slots=True)
class Condition:
    """Hold one line: the patterns of a `Host`, or the pairs of criterion and argument of a `Match`."""

    kind: str
    patterns: tuple[str, ...] = ()
    criteria: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Directive:
    """Hold one option line and the conditions, outermost first, under which it counts."""

    keyword: str
    values: tuple[str, ...]
    file: str
    line: int
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Hold what resolving needs to know of this machine: `run` answers `Match exec`."""

    home: str
    user: str
    uid: int
    hostname: str
    environ: Mapping[str, str]
    run: Callable[[str], bool]


def split_words(text: str) -> list[str]:
    """Return the words of a line as OpenSSH splits them: quotes join, `#` begins a comment. Raises ValueError."""
    words: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position >= len(text) or text[position] == "#":
            return words
        found = _WORD.match(text, position)
        if found is None or (found.end() < len(text) and not text[found.end()].isspace()):
            raise ValueError("a quote is not closed")
        words.append("".join(_unquoted(piece) for piece in _PIECE.finditer(found[0])))
        position = found.end()


def _unquoted(piece: re.Match[str]) -> str:
    if piece[3] is not None:  # outside quotes a backslash also protects a blank
        return re.sub(r"\\([\\\"' ])", r"\1", piece[3])
    return re.sub(r"\\([\\\"'])", r"\1", piece[1] if piece[1] is not None else piece[2])


def parse_ssh_config(text: str, file: str, include: ReadInclude) -> tuple[Directive, ...]:
    """Return the options of a configuration file and of those it includes. Raises ConfigError naming file and line."""
    return tuple(_parse(text, file, include, (), 0))


def _parse(text: str, file: str, include: ReadInclude, outer: tuple[Condition, ...], depth: int) -> Iterable[Directive]:
    conditions = outer
    for number, line in enumerate(text.split("\n"), 1):
        keyword, rest = _keyword(line)
        if not keyword:
            continue
        try:
            values = [rest] if keyword in _WHOLE_LINE else split_words(rest)
            if not values or values == [""]:
                raise ValueError(f"{keyword} has no argument")
            if keyword == "host":
                conditions = (*outer, Condition("Host", patterns=tuple(values)))
            elif keyword == "match":
                conditions = (*outer, Condition("Match", criteria=_criteria(values)))
                yield Directive(keyword, tuple(values), file, number, conditions)  # judged where it stands
            elif keyword == "include":
                if depth >= MAX_INCLUDE_DEPTH:
                    raise ValueError("too many levels of Include")
                for pattern in values:
                    for name, included in include(pattern):
                        yield from _parse(included, name, include, conditions, depth + 1)
            else:
                yield Directive(keyword, tuple(values), file, number, conditions)
        except ValueError as error:
            raise ConfigError(str(error), file=file, line=number) from None


def _keyword(line: str) -> tuple[str, str]:
    line = line.strip(" \t\r\f")
    if not line or line.startswith("#"):
        return "", ""
    found = re.match(r'"?([^\s="]+)"?[ \t]*=?[ \t]*(.*)', line, re.DOTALL)
    return (found[1].lower(), found[2]) if found else ("", "")


def _criteria(words: list[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        name, equals, argument = rest.pop(0).partition("=")
        name = name.lower()
        if name.lstrip("!") not in _CRITERIA:
            raise ValueError(f"Match '{name}' is not supported. {nearest_hint(name.lstrip('!'), _CRITERIA)}")
        if name.lstrip("!") not in _WITHOUT_ARGUMENT and not equals:
            if not rest:
                raise ValueError(f"Match {name} has no argument")
            argument = rest.pop(0)
        pairs.append((name, argument))
    return tuple(pairs)


def matches_pattern(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern of `*` and `?`."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    translated = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(translated, name, re.DOTALL) is not None


def matches_list(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of the patterns and none of those negated with `!`."""
    matched = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        body = pattern[1:] if negated else pattern
        if matches_pattern(name, body):
            if negated:
                return False
            matched = True
    return matched


def expand_tokens(text: str, tokens: Mapping[str, str], what: str) -> str:
    """Return text with `%h` and the like replaced. Raises ConfigError on a token that does not exist there."""

    def value(found: re.Match[str]) -> str:
        token = found[1]
        if token == "%":
            return "%"
        if token not in tokens:
            raise ConfigError(f"{what}: unknown token %{token} in '{text}'", hint="Write %% for a percent sign.")
        return tokens[token]

    return re.sub(r"%(.?)", value, text, flags=re.DOTALL)


def resolve_raw(
    directives: Sequence[Directive], host: str, given: Mapping[str, Sequence[str]], around: Surroundings
) -> dict[str, tuple[str, ...]]:
    """Return the options in force for `host`, keyword (lower case) to values; the first value found counts.

    `given` is what a command line would say, and comes first. Identity files add up.
    """
    found: dict[str, tuple[str, ...]] = {key: tuple(values) for key, values in given.items()}
    _pass(_Resolution(host, host, found, around, False, {}), directives)
    if any(_wants_final(directive) for directive in directives):
        # The second pass knows the host by the name that the first one found, and can't change that name.
        name = hostname_of(host, found).lower()
        found["hostname"] = (name.replace("%", "%%"),)
        _pass(_Resolution(name, host, found, around, True, {}), directives)
    return found


def _pass(resolution: _Resolution, directives: Sequence[Directive]) -> None:
    for directive in directives:
        if all(resolution.holds(condition) for condition in directive.conditions):
            _take(resolution.found, directive)


def _wants_final(directive: Directive) -> bool:
    return any(name.lstrip("!") == "final" for c in directive.conditions for name, _ in c.criteria)


def _take(found: dict[str, tuple[str, ...]], directive: Directive) -> None:
    keyword, values = directive.keyword, directive.values
    if keyword in _LISTS:
        have = found.get(keyword, ())
        found[keyword] = have if values[0] in have else (*have, values[0])
    elif keyword in ("proxyjump", "proxycommand"):
        # The first of the two counts, but `ProxyJump none` leaves room for a command.
        if "proxycommand" not in found and found.get("proxyjump", ("none",))[0] == "none":
            found.setdefault(keyword, values)
    else:
        found.setdefault(keyword, values)


@dataclass(slots=True)
class _Resolution:
    """Judge conditions against what is known so far: a Match sees the options set above it."""

    host: str
    original_host: str
    found: dict[str, tuple[str, ...]]
    around: Surroundings
    final: bool
    judged: dict[int, bool]  # by identity: a condition is judged once, where its line stands

    def holds(self, condition: Condition) -> bool:
        key = id(condition)
        if key not in self.judged:
            if condition.kind == "Host":
                self.judged[key] = matches_list(self.host, condition.patterns)
            else:
                self.judged[key] = all(self._criterion(name, argument) for name, argument in condition.criteria)
        return self.judged[key]

    def _criterion(self, name: str, argument: str) -> bool:
        negated, name = name.startswith("!"), name.lstrip("!")
        return self._plain(name, argument) != negated

    def _plain(self, name: str, argument: str) -> bool:
        if name == "all":
            return True
        if name in ("canonical", "final"):
            return self.final
        if name == "exec":
            tokens = tokens_for(self.original_host, self.found, self.around)
            return self.around.run(expand_tokens(argument, tokens, "Match exec"))
        subject = {
            "host": hostname_of(self.original_host, self.found),
            "originalhost": self.original_host,
            "user": self.found.get("user", (self.around.user,))[0],
            "localuser": self.around.user,
        }[name]
        if name in ("host", "originalhost"):
            return matches_list(subject.lower(), argument.lower().split(","))
        return matches_list(subject, argument.split(","))


def hostname_of(host: str, found: Mapping[str, tuple[str, ...]]) -> str:
    """Return the name or address to connect to."""
    return expand_tokens(found["hostname"][0], {"h": host}, "HostName") if "hostname" in found else host


def tokens_for(host: str, found: Mapping[str, tuple[str, ...]], around: Surroundings) -> dict[str, str]:
    """Return the values of `%h`, `%n`, `%p`, `%r`, `%u`, `%d`, `%i`, `%k`, `%l`, `%L`."""
    hostname = hostname_of(host, found)
    return {
        "h": hostname,
        "n": host,
        "p": found.get("port", ("22",))[0],
        "r": found.get("user", (around.user,))[0],
        "u": around.user,
        "d": around.home,
        "i": str(around.uid),
        "k": found.get("hostkeyalias", (hostname,))[0],
        "l": around.hostname,
        "L": around.hostname.partition(".")[0],
    }

"""From the words of a command line to the arguments of a verb, and its usage text, both from its parameters alone.

argparse is not used: it takes `-5` for an option and costs 11 ms.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from sane.core.nearest import nearest_hint
from sane.errors import UsageError
from sane.verbs.registry import Parameter, Verb, answer_fields, convert, display_name

# What every primitive takes beside its own (--exit-status only where a command runs): name -> help.
COMMON_OPTIONS = {
    "query": "print only what this JMESPath expression selects",
    "output": "json (one line, the default), ndjson or table",
    "exit-status": "exit with the command's own code",
    "help": "print this text",
}
STDIN_PARAMETERS = ("content", "text")  # `--stdin` gives these as bytes read from standard input
STDIN_HELP = "read it from standard input, as bytes"


class MissingArgumentError(UsageError):
    """Refuse a command line that lacks a required argument."""


class Arguments:
    """Hold a command line taken apart."""

    def __init__(self, *, query: str = "", output: str = "json") -> None:
        self.values: dict[str, object] = {}
        self.query = query
        self.output = output
        self.exit_status = False
        self.help = False


def read_standard_input() -> bytes:
    """Return all of standard input. Raises UsageError where it is closed."""
    if getattr(sys.stdin, "buffer", None) is None:
        raise UsageError("standard input is closed", hint="Give --stdin a file or a pipe to read, or /dev/null.")
    return sys.stdin.buffer.read()


def parse_arguments(
    verb: Verb, words: Sequence[str], read_stdin: Callable[[], bytes] = read_standard_input
) -> Arguments:
    """Return the arguments for a verb; `read_stdin` gives what `--stdin` means.

    A word is an option when it is `--name` or `--name=value`; everything behind `--` is positional, as is `-5`.
    Raises MissingArgumentError, and UsageError with the sentences that scripts match.
    """
    parser = _Parser(verb, list(words), read_stdin)
    parser.read()
    if not parser.arguments.help:
        parser.place_positionals()
    return parser.arguments


def parsed_so_far(verb: Verb, words: Sequence[str]) -> dict[str, object]:
    """Return the arguments that stand before whatever is wrong in a command line."""
    parser = _Parser(verb, list(words), bytes)
    with contextlib.suppress(UsageError):
        parser.read()
        parser.place_positionals()
    return parser.arguments.values


class _Parser:
    def __init__(self, verb: Verb, words: list[str], read_stdin: Callable[[], bytes]) -> None:
        self.arguments = Arguments()
        self._verb = verb
        self._read_stdin = read_stdin
        self._words = words
        self._positionals: list[str] = []
        self._parameters = verb.parameters
        self._by_option = {option_name(p): p for p in verb.parameters}
        self._stdin = next((p for p in verb.parameters if p.name in STDIN_PARAMETERS), None)
        self._from_stdin = False

    def read(self) -> None:
        words = self._words
        while words:
            word = words.pop(0)
            if word == "--":
                self._positionals += words
                return
            if word == "-h" and not self._positionals:
                self.arguments.help = True
            elif _is_option(word):
                self._option(*word[2:].partition("="))
            else:
                self._positionals.append(word)

    def _option(self, name: str, equals: str, value: str) -> None:
        common, name = self.arguments, name.replace("_", "-")
        parameter = self._by_option.get(name) or self._by_option.get(name.removeprefix("no-"))
        if parameter is not None:
            self._parameter(parameter, name, equals, value)
        elif name == "help":
            common.help = True
        elif name == "exit-status" and (offers_exit_status(self._verb) is not False):
            common.exit_status = True
        elif name == "query":
            common.query = value if equals else self._next(name)
        elif name == "output":
            common.output = value if equals else self._next(name)
            if common.output not in ("json", "ndjson", "table"):
                raise UsageError(f"output must be one of json, ndjson, table, got '{common.output}'")
        elif name == "stdin" and self._stdin is not None:
            self._from_stdin = True
        else:
            known = [*self._by_option, *common_options(self._verb), *(["stdin"] if self._stdin else [])]
            hint = nearest_hint(name, known)
            raise UsageError(
                f"unknown option '--{name}'", hint=f"{hint} A value that begins with -- goes behind a bare --."
            )

    def _parameter(self, parameter: Parameter, name: str, equals: str, value: str) -> None:
        values = self.arguments.values
        if parameter.kind == "bool" and not parameter.positional:
            off = name.startswith("no-") and name not in self._by_option
            if not equals and not off and parameter.default is True and self._words[:1] in (["true"], ["false"]):
                equals, value = "=", self._words.pop(0)  # alone it would say nothing, so that is its value
            values[parameter.name] = (convert(parameter, value) if equals else True) is not off
            return
        text = value if equals else self._next(name)
        if parameter.kind == "list":
            values.setdefault(parameter.name, []).append(text)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        else:
            values[parameter.name] = convert(parameter, text)

    def _next(self, name: str) -> str:
        if not self._words:
            raise UsageError(f"option '--{name}' needs a value")
        return self._words.pop(0)

    def place_positionals(self) -> None:
        words, values = self._positionals, self.arguments.values
        if self._from_stdin and self._stdin is not None:
            values[self._stdin.name] = self._read_stdin().decode("utf-8", "surrogateescape")
        for parameter in self._parameters:
            if not parameter.positional or parameter.name in values:
                continue
            if parameter.kind == "list":
                if words:
                    values[parameter.name] = words[:]
                    words.clear()
            elif words:
                values[parameter.name] = convert(parameter, words.pop(0))
            if parameter.required and parameter.name not in values:
                raise MissingArgumentError(f"{parameter.name.upper()} is missing")
        if words:
            raise UsageError(f"unexpected argument '{words[0]}'", hint="Quote a value that holds blanks.")
        for parameter in self._parameters:
            if parameter.required and parameter.name not in values:
                raise MissingArgumentError(f"--{option_name(parameter)} is missing")


def _is_option(word: str) -> bool:
    """Say whether a word is an option: `--` and a name, so that `---\\ntitle: x` and `--- a/b` are values."""
    name = word[2:].partition("=")[0]
    return word.startswith("--") and name[:1].isalpha() and name.replace("-", "").replace("_", "").isalnum()


def option_name(parameter: Parameter) -> str:
    """Return the name of a parameter as an option, without the dashes."""
    return display_name(parameter).replace("_", "-")


def offers_exit_status(verb: Verb) -> bool | None:
    """Return whether a verb runs a command whose exit code it answers; None where it does not say what it answers."""
    fields = answer_fields(verb)
    return None if fields is None else {"output", "exit_code"} <= set(fields)


def common_options(verb: Verb) -> dict[str, str]:
    """Return the options that a verb takes beside its own, with their help."""
    return {n: text for n, text in COMMON_OPTIONS.items() if n != "exit-status" or offers_exit_status(verb)}


def usage_line(verb: Verb) -> str:
    """Return the one line `Usage: …`."""
    words = [f"Usage: sane-{verb.name}"]
    for parameter in verb.parameters:
        name = display_name(parameter)
        if parameter.positional:
            more = "…" if parameter.kind == "list" else ""
            words.append(f"{name.upper()}{more}" if parameter.required else f"[{name}{more}]")
        else:
            words.append(_option_usage(parameter) if not parameter.required else _option_usage(parameter).strip("[]"))
    if any(p.name in STDIN_PARAMETERS for p in verb.parameters):
        words.append("[--stdin]")
    if offers_exit_status(verb):
        words.append("[--exit-status]")
    return " ".join(words)


def _option_usage(parameter: Parameter) -> str:
    name = _shown_name(parameter)
    return f"[--{name}]" if parameter.kind == "bool" else f"[--{name} {_value_name(parameter)}]"


def _shown_name(parameter: Parameter) -> str:
    """Return an option's name as usage and help show it: one that is on unless it is taken back has two."""
    name = option_name(parameter)
    return f"[no-]{name}" if parameter.kind == "bool" and parameter.default is True else name


def _value_name(parameter: Parameter) -> str:
    return (
        "|".join(parameter.choices)
        if parameter.choices
        else "N"
        if parameter.kind in ("int", "float")
        else parameter.name.upper()
    )


def option_helps(verb: Verb) -> dict[str, str]:
    """Return every option of a verb, without the dashes, with its help; one that is on by itself as `no-NAME`."""
    own = (p for p in verb.parameters if not p.positional)
    found = {_shown_name(p).replace("[no-]", "no-"): _explanation(p) for p in own}
    if any(p.name in STDIN_PARAMETERS for p in verb.parameters):
        found["stdin"] = STDIN_HELP
    return found | common_options(verb)


def help_text(verb: Verb) -> str:
    """Return what `--help` prints: summary, every argument with its help, an example."""
    rows = [(_heading(p), _explanation(p)) for p in verb.parameters]
    if any(p.name in STDIN_PARAMETERS for p in verb.parameters):
        rows.append(("--stdin", STDIN_HELP))
    rows += [(f"--{name}", text) for name, text in common_options(verb).items()]
    width = max(len(heading) for heading, _ in rows) + 2
    lines = [
        usage_line(verb),
        "",
        verb.summary,
        "",
        *(f"  {heading:<{width}}{text}".rstrip() for heading, text in rows),
    ]
    if verb.example:
        lines += ["", "Example:", f"  {verb.example}"]
    return "\n".join(lines) + "\n"


def _heading(parameter: Parameter) -> str:
    return display_name(parameter).upper() if parameter.positional else f"--{_shown_name(parameter)}"


def _explanation(parameter: Parameter) -> str:
    notes = [parameter.help]
    if parameter.choices:
        notes.append(f"one of {', '.join(parameter.choices)}")
    if not parameter.required and parameter.default not in (None, "", False, ()):
        default = str(parameter.default).lower() if isinstance(parameter.default, bool) else parameter.default
        notes.append(f"default {default}")
    return "; ".join(note for note in notes if note)

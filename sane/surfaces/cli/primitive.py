"""Run any verb as `sane-NAME`: the one program behind every executable in bin/ and every console script.

One JSON value on stdout. Exit status 0 once the verb answered, 1 for a usage or lookup error and for an answer that is
no success. A call on this machine imports no asyncio; a target `ssh:` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from sane.core.valid_json import to_json
from sane.errors import SaneError, of_this_machine
from sane.surfaces.cli.arguments import (
    Arguments,
    MissingArgumentError,
    help_text,
    parse_arguments,
    parsed_so_far,
    read_standard_input,
    usage_line,
)
from sane.verbs.registry import Verb, as_json, load_verb

# What scripts match where a verb does not say `Error: …` on stderr: a JSON object on stdout.
JSON_ERRORS: dict[str, Callable[[str], dict[str, object]]] = {
    "send-keys": lambda text: {"status": "error", "error": text},
    "label-pane": lambda text: {"status": "error", "message": text},
    "get-label": lambda text: {"status": "error", "message": text},
    "detect-ssh": lambda text: {"error": text},
}
# Says it both ways: scripts match the sentence on stderr, and its answer is JSON whatever happened.
BOTH_ERRORS = frozenset({"create-file"})
USAGE_ON_STDOUT = frozenset({"check-pane-health", "wait-ready"})  # and exit 0, as they always did
TARGET_PARAMETERS = ("target", "session")


def main(name: str | None = None, words: Sequence[str] | None = None) -> int:
    """Run the verb `name` (the program's own name without `sane-` when None) and return the exit status."""
    name = (name or os.path.basename(sys.argv[0])).removeprefix("sane-")
    words = sys.argv[1:] if words is None else words
    try:
        return _run(name, words)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def _run(name: str, words: Sequence[str]) -> int:
    _end_on_signals()
    try:
        asked = ask_for(name, words)
        if isinstance(asked, Said):
            return asked.write()
        verb, arguments = asked
        return say_answer(verb, arguments, _call(verb, arguments)).write()
    except SaneError as error:
        return say_error(name, error, words).write()
    except BrokenPipeError:
        raise
    except OSError as error:
        return say_error(name, of_this_machine(error), words).write()


class Said:
    """Hold what a call says: text for stdout, text for stderr, and the exit status."""

    __slots__ = ("err", "out", "status")

    def __init__(self, status: int, out: str = "", err: str = "") -> None:
        self.status = status
        self.out = out
        self.err = err

    def write(self) -> int:
        """Write it, and return the exit status."""
        for fd, text in ((1, self.out), (2, self.err)):
            if text:
                _write(fd, text)
        return self.status


def ask_for(
    name: str, words: Sequence[str], read_stdin: Callable[[], bytes] = read_standard_input
) -> tuple[Verb, Arguments] | Said:
    """Return the verb and the arguments that a command line asks for; what to say where it asks for a text alone.

    Raises SaneError for a wrong one.
    """
    verb = load_verb(name)
    try:
        arguments = parse_arguments(verb, words, read_stdin)
    except MissingArgumentError:
        return _say_usage(verb)
    if arguments.help:
        return Said(0, help_text(verb))
    if arguments.query:
        from sane.surfaces.cli.query import refuse_wrong

        refuse_wrong(arguments.query)
    return verb, arguments


def say_answer(verb: Verb, arguments: Arguments, answer: object) -> Said:
    """Return what is said of a verb's answer. Raises UsageError for a query that is wrong."""
    fields = as_json(answer)
    return Said(_exit_status(verb, fields, arguments), render(fields, arguments))


def _call(verb: Verb, arguments: Arguments) -> object:
    targets = [str(arguments.values.get(name, "")) for name in TARGET_PARAMETERS]
    if any(target.startswith("ssh:") for target in targets):
        from sane.surfaces.cli.call_async import call_with_asyncio

        return call_with_asyncio(verb, arguments.values)
    from sane.surfaces.context import BlockingContext
    from sane.transports.blocking import run_blocking

    context = BlockingContext()
    try:
        return run_blocking(verb.function(context, **arguments.values))
    finally:
        run_blocking(context.close())


def render(answer: Mapping[str, object], arguments: Arguments) -> str:
    """Return an answer as the text that was asked for."""
    value: object = answer
    if arguments.query:
        from sane.surfaces.cli.query import select

        value = select(arguments.query, answer)
    if arguments.output == "table":
        from sane.surfaces.cli.query import as_table

        return as_table(value)
    return to_json(value) + "\n"


def _exit_status(verb: Verb, answer: Mapping[str, object], arguments: Arguments) -> int:
    code = answer.get("exit_code")
    if arguments.exit_status and isinstance(code, int):
        return code & 0xFF
    unknown = arguments.exit_status and "output" in answer  # a command ran, and how it ended is not known
    return 0 if verb.ok(answer) and not unknown else 1


def _say_usage(verb: Verb) -> Said:
    usage = usage_line(verb) + "\n"
    return Said(0, usage) if verb.name in USAGE_ON_STDOUT else Said(1, "", usage)


def say_error(name: str, error: SaneError, words: Sequence[str] = ()) -> Said:
    """Return what is said of an error of a call with `words`."""
    hint = {"hint": error.hint} if error.hint else {}
    if name in JSON_ERRORS:
        return Said(1, to_json(JSON_ERRORS[name](error.message) | hint) + "\n")
    out = ""
    if name in BOTH_ERRORS:
        path = parsed_so_far(load_verb(name), words).get("path")
        answer = {"status": "error", "error": error.message, "code": error.code}
        out = to_json(answer | hint | ({"path": path} if path else {})) + "\n"
    return Said(1, out, f"Error: {error.message}\n{error.hint}".rstrip("\n") + "\n")


def _write(fd: int, text: str) -> None:
    """Write in one call, as far as the system takes it in one."""
    rest = memoryview(text.encode("utf-8", "surrogateescape"))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _end_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into an orderly end, so that what was started is ended too."""
    import signal
    from types import FrameType

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)

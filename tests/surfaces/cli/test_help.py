"""What `--help` shows can be copied: every example is a command line that its command takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from sane.surfaces.cli.main import cli


def commands(command: click.Command, path: tuple[str, ...] = ("sane",)) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below one, and itself, with the words that call it."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


COMMANDS = dict(commands(cli))


def examples(command: click.Command) -> list[str]:
    """Return the lines behind `Example:` that call sane, each as one line."""
    text = (command.help or "").partition("Example:")[2].replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if re.match(r"\s*(\w+=\$\()?sane ", line)]


def called(line: str) -> list[str]:
    """Return the words of a call, without what a shell makes of it."""
    line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line)
    line = re.sub(r"\$\([^)]*\)", "hosts.yaml", line).partition(" > ")[0].partition(" >> ")[0]
    return shlex.split(line, comments=True)[1:]


def read(command: click.Command, context: click.Context) -> None:
    """Read the rest of a command line down to its last subcommand. Raises UsageError for what none takes."""
    words = [*context._protected_args, *context.args]  # pyright: ignore[reportPrivateUsage]
    if isinstance(command, click.Group) and words:
        word, found, rest = command.resolve_command(context, words)
        assert found is not None
        read(found, found.make_context(word, rest, parent=context))


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_can_be_copied(name: str) -> None:
    lines = examples(COMMANDS[name])
    assert lines, "the help shows no example"
    for line in lines:
        read(cli, cli.make_context("sane", called(line)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]
    assert [option.opts for option in options if not option.help] == []


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, click.Group)])
def test_the_summaries_of_a_group_are_whole_at_80_columns(name: str) -> None:
    group = COMMANDS[name]
    context = click.Context(group, info_name=name, terminal_width=80)
    assert not [line for line in group.get_help(context).splitlines() if line.endswith("...") and "Usage:" not in line]


ANSWERS_NOTHING = {
    "sane completion": "it prints a script for a shell",
    "sane mcp": "it speaks a protocol on stdout",
    "sane server": "it serves until it is ended",
}


def test_every_command_that_answers_takes_an_output_and_a_query() -> None:
    runnable = {n: c for n, c in COMMANDS.items() if not isinstance(c, click.Group) or c.invoke_without_command}
    options = {name: {word for each in command.params for word in each.opts} for name, command in runnable.items()}
    lacking = {name for name, words in options.items() if not words >= {"--output", "--query"}}
    assert lacking == set(ANSWERS_NOTHING)
    for name in set(runnable) - lacking:
        (output,) = [each for each in runnable[name].params if "--output" in each.opts]
        assert isinstance(output.type, click.Choice)
        assert set(output.type.choices) == {"table", "json", "ndjson"}, name

"""The `sane` command: a group whose subcommands are imported only when they are called."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from sane import __version__
from sane.core.nearest import nearest, nearest_hint
from sane.core.printable import printable
from sane.errors import ConfigError, SaneError, exit_status, of_this_machine

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name -> (module:attribute, one line of help). Help is here so that `sane --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "deploy": ("sane.surfaces.cli.deploy:deploy", "Roll a version out to the hosts of an inventory."),
    "plan": ("sane.surfaces.cli.plan:plan", "Show what a rollout would do, and change nothing."),
    "apply": ("sane.surfaces.cli.plan:apply", "Roll out a plan, unless something drifted since."),
    "retry": ("sane.surfaces.cli.deploy:retry", "Deploy again to the hosts of a deployment that need it."),
    "resume": ("sane.surfaces.cli.deploy:resume", "Go on with a deployment that was interrupted."),
    "deployment": ("sane.surfaces.cli.deployment:deployment", "List, inspect and steer deployments."),
    "whatis": ("sane.surfaces.cli.truth:whatis", "Ask hosts themselves what they have."),
    "adopt": ("sane.surfaces.cli.truth:adopt", "Rebuild a lost log from the records on the hosts."),
    "health": ("sane.surfaces.cli.health:health", "Check the hosts' health, or explain a verdict."),
    "run": ("sane.surfaces.cli.run:run", "Run one command on many hosts and fold equal answers."),
    "watch": ("sane.surfaces.cli.watch:watch", "Poll a fleet; ask for a plan when something matters."),
    "agent": ("sane.surfaces.cli.agent:agent", "Ask an agent; list the agents."),
    "agents": ("sane.surfaces.cli.agent:agent", "The same as agent."),
    "events": ("sane.surfaces.cli.events:events", "Show or follow the event log."),
    "validate": ("sane.surfaces.cli.validate:validate", "Explain the mistakes in inventories and workflows."),
    "lab": ("sane.surfaces.cli.lab:lab", "Start throwaway hosts to try things on, and break them."),
    "server": ("sane.surfaces.cli.server:server", "Serve agents and the event log over HTTP."),
    "mcp": ("sane.surfaces.cli.mcp:mcp", "Serve the verbs to AI agents."),
    "tools": ("sane.surfaces.cli.tools:tools", "Print the verbs as tool schemas for AI agents."),
    "doctor": ("sane.surfaces.cli.doctor:doctor", "Check what this machine has and what is missing."),
    "completion": ("sane.surfaces.cli.completion:completion", "Print the completion script of a shell."),
}
SHOWN_PROBLEMS = 20  # of a file with many mistakes
_NO_CHOICE = re.compile(r"'(.*)' is not one of ", re.DOTALL)  # click's own words, which hold the only copy of the value


class LazyGroup(click.Group):
    """Hold subcommands by name and import each on its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if ctx.resilient_parsing:  # a shell completes
            from sane.surfaces.cli.completion_words import attach_words

            attach_words(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands that begin so, from the table, importing none; then the options."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Resolve a subcommand; an unknown one is an error that names the nearest, except while a shell completes."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command '{args[0]}'. {nearest_hint(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Call a subcommand; where its reader went away, end as SIGPIPE would: click's status 1 is a defect here."""
        try:
            return super().invoke(ctx)
        except click.BadParameter as error:
            raise _with_nearest(error) from None
        except BrokenPipeError:
            raise click.exceptions.Exit(_leave_pipe()) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="sane")
def cli() -> None:
    """Run steps on many hosts, in tmux panes people can watch or over SSH, and tell the truth about each.

    \b
    Example:
      sane deploy workflows/multi-server-deploy.yaml --inventory "$(sane lab up 3)" --version 1.0.0
      sane lab down
    """


def main() -> None:
    """Run the command line and exit with the status of `sane.errors.STATUS`."""
    try:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        code = cli.main(standalone_mode=False, color=False if plain else None)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except KeyboardInterrupt:
        code = 130
    except SaneError as error:
        show_error(error)
        code = exit_status(error)
    except BrokenPipeError:
        code = _leave_pipe()
    except OSError as error:
        told = of_this_machine(error)
        show_error(told)
        code = exit_status(told)
    sys.exit(code if isinstance(code, int) else 0)


def _with_nearest(error: click.BadParameter) -> click.BadParameter:
    """Return the error, naming the nearest choice where it is about a word that is none of a parameter's choices."""
    said = _NO_CHOICE.match(error.message)
    if said is None or error.param is None or not isinstance(error.param.type, click.Choice):
        return error
    words = [str(word) for word in error.param.type.choices]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportUnknownArgumentType]
    found = nearest(said[1], words)
    return click.BadParameter(f"{error.message} Did you mean '{found}'?", error.ctx, error.param) if found else error


def _leave_pipe() -> int:
    """Send what is still to be written nowhere, and return the status of a program that SIGPIPE ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return 141


def show_error(error: SaneError) -> None:
    """Write an error and its hint to stderr."""
    problems = error.problems if isinstance(error, ConfigError) and len(error.problems) > 1 else ()
    told = [(problem.text, problem.hint) for problem in problems[:SHOWN_PROBLEMS]] or [(error.message, error.hint)]
    if len(problems) > SHOWN_PROBLEMS:
        told.append((f"and {len(problems) - SHOWN_PROBLEMS} more", ""))
    text = "\n".join(f"{message}\n  {hint}" if hint else message for message, hint in told)
    click.echo(printable(f"Error: {text}", keep="\n\t"), err=True)


if __name__ == "__main__":
    main()

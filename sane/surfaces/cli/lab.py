"""`sane lab`: throwaway hosts, and faults for them."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sane.core.nearest import nearest_hint
from sane.surfaces.cli.query import check_query, show

if TYPE_CHECKING:
    from sane.operations.lab import HostView

F = TypeVar("F", bound=Callable[..., Any])

_COLOURS = {"up": "green", "down": "red", "silent": "yellow", "stopped": "yellow"}


def _options(function: F) -> F:
    for option in (
        click.option("--query", callback=check_query, default="", metavar="JMESPATH", help="Select from the JSON."),
        click.option(
            "--output",
            type=click.Choice(["table", "json", "ndjson"]),
            default="table",
            help="For people, one JSON value, or one a line.",
        ),
        click.option(
            "--dir",
            "directory",
            type=click.Path(path_type=Path),
            help="The directory of the lab.  [default: lab in the state directory]",
        ),
    ):
        function = option(function)
    return function


class _Group(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command 'lab {args[0]}'. {nearest_hint(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group)
def lab() -> None:
    """Start throwaway hosts to try things on, and break them.

    Each is a real SSH server on a loopback port with a directory of its own. Nothing leaves this machine.

    \b
    Example:
      sane lab up 3
      sane run -i "$(sane lab up)" all -- uname -a
      sane lab fault server2 silent
      sane lab down
    """


@lab.command(short_help="Start N hosts, and print the path of their inventory.")
@click.argument("count", metavar="[N]", type=click.IntRange(1, 1000), default=3)
@click.option(
    "--server",
    type=click.Choice(["auto", "sshd", "asyncssh"]),
    default="auto",
    help="What serves the hosts; auto is sshd where there is one.",
)
@_options
def up(count: int, server: str, directory: Path | None, output: str, query: str) -> None:
    """Start N hosts (3), server1 to serverN, and print the path of their inventory.

    Hosts that run already stay as they are; dead ones start again with the same port and key.

    \b
    Example:
      inventory=$(sane lab up 3)
      sane lab up 5 --dir /tmp/lab
    """
    from sane.operations import lab as labs

    started = labs.start(_directory(directory), count, server=server)
    views = labs.look(started.directory)
    faulty = sum(view.fault is not None for view in views)
    some = ", ".join(str(view.port) for view in views[:5]) + (", …" if len(views) > 5 else "")
    ports = f"{'ports' if len(views) > 1 else 'port'} {some} of 127.0.0.1"
    notes = [f"{len(views)} {'host' if len(views) == 1 else 'hosts'} up ({started.server}), {ports}"]
    if faulty:
        notes.append(f"{faulty} with a fault: see `sane lab list`")
    click.echo("; ".join(notes), err=True)
    hosts = [dataclasses.asdict(view) for view in views]
    if output == "table" and not query:
        click.echo(str(started.inventory))
    else:
        show({"inventory": str(started.inventory), "server": started.server, "hosts": hosts}, output, query)


def _fault_help() -> str:
    from sane.operations.lab.faults import FAULTS

    width = max(len(form) for form in FAULTS) + 2
    return "\n".join(f"  {form:{width}}{meaning}" for form, meaning in FAULTS.items())


class _FaultCommand(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of faults, read from where they are defined."""
        formatter.write(f"\nFaults (one at a time on a host):\n{_fault_help()}\n")


@lab.command(cls=_FaultCommand)
@click.argument("host")
@click.argument("fault")
@_options
def fault(host: str, fault: str, directory: Path | None, output: str, query: str) -> None:
    """Break HOST in a chosen way, or heal it.

    \b
    Example:
      sane lab fault server2 slow:200
      sane lab fault server2 fail-step:deploy
      sane lab fault server2 heal
    """
    from sane.operations import lab as labs

    labs.set_fault(_directory(directory), host, fault)
    view = next(v for v in labs.look(_directory(directory)) if v.name == host)
    if output == "table" and not query:
        click.echo(f"{host}: {_meaning(view)}", err=True)
    else:
        show(dataclasses.asdict(view), output, query)


def _meaning(view: HostView) -> str:
    from sane.operations.lab.faults import FAULTS

    if view.fault is None:
        return "healthy again"
    kind, _, argument = view.fault.partition(":")
    meaning = next(text for form, text in FAULTS.items() if form.partition(":")[0] == kind)
    return f"{view.fault}: {meaning}".replace(" MS ", f" {argument} ")


@lab.command(name="list")
@_options
def list_(directory: Path | None, output: str, query: str) -> None:
    """List the hosts: port, process, state and fault.

    \b
    Example:
      sane lab list
      sane lab list --output json --query "[?state!='up'].name"
    """
    from sane.operations import lab as labs

    views = labs.look(_directory(directory))
    if output != "table" or query:
        show([dataclasses.asdict(view) for view in views], output, query)
        return
    width = max(len("HOST"), *(len(view.name) for view in views))
    click.echo(f"{'HOST':{width}}  {'PORT':>5}  {'PID':>7}  {'STATE':8} {'FAULT':16} ROOT")
    for view in views:
        state = click.style(f"{view.state:8}", fg=_COLOURS[view.state]) if _may_colour() else f"{view.state:8}"
        line = f"{view.name:{width}}  {view.port:>5}  {view.pid or '-':>7}  {state} {view.fault or '-':16} {view.root}"
        click.echo(line)


@lab.command(short_help="End all hosts, and remove what the lab made.")
@_options
def down(directory: Path | None, output: str, query: str) -> None:
    """End all hosts and remove what the lab made: processes, mounts and files.

    \b
    Example:
      sane lab down
    """
    from sane.operations import lab as labs

    names = labs.end(_directory(directory))
    if output != "table" or query:
        show({"ended": names}, output, query)
    elif names:
        count = len(names)
        click.echo(
            f"{count} {'host' if count == 1 else 'hosts'} ended, nothing is left of {'it' if count == 1 else 'them'}",
            err=True,
        )
    else:
        click.echo(f"no lab in {_directory(directory)}", err=True)


def _directory(given: Path | None) -> Path:
    from sane.core.paths import state_dir

    return given if given is not None else state_dir(os.environ) / "lab"


def _may_colour() -> bool:
    return not os.environ.get("NO_COLOR") and sys.stdout.isatty()

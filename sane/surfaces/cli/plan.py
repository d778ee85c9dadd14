"""`sane plan` and `sane apply`: what a rollout would do, and that rollout, unless something drifted since."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from sane.core.printable import printable
from sane.surfaces.cli.deploy import OUTPUTS, policy_options, request_of, request_options, run_and_report, show_options
from sane.surfaces.cli.plan_approval import add_plan_commands
from sane.surfaces.cli.query import check_query

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class PlanGroup(click.Group):
    """Take words that name no subcommand as those of the rollout plan."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default subcommand in front where none is named."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["rollout", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the subcommands that begin so; where none does, what the default one takes: a file, or its options."""
        found = super().shell_complete(ctx, incomplete)
        default = self.commands["rollout"]
        inner = click.Context(default, info_name="rollout", parent=ctx, resilient_parsing=True)
        if incomplete.startswith("-"):
            return default.shell_complete(inner, incomplete)
        files = next(each for each in default.params if isinstance(each, click.Argument))
        return found or files.shell_complete(inner, incomplete)


@click.group(cls=PlanGroup)
def plan() -> None:
    """Show what a rollout would do: `sane plan WORKFLOW -i INVENTORY --version V` is `sane plan rollout …`.

    \b
    Example:
      sane plan workflows/multi-server-deploy.yaml -i hosts.yaml --version 2.0.0
    """


@plan.command(short_help="Show batches, exposure, and what would run on each host.")
@request_options
@policy_options
@click.option("--output", type=OUTPUTS, default="table", show_default=True, help="The form of the plan.")
@click.option("--query", callback=check_query, metavar="JMESPATH", help="Print only this part of the JSON plan.")
def rollout(output: str, query: str | None, **given: Any) -> None:
    """Show batches, exposure, and what would run on each host, and change nothing; hosts are asked what they have.

    \b
    Example:
      sane plan workflows/multi-server-deploy.yaml -i hosts.yaml --version 2.0.0 --max-parallel 2
    """
    from sane.operations.deployments import opened_store
    from sane.operations.rollout_plan import make_plan, save_plan

    asked = request_of(given)

    async def run() -> dict[str, Any]:
        async with opened_store() as store:
            return await make_plan(store, asked)

    made = asyncio.run(run())
    save_plan(made, asked)
    if query is not None:
        from sane.surfaces.cli.query import select

        click.echo(json.dumps(select(query, made), ensure_ascii=False, indent=2))
    elif output == "table":
        _print_plan(made)
    else:
        click.echo(json.dumps(made, ensure_ascii=False, indent=2 if output == "json" else None))


@click.command()
@click.option("--plan", "name", required=True, metavar="HASH", help="The hash that `sane plan` printed, or its start.")
@show_options
def apply(name: str, output: str, query: str | None, wait: bool, keep_windows: bool) -> None:
    """Roll out a plan as `sane deploy` would, unless anything it rests on drifted since: then exit 7, naming it.

    \b
    Example:
      sane apply --plan 4f3c2a1b
    """
    from sane.operations.deployments import create_deployment, load_plan
    from sane.operations.rollout_plan import check_plan, find_plan

    kept, asked = find_plan(name)

    async def create(store: Any) -> Any:
        checked = await check_plan(store, kept, asked)
        return await create_deployment(store, load_plan(checked), checked)

    run_and_report(create, output, query, wait, keep_windows)


def _print_plan(made: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    _print_hosts(console, made)
    _print_batches(made)
    _print_steps(made)
    for warning in made["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"plan {made['plan']}\n  sane apply --plan {made['plan'][:12]}")


def _print_hosts(console: Any, made: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from sane.surfaces.report import escape

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("host", "group", "has", "gets", "change"):
        table.add_column(title)
    colours = {"unchanged": "green", "unreachable": "red"}
    for host in made["hosts"]:
        colour = colours.get(host["change"], "yellow")
        words = (host["name"], host["group"], host["has"] or "-", host["gets"])
        table.add_row(*map(escape, words), f"[{colour}]{host['change']}[/]")
    click.echo(f"{made['key']} revision {made['revision']}, version {made['version']}")
    console.print(table)
    for name, error in made["unreachable"].items():
        click.echo(printable(f"{name} can't be reached: {error}"))


def _print_batches(made: Mapping[str, Any]) -> None:
    from sane.core.fleet.hostset import fold

    for number, batch in enumerate(made["batches"], 1):
        group = f" of {batch['group']}" if batch["group"] else ""
        click.echo(f"{number:3}. {batch['kind']}{group}: {fold(batch['hosts'])}")
    peak = made["peak_exposure"]
    share = f"{peak['share']:.0%} of {len(made['hosts'])}"
    noun = "host has" if peak["hosts"] == 1 else "hosts have"
    click.echo(f"at most {peak['hosts']} {noun} the new version unproven ({share})")
    if made["ends"] not in ("successful", "partial"):
        click.echo(printable(f"it would end {made['ends']}: {made['reason']}"))


def _print_steps(made: Mapping[str, Any]) -> None:
    """Print the commands of each host; hosts that run the same are named together."""
    from sane.core.fleet.hostset import fold

    same: dict[str, list[str]] = {}
    for host in made["hosts"]:
        if host["steps"]:
            same.setdefault(json.dumps(host["steps"]), []).append(host["name"])
    for text, names in same.items():
        click.echo(f"\non {fold(names)}:")
        for step in json.loads(text):
            when = f" ({step['when']})" if "when" in step else ""
            click.echo(f"  {step['part']}: {step['step']}{when}")
            for line in step["command"].rstrip("\n").split("\n"):
                click.echo(printable(f"      {line}", keep="\t"))


add_plan_commands(plan)

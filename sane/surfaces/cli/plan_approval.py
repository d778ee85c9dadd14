"""`sane plan list|show|approve|reject`: the word of a person on what a planner proposes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from sane.core.printable import printable
from sane.surfaces.cli.deploy import REASON
from sane.surfaces.cli.query import answer_options, answered, as_table

if TYPE_CHECKING:
    from sane.operations.plans import PlanRow


def add_plan_commands(group: click.Group) -> None:
    """Add the commands to a group."""
    for command in (list_command, show, approve, reject):
        group.add_command(command)


@click.command("list")
@click.option("--waiting", is_flag=True, help="Only those that wait for a person.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000), help="How many, newest first.")
@answer_options()
def list_command(waiting: bool, limit: int, output: str, query: str | None) -> None:
    """List the plans of planners, newest first.

    \b
    Example:
      sane plan list --waiting
    """
    rows = asyncio.run(_list(waiting, limit))
    if answered([row.as_json() for row in rows], output, query):
        return
    if rows:
        click.echo(as_table([_cells(row) for row in rows]), nl=False)
    else:
        click.echo("no plans yet" if not waiting else "no plan waits", err=True)


def _cells(row: PlanRow) -> dict[str, object]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at_ms / 1000))
    verbs = ", ".join(dict.fromkeys(str(step["verb"]) for step in row.steps))
    return {"plan": row.id, "status": row.status, "verbs": verbs, "by": row.by, "at": when, "reason": row.reason[:80]}


async def _list(waiting: bool, limit: int) -> list[PlanRow]:
    from sane.operations.deployments import opened_store
    from sane.operations.plans import list_plans

    async with opened_store() as store:
        return await list_plans(store, waiting=waiting, limit=limit)


@click.command()
@click.argument("plan_id", metavar="ID")
@answer_options()
def show(plan_id: str, output: str, query: str | None) -> None:
    """Show a plan: its steps, why, who made it, and what became of it.

    \b
    Example:
      sane plan show plan-1a2b3c4d
    """
    row = asyncio.run(_find(plan_id))
    if answered(row.as_json(), output, query):
        return
    lines = [f"{row.id} is {row.status} ({row.watch}, episode {row.episode})"]
    lines += [f"reason: {row.reason}", f"by {row.by}, confidence {row.confidence:.2f}"]
    for number, step in enumerate(row.steps, 1):
        where = f" on {', '.join(step['hosts'])}" if step["hosts"] else ""
        arguments = "".join(f" {name}={value!r}" for name, value in step["arguments"].items())
        lines.append(f"  {number}. {step['verb']}{where}{arguments}")
    lines += [f"doubt: {doubt}" for doubt in row.doubts]
    lines += [f"{row.status}: {row.detail}"] if row.detail else []
    for line in lines:
        click.echo(printable(line, instead=" "))


async def _find(plan_id: str) -> PlanRow:
    from sane.operations.deployments import opened_store
    from sane.operations.plans import find_plan

    async with opened_store() as store:
        return await find_plan(store, plan_id)


@click.command(short_help="Let a plan run that waits for a person.")
@click.argument("plan_id", metavar="ID")
@REASON
@answer_options()
def approve(plan_id: str, reason: str, output: str, query: str | None) -> None:
    """Let a plan run that waits for a person; the watch that asked for it runs it.

    \b
    Example:
      sane plan approve plan-1a2b3c4d
    """
    _decide(plan_id, reason, output, query, approve=True)


@click.command()
@click.argument("plan_id", metavar="ID")
@REASON
@answer_options()
def reject(plan_id: str, reason: str, output: str, query: str | None) -> None:
    """Refuse a plan that waits for a person.

    \b
    Example:
      sane plan reject plan-1a2b3c4d --reason "the database is being moved"
    """
    _decide(plan_id, reason, output, query, approve=False)


def _decide(plan_id: str, reason: str, output: str, query: str | None, *, approve: bool) -> None:
    row, is_watched = asyncio.run(_write(plan_id, reason, approve))
    click.echo(f"{row.id} is {'approved' if approve else 'refused'}", err=True)
    if approve and not is_watched:
        click.echo(f"nobody runs {row.watch} now: the next `sane watch` of it carries the plan out", err=True)
    answered(row.as_json(), output, query)


async def _write(plan_id: str, reason: str, approve: bool) -> tuple[PlanRow, bool]:
    from sane.operations.deployments import opened_store
    from sane.operations.plans import decide_plan

    async with opened_store() as store:
        return await decide_plan(store, plan_id, approve=approve, reason=reason)

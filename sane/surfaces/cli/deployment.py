"""`sane deployment`: list, inspect and steer deployments from any terminal."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from sane.errors import ConflictError, UnavailableError, exit_status
from sane.surfaces.cli.deploy import OUTPUTS, REASON, print_report, run_and_report, show_options
from sane.surfaces.cli.query import check_query

WIDE = 140  # columns in which a table of deployments has room for all of them
COLUMNS = ("deployment", "version", "status", "key", "revision", "created (UTC)", "why")
ANSWER_TIMEOUT_S = 60.0  # a promotion probes the canaries again, each within 15 s, before it is answered
# What a deployment exits with when it ended, or waits, as this request wants it to.
AS_ASKED = {"pause": (8,), "cancel": (4,), "fail": (4, 5)}
OUTPUT = click.option("--output", type=OUTPUTS, default="table", show_default=True, help="The form of the answer.")
QUERY = click.option(
    "--query", callback=check_query, metavar="JMESPATH", help="Print only this part of the JSON answer."
)
WAIT = click.option(
    "--wait/--no-wait",
    default=False,
    help="Wait until the deployment ends and exit with its status; else with 0 once this is done or on its way.",
)


@click.group()
def deployment() -> None:
    """List, inspect and steer deployments.

    \b
    Example:
      sane deployment status my-app --follow
    """


@deployment.command("list")
@click.option("--key", default="", help="Only this deployment key.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@OUTPUT
@QUERY
def list_command(key: str, limit: int, output: str, query: str | None) -> None:
    """List deployments, newest first.

    \b
    Example:
      sane deployment list --key my-app
    """
    rows = asyncio.run(_list(key, limit))
    if query is not None:
        print_report(rows, output, query)  # type: ignore[arg-type]
    elif output == "json":
        click.echo(json.dumps(rows, indent=2))
    elif output == "ndjson":
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        print_table(rows)
    else:
        click.echo("no deployments yet", err=True)


async def _list(key: str, limit: int) -> list[dict[str, Any]]:
    from sane.operations.deployments import opened_store
    from sane.operations.reports import list_summaries

    async with opened_store() as store:
        return await list_summaries(store, key=key, limit=limit)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print deployments as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from sane.surfaces.report import escape

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    # On a narrow terminal the id, which names the key and the revision, stays whole: it is what people copy.
    titles = COLUMNS if width >= WIDE else COLUMNS[:3]
    colours = {"successful": "green", "partial": "yellow", "reverted": "yellow", "running": "cyan"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=title != "why")
    for row in rows:
        colour = colours.get(row["status"], "red")
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["created_at_ms"] / 1000))
        stable = " ★" if row["stable"] else ""
        status = f"[{colour}]{row['status']}[/]{stable}"
        cells = (escape(row["deployment"]), escape(row["version"]), status, escape(row["key"]), str(row["revision"]))
        table.add_row(*(*cells, created, escape(row["description"]))[: len(titles)])
    Console(highlight=False, width=max(width, 40)).print(table)


@deployment.command(short_help="Show the report of NAME, as far as it is.")
@click.argument("name")
@click.option("--follow", is_flag=True, help="Show it as it goes, until it ends.")
@OUTPUT
@QUERY
def status(name: str, follow: bool, output: str, query: str | None) -> None:
    """Show the report of deployment NAME (an id, or a key: its newest), as far as it is; exit with its status.

    \b
    Example:
      sane deployment status my-app --follow
    """
    raise click.exceptions.Exit(asyncio.run(_status(name, follow, output, query)))


async def _status(name: str, follow: bool, output: str, query: str | None) -> int:
    from sane.core.rollout.controller import exit_status
    from sane.operations.deployments import find_deployment, load_deployment, opened_store
    from sane.operations.reports import build_report
    from sane.surfaces.progress import open_view, show_progress

    async with opened_store() as store:
        row = await find_deployment(store, name)
        if follow:
            view = open_view(sys.stderr, drives=False)
            try:
                await show_progress(store.follow(0, deployment=row.id), view)
            finally:
                view.close()
        state, _ = await load_deployment(store, row.id)
        print_report(await build_report(store, row.id), output, query)
        return exit_status(state)


def _request_command(word: str, summary: str, example: str) -> click.Command:
    @click.argument("name")
    @REASON
    @WAIT
    @OUTPUT
    @QUERY
    def command(name: str, reason: str, wait: bool, output: str, query: str | None) -> None:
        raise click.exceptions.Exit(asyncio.run(_request(word, name, reason, wait, output, query)))

    text = f"{summary}\n\n\b\nExample:\n  sane deployment {example}"
    return click.command(word, help=text)(command)


for _word, _summary, _example in (
    ("promote", "Let the rest follow the canaries of NAME, probed again first.", "promote my-app"),
    ("pause", "Start no further host of NAME; hosts in flight finish.", "pause my-app --reason 'looking into it'"),
    ("resume", "Go on with a paused NAME.", "resume my-app"),
    ("fail", "Fail NAME: hosts in flight finish, then its policy decides.", "fail my-app"),
    ("cancel", "Cancel NAME: hosts in flight finish, all keep what they have.", "cancel my-app"),
):
    deployment.add_command(_request_command(_word, _summary, _example))


async def _request(word: str, name: str, reason: str, wait: bool, output: str, query: str | None) -> int:
    from sane.operations.deployments import find_deployment, find_driver, opened_store
    from sane.operations.deployments import request as ask
    from sane.surfaces.cli.deploy import drive_and_report

    async with opened_store() as store:
        row = await find_deployment(store, name)
        event = await ask(store, row.id, word, reason)
        driven = await find_driver(store, row.key) is not None
    click.echo(f"{word} of {row.id} was asked for", err=True)
    code = 0
    if not driven:
        # Nobody drives it: this process does, to the next point where a person is needed.
        code = await drive_and_report(row.id, output, query, wait=wait)
        code = 0 if not wait and code in AS_ASKED.get(word, ()) else code
    elif wait:
        code = await _status(row.id, True, output, query)
    if word == "promote" and not await _was_promoted(row.id, event.seq):
        code = exit_status(ConflictError(""))
    if driven and not wait and (output != "table" or query is not None):
        await _status(row.id, False, output, query)
    return code


async def _was_promoted(deployment_id: str, asked_seq: int) -> bool:
    """Return whether the rest follows the canaries; say why not. Raises UnavailableError without an answer."""
    from sane.operations.deployments import load_deployment, opened_store

    async with opened_store() as store:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                async for _ in store.follow(asked_seq, deployment=deployment_id, kinds=("deployment_transition",)):
                    break
        except TimeoutError:
            raise UnavailableError(
                f"the promotion was not answered within {ANSWER_TIMEOUT_S:g} s",
                hint=f"sane deployment status {deployment_id} shows what it waits for.",
            ) from None
        state, _ = await load_deployment(store, deployment_id)
    if not state.promoted:
        click.echo(f"not promoted: {state.reason}", err=True)
    return state.promoted


@deployment.command(short_help="Go back: a new revision of KEY from a stable one.")
@click.argument("key")
@click.option(
    "--to-revision",
    type=int,
    help="Which one; else the newest stable one before the current that has most of its hosts and another content.",
)
@click.option("--unproven", is_flag=True, help="Take the one of --to-revision even if it was never stable.")
@click.option("--expect-revision", type=int, help="Refuse unless this is the current revision.")
@click.option("--canary/--no-canary", default=False, help="Go through the canaries again.")
@click.option(
    "--inventory",
    "-i",
    type=click.Path(path_type=Path),
    help="Which hosts there are now, and how they are reached; else as in the current revision.",
)
@REASON
@show_options
def rollback(
    key: str,
    to_revision: int | None,
    unproven: bool,
    expect_revision: int | None,
    canary: bool,
    inventory: Path | None,
    reason: str,
    output: str,
    query: str | None,
    wait: bool,
    keep_windows: bool,
) -> None:
    """Make a new revision of KEY from an earlier stable one, and roll it out; from another only with --unproven.

    \b
    Example:
      sane deployment rollback my-app --to-revision 3 --reason 'restore the stable worker'
    """
    from sane.core.fleet.hostset import fold
    from sane.operations.inputs import read_source
    from sane.operations.rollback import create_rollback

    async def create(store: Any) -> Any:
        event = await create_rollback(
            store,
            key,
            to_revision,
            expect_revision,
            canary=canary,
            unproven=unproven,
            reason=reason,
            inventory=read_source(inventory) if inventory else None,
        )
        if gone := event.data["gone"]:
            click.echo(f"these hosts are in the inventory no more, and are left alone: {fold(gone)}", err=True)
        if left_out := event.data["left_out"]:
            click.echo(f"these hosts were not in that revision, and keep what they have: {fold(left_out)}", err=True)
        return event

    run_and_report(create, output, query, wait, keep_windows)

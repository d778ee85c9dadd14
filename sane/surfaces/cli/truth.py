"""`sane whatis` and `sane adopt`: the truth on the hosts, without the log, and back into it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sane.core.printable import printable
from sane.surfaces.cli.deploy import OUTPUTS
from sane.surfaces.cli.inventory_option import inventory_option
from sane.surfaces.cli.query import check_query

OUTPUT = click.option("--output", type=OUTPUTS, default="table", show_default=True, help="The form of the answer.")
QUERY = click.option(
    "--query", callback=check_query, metavar="JMESPATH", help="Print only this part of the JSON answer."
)


@click.command()
@click.argument("hosts", nargs=-1, required=True)
@inventory_option("HOSTS are patterns of this inventory.")
@OUTPUT
@QUERY
def whatis(hosts: tuple[str, ...], inventory: Path | None, output: str, query: str | None) -> None:
    """Ask HOSTS themselves, over SSH alone: versions, leases, steps under way, dead-man guards. Changes nothing.

    Exits with 4 when a host can't be asked.

    \b
    Example:
      sane whatis web1 web2 -i hosts.yaml
    """
    from sane.operations.truth import whatis as ask

    answers = asyncio.run(ask(hosts, inventory))
    rows = [answer.as_json() for answer in answers]
    if _print_json(rows, output, query):
        pass
    else:
        for row in rows:
            _print_host(row)
    raise click.exceptions.Exit(4 if any(answer.truth is None for answer in answers) else 0)


def _print_json(value: Any, output: str, query: str | None) -> bool:
    if query is not None:
        from sane.surfaces.cli.query import select

        value = select(query, value)
    elif output == "table":
        return False
    if output == "ndjson" and isinstance(value, list):
        for row in value:  # pyright: ignore[reportUnknownVariableType]
            click.echo(json.dumps(row, ensure_ascii=False))
    else:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))
    return True


def _say(text: str) -> None:
    click.echo(printable(text, keep="\n"))  # much of it was read from files on the host


def _print_host(row: Mapping[str, Any]) -> None:
    if "error" in row:
        said = str(row["error"])
        named = said if said.startswith(f"{row['host']} ") else f"{row['host']}: {said}"
        _say(named + (f"\n  {row['hint']}" if row["hint"] else ""))
        return
    _say(f"{row['host']}:" + ("" if row["keys"] else " no deployment has been here"))
    for key in row["keys"]:
        current = key["current"]
        if current:
            back = ", went back" if current["reverted"] else ""
            back += "" if current["proven"] else ", not proven healthy"
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(current["at"]))
            _say(f"  {key['key']}: {current['version']} (revision {current['revision']}{back}, {at})")
        earlier = ", ".join(dict.fromkeys(record["version"] for record in reversed(key["history"][:-1])))
        if earlier:
            _say(f"    before: {earlier}")
    for lease in row["leases"]:
        if lease["remaining_s"]:
            _say(f"  lease on {lease['key']}: {lease['owner']}, for {lease['remaining_s']} s more")
    for operation in row["operations"]:
        _say(f"  step {operation['operation']}: {operation['state']} (process {operation['pid']})")
    for guard in row["guards"]:
        left = guard["until_s"] - row["now_s"]
        words = {"armed": f"armed, fires in {max(0, left)} s", "confirmed": "confirmed"}
        code = guard["exit_code"]
        fired = "took the host back" if code == 0 else "is at work" if code is None else f"failed with {code}"
        _say(f"  dead-man guard of {guard['key']}: {words.get(guard['state'], fired)}")


@click.command()
@click.argument("pattern", default="all")
@inventory_option("The file of hosts.", required=True)
@OUTPUT
@QUERY
def adopt(pattern: str, inventory: Path, output: str, query: str | None) -> None:
    """Rebuild a lost log from the records on the hosts that PATTERN means: deployments, revisions, digests.

    What the log has is left alone. Exits with 7 when something conflicts, 4 when a host can't be asked.

    \b
    Example:
      sane adopt -i hosts.yaml
    """
    from dataclasses import asdict

    from sane.operations.deployments import opened_store
    from sane.operations.truth import adopt as rebuild

    async def run() -> Any:
        async with opened_store() as store:
            return await rebuild(store, inventory, pattern)

    result = asdict(asyncio.run(run()))
    if not _print_json(result, output, query):
        _print_adoption(result)
    raise click.exceptions.Exit(7 if result["conflicts"] else 4 if result["unreachable"] else 0)


def _print_adoption(result: Mapping[str, Sequence[Any]]) -> None:
    for entry in result["adopted"]:
        where = f"{len(entry['hosts'])} hosts, {entry['status']}"
        _say(f"adopted {entry['deployment']}: {entry['key']} revision {entry['revision']}, {where}")
    for entry in result["conflicts"]:
        _say(f"conflict {entry['deployment']}: {entry['reason']}")
    for entry in result["waiting"]:
        why = "a host that could not be asked may know it; adopt again, or leave that host out"
        _say(f"waiting {entry['deployment']}: {why}")
    for entry in result["unreachable"]:
        _say(f"unreachable {entry['host']}: {entry['error']}")
    if result["existing"]:
        click.echo(f"{len(result['existing'])} deployments were there already", err=True)
    if not any(result.values()):
        click.echo("no host knows of a deployment", file=sys.stderr)

"""`sane health`: who is healthy, by proof, and why not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sane.core.printable import printable
from sane.errors import UsageError
from sane.surfaces.cli.inventory_option import inventory_of_environment
from sane.surfaces.cli.query import answer_options, show

if TYPE_CHECKING:
    from sane.operations.health import HostHealth

OPTIONS = (
    click.option("--key", default="", help="As the newest deployment of this key (or of this id) expects it."),
    click.option("--inventory", "-i", type=click.Path(path_type=Path), help="The file of hosts."),
    click.option("--workflow", type=click.Path(path_type=Path), help="Take path, size and gates from this workflow."),
    click.option("--path", help="Where the health file is, in place of the inventory's health_path."),
    click.option("--version", "version", default="", help="The version it must prove."),
    click.option(
        "--max-age",
        metavar="DURATION",
        help="Older than this is stale, for files that are written again and again; else the workflow's.",
    ),
    answer_options(),
)


def _with_options(command: Any) -> Any:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group()
def health() -> None:
    """Check the hosts' health, or explain a verdict.

    \b
    Example:
      sane health check -i hosts.yaml 'web*' --version 1.0.0
    """


@health.command(short_help="Say who is healthy, by proof, and who is not.")
@click.argument("pattern", default="all")
@_with_options
def check(pattern: str, output: str, query: str | None, **options: Any) -> None:
    """Read and judge the health of the hosts of PATTERN; exit 0 when all are healthy, 3 when some are, 4 when none.

    \b
    Example:
      sane health check -i hosts.yaml --workflow workflows/multi-server-deploy.yaml --version 1.0.0
    """
    found = _ask(pattern, **options)
    if query or output != "table":
        _show([host.as_json() for host in found], output, query)
    else:
        for host in found:
            click.echo(_line(host))
        _sum_up(found)
    raise click.exceptions.Exit(_status(found))


@health.command(short_help="Show every rule of proof, and which one failed.")
@click.argument("pattern")
@_with_options
def explain(pattern: str, output: str, query: str | None, **options: Any) -> None:
    """Show every rule of proof for the hosts of PATTERN, and which one failed.

    \b
    Example:
      sane health explain server2 --key my-app
      sane health explain -i hosts.yaml server2 --version 1.0.0
    """
    found = _ask(pattern, **options)
    if query or output != "table":
        rows = [{**host.as_json(), "rules": [rule._asdict() for rule in host.verdict.rules]} for host in found]
        _show(rows, output, query)
    else:
        for host in found:
            click.echo(_line(host))
            for rule in host.verdict.rules:
                mark = click.style("✓", fg="green") if rule.passed else click.style("✗", fg="red")
                click.echo(f"    {mark} {rule.name:<24} {printable(rule.detail)}")
            if host.hint:
                click.echo(click.style("    → ", fg="yellow") + printable(host.hint))
    raise click.exceptions.Exit(_status(found))


def _show(rows: list[dict[str, Any]], output: str, query: str | None) -> None:
    show(rows if output == "ndjson" and not query else {"hosts": rows}, output, query)


def _status(found: list[HostHealth]) -> int:
    good = sum(host.verdict.healthy for host in found)
    return 0 if good == len(found) else 3 if good else 4


def _sum_up(found: list[HostHealth]) -> None:
    """Say on stderr how many are healthy, and where to look when some are not."""
    from sane.core.fleet.hostset import fold

    bad = [host.host for host in found if not host.verdict.healthy]
    more = f", {len(bad)} not: {fold(bad)}; `sane health explain` says why" if bad else ""
    click.echo(f"{len(found) - len(bad)} of {len(found)} hosts are healthy{more}", err=True)


def _ask(pattern: str, key: str, inventory: Path | None, **about: Any) -> list[HostHealth]:
    if key:
        if inventory or any(about.values()):
            hint = "Leave the options about files and versions out."
            raise UsageError("--key takes all from the deployment", hint=hint)
        return asyncio.run(_ask_deployed(key, pattern))
    inventory = inventory or inventory_of_environment()
    if inventory is None:
        raise UsageError("which hosts?", hint="Name their file, -i FILE, or a deployment's key, --key KEY.")
    return _ask_inventory(pattern, inventory, **about)


async def _ask_deployed(key: str, pattern: str) -> list[HostHealth]:
    from sane.operations.deployments import opened_store
    from sane.operations.health_deployed import check_deployed, find_deployed
    from sane.surfaces.counter import HostCounter

    async with opened_store() as store:
        deployed = await find_deployed(store, key, pattern)
    with HostCounter(len(deployed.hosts)) as counter:
        return await check_deployed(deployed, on_answer=counter.count)


def _ask_inventory(
    pattern: str, inventory: Path, workflow: Path | None, path: str | None, version: str, max_age: str | None
) -> list[HostHealth]:
    from dataclasses import replace

    from sane.core.units import parse_duration_ms
    from sane.operations.files import load_inventory, load_workflow
    from sane.operations.health import check_health, question_for
    from sane.surfaces.counter import HostCounter

    loaded = load_inventory(inventory)
    question = question_for(load_workflow(workflow) if workflow else None, path)
    age_ms = parse_duration_ms(max_age, "--max-age", bare="s") if max_age else None
    asked = replace(question, version=version, max_age_ms=age_ms)
    hosts = loaded.select(pattern)
    with HostCounter(len(hosts)) as counter:
        return asyncio.run(check_health(loaded, hosts, asked, on_answer=counter.count))


def _line(host: HostHealth) -> str:
    seen = host.verdict
    if seen.healthy:
        version = f" {seen.version}" if seen.version else ""
        return click.style("✓", fg="green") + printable(f" [{host.host}] {seen.status or 'healthy'}{version}")
    where = f" ({host.phase})" if host.phase else ""
    reason = host.error or seen.reason
    return click.style("✗", fg="red") + printable(f" [{host.host}] {seen.verdict}{where}: {reason}")

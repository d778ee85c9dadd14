"""`sane health`: who is healthy, by proof, and why not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sane.operations.health import HostHealth

OPTIONS = (
    click.option("--inventory", "-i", required=True, type=click.Path(path_type=Path), help="The file of hosts."),
    click.option("--workflow", type=click.Path(path_type=Path), help="Take path, size and gates from this workflow."),
    click.option("--path", help="Where the health file is, in place of the inventory's health_path."),
    click.option("--version", "version", default="", help="The version it must prove."),
    click.option("--max-age", help="Older than this is stale, for files that are written again and again."),
    click.option("--output", type=click.Choice(["table", "json", "ndjson"]), default="table", show_default=True),
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


@health.command()
@click.argument("pattern", default="all")
@_with_options
def check(pattern: str, output: str, **options: Any) -> None:
    """Read and judge the health of the hosts of PATTERN; exit 0 when all are healthy, 3 when some are, 4 when none.

    \b
    Example:
      sane health check -i hosts.yaml --workflow workflows/multi-server-deploy.yaml --version 1.0.0
    """
    found = _ask(pattern, **options)
    if output == "json":
        click.echo(json.dumps({"hosts": [h.as_json() for h in found]}, indent=2, ensure_ascii=False))
    elif output == "ndjson":
        for host in found:
            click.echo(json.dumps(host.as_json(), ensure_ascii=False))
    else:
        for host in found:
            click.echo(_line(host))
    good = sum(host.verdict.healthy for host in found)
    raise click.exceptions.Exit(0 if good == len(found) else 3 if good else 4)


@health.command()
@click.argument("pattern")
@_with_options
def explain(pattern: str, output: str, **options: Any) -> None:
    """Show every rule of proof for the hosts of PATTERN, and which one failed.

    \b
    Example:
      sane health explain -i hosts.yaml server2 --version 1.0.0
    """
    found = _ask(pattern, **options)
    if output != "table":
        documents = [{**h.as_json(), "rules": [r._asdict() for r in h.verdict.rules]} for h in found]
        click.echo(json.dumps({"hosts": documents}, indent=2, ensure_ascii=False))
    else:
        for host in found:
            click.echo(_line(host))
            for rule in host.verdict.rules:
                mark = click.style("✓", fg="green") if rule.passed else click.style("✗", fg="red")
                click.echo(f"    {mark} {rule.name:<14} {rule.detail}")
            if host.hint:
                click.echo(click.style("    → ", fg="yellow") + host.hint)
    good = sum(host.verdict.healthy for host in found)
    raise click.exceptions.Exit(0 if good == len(found) else 3 if good else 4)


def _ask(
    pattern: str, inventory: Path, workflow: Path | None, path: str | None, version: str, max_age: str | None
) -> list[HostHealth]:
    from dataclasses import replace

    from sane.core.units import parse_duration_ms
    from sane.operations.files import load_inventory, load_workflow
    from sane.operations.health import check_health, question_for

    loaded = load_inventory(inventory)
    question = question_for(load_workflow(workflow) if workflow else None, path)
    age_ms = parse_duration_ms(max_age, "max_age_s") if max_age else None
    asked = replace(question, version=version, max_age_ms=age_ms)
    return asyncio.run(check_health(loaded, loaded.select(pattern), asked))


def _line(host: HostHealth) -> str:
    seen = host.verdict
    if seen.healthy:
        version = f" {seen.version}" if seen.version else ""
        return click.style("✓", fg="green") + f" [{host.host}] {seen.status or 'healthy'}{version}"
    where = f" ({host.phase})" if host.phase else ""
    reason = host.error or seen.reason
    return click.style("✗", fg="red") + f" [{host.host}] {seen.verdict}{where}: {reason}"

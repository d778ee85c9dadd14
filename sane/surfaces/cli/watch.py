"""`sane watch`: poll a fleet cheaply and constantly, and wake a planner only when something changed that matters."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sane.surfaces.cli.inventory_option import inventory_of_environment
from sane.surfaces.cli.query import answer_options

if TYPE_CHECKING:
    from sane.core.watch.config import WatchConfig
    from sane.operations.watch import WatchOutcome
    from sane.operations.watch_fleet import WatchRequest

TIMEOUT_STATUS = 124  # as timeout(1) has it


@click.command()
@click.option("--inventory", "-i", type=click.Path(path_type=Path), help="The file of hosts; else --key's own.")
@click.option("--key", default="", help="Watch what is deployed under this key, with its workflow's health and gates.")
@click.option("--group", "-g", default="all", show_default=True, help="Only hosts of this pattern.")
@click.option("--interval", help="How often a host is asked.  [default: 5s]")
@click.option(
    "--max-age",
    help="A health file older than this is stale; `none`: it never is.  [default: the workflow's, or 3 intervals]",
)
@click.option("--until", default="", metavar="JMESPATH", help="End with 0 when this is true; with 124 when time is up.")
@click.option("--for", "for_", metavar="DURATION", help="Watch for so long.")
@click.option("--once", is_flag=True, help="Ask every host a single time, and do what is due.")
@click.option("--config", type=click.Path(path_type=Path), help="The watch's configuration (watch.yaml).")
@answer_options()
def watch(
    inventory: Path | None,
    key: str,
    group: str,
    interval: str | None,
    max_age: str | None,
    until: str,
    for_: str | None,
    once: bool,
    config: Path | None,
    output: str,
    query: str | None,
) -> None:
    """Watch a fleet: find what is wrong, ask for a plan, tell a person.

    With --once: exit 0 when all hosts are healthy, 3 when some are, 4 when none.

    \b
    Example:
      sane watch -i hosts.yaml --interval 10s
      sane watch --key my-app --until "healthy == total" --for 5m
    """
    from sane.operations.watch_fleet import WatchRequest

    chosen = _config(config, interval, max_age)
    if inventory is None and not key:
        inventory = inventory_of_environment()
    asked = WatchRequest(inventory, key, group, until, _duration_ms(for_, "for"), once)
    raise click.exceptions.Exit(asyncio.run(_watch(asked, chosen, output, query)))


def _config(file: Path | None, interval: str | None, max_age: str | None) -> WatchConfig:
    """Return the configuration of a file with what the command line says put first."""
    from sane.core.watch.config import NEVER_STALE_MS
    from sane.operations.watch import with_options
    from sane.operations.watch_files import load_watch_config

    age_ms = NEVER_STALE_MS if max_age in ("none", "never") else _duration_ms(max_age, "max-age")
    return with_options(
        load_watch_config(file, os.environ), interval_ms=_duration_ms(interval, "interval"), max_age_ms=age_ms
    )


def _duration_ms(text: str | None, name: str) -> int | None:
    from sane.core.units import parse_duration_ms

    return None if text is None else parse_duration_ms(text, name, bare="s")


async def _watch(asked: WatchRequest, config: WatchConfig, output: str, query: str | None) -> int:
    from sane.operations.deployments import opened_store
    from sane.operations.watch import run_watch
    from sane.surfaces.watch_view import open_watch_view

    # a document on stdout is all that is there; what happens meanwhile goes to stderr
    alone = output == "json" or query is not None
    title = asked.key or (asked.inventory.name if asked.inventory else "")
    view: Any = open_watch_view(output, sys.stderr if alone else sys.stdout, time.time_ns() // 1_000_000, title)
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        async with opened_store() as store:
            outcome = await run_watch(store, asked, config, view)
    except asyncio.CancelledError:
        return 130
    finally:
        view.close()
    if alone:
        _print(outcome, query)
    elif asked.once and output == "table":
        click.echo(_summary(outcome))
    return _status(asked, outcome)


def _status(asked: WatchRequest, outcome: WatchOutcome) -> int:
    if asked.until:
        return 0 if outcome.is_true else TIMEOUT_STATUS
    if not asked.once:
        return 0
    healthy, total = outcome.document["healthy"], outcome.document["total"]
    return 0 if healthy == total else 3 if healthy else 4


def _summary(outcome: WatchOutcome) -> str:
    """Return how many hosts are healthy, and which are not: lines are of changes, and there may have been none."""
    from sane.core.fleet.hostset import fold

    document = outcome.document
    bad = [host["host"] for host in document["hosts"] if not host["healthy"]]
    return f"{document['healthy']} of {document['total']} hosts are healthy" + (f", not {fold(bad)}" if bad else "")


def _print(outcome: WatchOutcome, query: str | None) -> None:
    from sane.surfaces.cli.query import select

    document: Any = dict(outcome.document)
    click.echo(json.dumps(select(query, document) if query else document, ensure_ascii=False, indent=2))

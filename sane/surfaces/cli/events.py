"""`sane events`: show or follow the event log."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from sane.errors import UsageError
from sane.surfaces.cli.query import check_query

if TYPE_CHECKING:
    from sane.core.events import Event

PAGE_EVENTS = 1000
MAX_TEXT_CHARS = 200
HEADER = f"{'SEQ':>7}  {'TIME (UTC)':23}  {'KIND':21}  {'DEPLOYMENT':20}  {'HOST':15}  WHAT\n"


@click.command()
@click.option(
    "--after", type=click.IntRange(min=0), default=0, metavar="SEQ", help="Begin behind this number (0: all)."
)
@click.option("--key", default="", help="Only events of this deployment key.")
@click.option("--deployment", default="", metavar="ID", help="Only events of this deployment.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "ndjson"]),
    default="table",
    help="For people, one JSON array, or one JSON object a line.",
)
@click.option(
    "--query",
    callback=check_query,
    default="",
    metavar="JMESPATH",
    help="Select from the array; with ndjson, from each event.",
)
def events(after: int, key: str, deployment: str, follow: bool, output: str, query: str) -> None:
    """Show the event log, or follow it: what every deployment did, in order and without gaps.

    \b
    Example:
      sane events --key web --follow
      sane events --after 120 --output ndjson --query data.text
    """
    import asyncio

    whole = output == "json" or (query and output == "table")
    if follow and whole:
        what = "--output json" if output == "json" else "--query with a table"
        raise UsageError(f"{what} needs the end of the log, and --follow has none", hint="Use --output ndjson.")
    asyncio.run(_show(after, key, deployment, follow, output, query))


async def _show(after: int, key: str, deployment: str, follow: bool, output: str, query: str) -> None:
    from contextlib import aclosing
    from pathlib import Path

    from sane.core.paths import state_dir
    from sane.store import open_store

    store = await open_store(os.environ.get("SANE_DATABASE_URL"), Path(state_dir(os.environ)))
    try:
        found = store.follow(after, key=key, deployment=deployment) if follow else _pages(store, after, key, deployment)
        async with aclosing(found):
            await _write(found, output, query)
    finally:
        await store.close()


async def _pages(store: Any, after: int, key: str, deployment: str) -> AsyncGenerator[Event, None]:
    while page := await store.read(after, key=key, deployment=deployment, limit=PAGE_EVENTS):
        for event in page:
            yield event
        after = page[-1].seq


async def _write(found: AsyncIterator[Event], output: str, query: str) -> None:
    from sane.surfaces.cli.query import as_table, select

    if output == "ndjson":
        async for event in found:
            selected: Any = select(query, event.as_json()) if query else event.as_json()
            if selected is not None:
                _put(json.dumps(selected) + "\n")
    elif query:
        every: Any = [event.as_json() async for event in found]
        selected = select(query, every)
        _put(json.dumps(selected, indent=2) + "\n" if output == "json" else as_table(selected))
    elif output == "json":
        start = "["
        async for event in found:
            _put(f"{start}\n{json.dumps(event.as_json())}")
            start = ","
        _put("\n]\n" if start == "," else "[]\n")
    else:
        _put(HEADER)
        async for event in found:
            _put(row_of(event))


def _put(text: str) -> None:
    click.echo(text, nl=False)  # flushes, so that a pipe sees each event when it happens


def row_of(event: Event) -> str:
    """Return an event as one line for people; nothing in it can move the cursor or colour the terminal."""
    from datetime import UTC, datetime

    try:
        time = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
    except (OverflowError, ValueError):
        time = str(event.at_ms)
    place = event.deployment or event.key
    row = f"{event.seq or '-':>7}  {time:23}  {event.kind:21}  {place:20}  {event.host:15}  {what(event)}"
    return "".join(c if c.isprintable() else " " for c in row.rstrip()) + "\n"


def what(event: Event) -> str:
    """Return what an event says, shortened to 200 characters."""
    data = dict(event.data)
    if "from" in data and "to" in data:
        reason = f": {data['reason']}" if data.get("reason") else ""
        text = f"{data['from']} → {data['to']}{reason}"
    elif isinstance(data.get("text"), str):
        text = data["text"]
    else:
        plain = {name: value for name, value in data.items() if isinstance(value, str | int | float) and value != ""}
        text = " ".join(f"{name}={value}" for name, value in plain.items())
    text = text.strip()
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"

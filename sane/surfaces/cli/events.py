"""`sane events`: show or follow the event log."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from sane.core.printable import printable
from sane.errors import UsageError
from sane.surfaces.cli.query import check_query

if TYPE_CHECKING:
    from sane.core.events import Event

PAGE_EVENTS = 1000
MAX_TEXT_CHARS = 200
NARROW_HEADER = f"{'SEQ':>7}  {'UTC':8}  {'KIND':21}  {'HOST':12}  WHAT\n"
HEADER = f"{'SEQ':>7}  {'TIME (UTC)':23}  {'KIND':21}  {'DEPLOYMENT':20}  {'HOST':15}  WHAT\n"


@click.command()
@click.option(
    "--after", type=click.IntRange(0, 2**63 - 1), default=0, metavar="SEQ", help="Begin behind this number (0: all)."
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
        if (key or deployment) and not await store.read(0, key=key, deployment=deployment, limit=1):
            await _refuse_unknown(store, key, deployment, follow)
        found = store.follow(after, key=key, deployment=deployment) if follow else _pages(store, after, key, deployment)
        async with aclosing(found):
            await _write(found, output, query)
    finally:
        await store.close()


async def _refuse_unknown(store: Any, key: str, deployment: str, follow: bool) -> None:
    """Raise NotFoundError with the nearest name that the log knows; who follows may wait for the first event."""
    from sane.core.nearest import nearest_hint
    from sane.errors import NotFoundError

    name = f"deployment '{deployment}'" if deployment else f"deployment key '{key}'"
    both = f" with key '{key}'" if key and deployment else ""
    if follow:
        click.echo(f"there is no event of {name}{both} yet", err=True)
        return
    rows = await store.list_deployments(limit=PAGE_EVENTS)
    known = {row.id for row in rows} if deployment else {row.key for row in rows}
    raise NotFoundError(f"there is no event of {name}{both}", hint=nearest_hint(deployment or key, known))


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
        show_row = Rows(shutil.get_terminal_size().columns).of if sys.stdout.isatty() else row_of
        _put(NARROW_HEADER if sys.stdout.isatty() else HEADER)
        async for event in found:
            _put(show_row(event))


def _put(text: str) -> None:
    click.echo(text, nl=False)  # flushes, so that a pipe sees each event when it happens


def row_of(event: Event) -> str:
    """Return an event as one line of a file or a pipe; nothing in it can steer a terminal."""
    place = event.deployment or event.key
    row = f"{event.seq or '-':>7}  {_time_of(event):23}  {event.kind:21}  {place:20}  {event.host:15}  {what(event)}"
    return f"{printable(row.rstrip(), instead=' ')}\n"


class Rows:
    """Write events as rows that fit a terminal, under the deployment and the day that they are of."""

    def __init__(self, columns: int) -> None:
        self._columns = max(columns, 40)
        self._of = ("", "", "")  # key, deployment, day

    def of(self, event: Event) -> str:
        """Return the row of an event, with a line above it where another deployment or another day begins."""
        day, _, clock = _time_of(event).partition(" ")
        same = (event.key, event.deployment or self._of[1], day) == self._of
        if not same:
            self._of = (event.key, event.deployment, day)
        head = (
            "" if same else f"{printable(', '.join(filter(None, (event.deployment or event.key, day))), instead=' ')}\n"
        )
        text = f"{event.seq or '-':>7}  {clock[:8]:8}  {event.kind:21}  {event.host:12}  {what(event)}"
        row = printable(text.rstrip(), instead=" ")
        return f"{head}{row if len(row) < self._columns else row[: self._columns - 2] + '…'}\n"


def _time_of(event: Event) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
    except (OverflowError, ValueError):
        return str(event.at_ms)


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
        if event.deployment and isinstance(plain.get("operation"), str):  # the row names the deployment and the host
            plain["operation"] = str(plain["operation"]).removeprefix(f"{event.deployment}/{event.host}/")
        text = " ".join(f"{name}={value}" for name, value in plain.items())
    text = text.strip()
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"

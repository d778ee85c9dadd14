"""`sane agent`: ask an agent at the terminal, list the agents, decide about plans."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from sane.core.printable import printable
from sane.surfaces.cli.plan_approval import add_plan_commands
from sane.surfaces.cli.query import answer_options, answered, as_table, select

if TYPE_CHECKING:
    from sane.core.watch.agent_file import AgentFile

DIRECTORY = click.option("--agents", "directory", type=click.Path(path_type=Path), help="The directory of agents.")


@click.group()
def agent() -> None:
    """Ask an agent; list the agents.

    \b
    Example:
      sane agent ask "which hosts are unhealthy, and why?"
    """


@agent.command("list", short_help="List the agents: those of files, and `fleet`.")
@DIRECTORY
@answer_options()
def list_command(directory: Path | None, output: str, query: str | None) -> None:
    """List the agents: those of agents/*.yaml, and `fleet`, which needs no file and no model.

    \b
    Example:
      sane agents list --agents workflows/agents
    """
    from sane.operations.watch_files import load_agents

    rows = [found.as_json() for found in load_agents(os.environ, directory).values()]
    if not answered(rows, output, query):
        shown: list[object] = [{**row, "tools": ", ".join(map(str, cast("list[str]", row["tools"])))} for row in rows]
        click.echo(as_table(shown), nl=False)


@agent.command(short_help="Ask an agent a question and stream its answer.")
@click.argument("question")
@click.option("--agent", "name", default="fleet", show_default=True, help="Which agent.")
@DIRECTORY
@click.option("--inventory", "-i", type=click.Path(path_type=Path), help="The hosts that its tools may read.")
@click.option("--config", type=click.Path(path_type=Path), help="The models' configuration (watch.yaml).")
@click.option("--timeout", default="300s", show_default=True, help="How long the answer may take.")
@answer_options()
def ask(
    question: str,
    name: str,
    directory: Path | None,
    inventory: Path | None,
    config: Path | None,
    timeout: str,
    output: str,
    query: str | None,
) -> None:
    """Ask an agent QUESTION and stream its answer; --output ndjson writes start, content and done events.

    \b
    Example:
      sane agent ask "what failed last night?"
      sane agent ask --agent doctor -i hosts.yaml "why is web3 unhealthy?"
    """
    from sane.core.units import parse_duration_ms
    from sane.operations.watch_files import find_agent, load_agents

    found = find_agent(load_agents(os.environ, directory), name)
    timeout_s = parse_duration_ms(timeout, "timeout_s") / 1000
    view = _open_view(output, query)
    raise click.exceptions.Exit(asyncio.run(_ask(found, question, inventory, config, timeout_s, view)))


async def _ask(
    found: AgentFile, question: str, inventory: Path | None, config: Path | None, timeout_s: float, view: Any
) -> int:
    from sane.errors import SaneError, exit_status

    try:
        events = stream_answer(found, question, inventory, config, timeout_s)
        async with aclosing(events):
            async for event in events:
                view.show(event)
    except SaneError as error:
        view.show({"type": "error", "code": error.code, "message": error.message, "hint": error.hint})
        return exit_status(error)
    finally:
        view.close()
    return 0


async def stream_answer(
    found: AgentFile, question: str, inventory: Path | None, config: Path | None, timeout_s: float
) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events that `sane server` streams, without numbers: `start`, `content` …, `done`. Raises SaneError."""
    from sane.core.redact import redact
    from sane.engine.breakers import LocalBreakers
    from sane.engine.context import AsyncContext
    from sane.engine.stream_agents import Message, Text, Usage, WorkflowStep
    from sane.errors import UnavailableError
    from sane.operations.agents import open_agent
    from sane.operations.deployments import opened_store
    from sane.operations.files import load_inventory
    from sane.operations.watch_files import load_watch_config

    settings, hosts = load_watch_config(config, os.environ), load_inventory(inventory) if inventory else None
    began = time.monotonic()
    async with opened_store() as store, AsyncExitStack() as closing:
        context = AsyncContext(hosts)
        closing.push_async_callback(context.close)
        breakers = LocalBreakers(lambda: time.monotonic_ns() // 1_000_000)
        opened = open_agent(found, store, settings, breakers, context, hosts)
        closing.push_async_callback(opened.close)
        try:
            yield {"type": "start", "agent": found.name}
            used = Usage("rules", 0, 0)
            # what a person types here leaves the machine, and may hold a secret by mistake
            items = opened.stream([Message("user", redact(question))])
            async with aclosing(items):
                while True:
                    async with asyncio.timeout(max(0.0, timeout_s - (time.monotonic() - began))):
                        item = await anext(items, None)
                    match item:
                        case None:
                            break
                        case Text(text=text):
                            yield {"type": "content", "content": text}
                        case WorkflowStep(data=data):
                            yield {"type": "content", "content": "", "workflow": dict(data)}
                        case Usage():
                            used = item
        except TimeoutError:
            raise UnavailableError(f"no whole answer in {timeout_s:g} s", hint="Give more time: --timeout.") from None
    tokens = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}
    duration_ms = round((time.monotonic() - began) * 1000)
    yield {"type": "done", "model": used.model, "usage": tokens, "duration_ms": duration_ms}


def _open_view(output: str, query: str | None) -> Any:
    if output == "ndjson":
        return _JsonLines(query)
    if output == "json" or query:
        return _Whole(output, query)
    live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return _Markdown() if live else _Plain()


class _JsonLines:
    """Write each event as it comes; with a query, what it selects from those where it selects something."""

    def __init__(self, query: str | None) -> None:
        self._query = query

    def show(self, event: Mapping[str, Any]) -> None:
        shown = select(self._query, event) if self._query else event
        if shown is not None:
            click.echo(json.dumps(shown, ensure_ascii=False, default=str))

    def close(self) -> None:
        return


class _Whole:
    """Write one document at the end."""

    def __init__(self, output: str, query: str | None) -> None:
        self._output, self._query = output, query
        self._text = ""
        self._rest: dict[str, Any] = {}

    def show(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "content":
            self._text += event["content"]
        else:
            self._rest |= {k: v for k, v in event.items() if k != "type"}

    def close(self) -> None:
        answered({"answer": self._text, **self._rest}, self._output, self._query)


class _Plain:
    """Write the text as it comes."""

    def __init__(self) -> None:
        self._ended = True

    def show(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "content":
            text = printable(event["content"], keep="\n\t")
            click.echo(text, nl=False)
            self._ended = text.endswith("\n")
        elif event["type"] == "error":
            hint = f"\n  {event['hint']}" if event["hint"] else ""
            click.echo(f"Error: {event['message']}{hint}", err=True)

    def close(self) -> None:
        if not self._ended:
            click.echo()


class _Markdown:
    """Redraw the answer as formatted text while it grows; only its end, where it is longer than the screen."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._text = ""
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._draw, transient=True)
        self._live.start()

    def show(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "content":
            self._text += printable(event["content"], keep="\n\t")
        elif event["type"] == "error":
            self._console.print(f"Error: {event['message']}\n  {event['hint']}", style="red", markup=False)

    def close(self) -> None:
        from rich.markdown import Markdown

        self._live.stop()
        self._console.print(Markdown(self._text))

    def _draw(self) -> Any:
        from rich.markdown import Markdown
        from rich.text import Text

        lines = self._text.splitlines()
        return Markdown("\n".join(lines[-max(3, self._console.height - 4) :])) if lines else Text("…")


@agent.group("plans")
def plans() -> None:
    """List, show, approve or reject plans that wait for a person.

    \b
    Example:
      sane agent plans list --waiting
    """


add_plan_commands(plans)

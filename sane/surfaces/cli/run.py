"""`sane run`: one command on many hosts, equal answers folded into one."""

from __future__ import annotations

import asyncio
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sane.core.printable import printable
from sane.errors import UsageError
from sane.surfaces.cli.inventory_option import inventory_option
from sane.surfaces.cli.query import answer_options, answered

if TYPE_CHECKING:
    from sane.core.command import Command
    from sane.core.target import Target
    from sane.engine.context import AsyncContext
    from sane.engine.fan_out import HostAnswer


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("pattern")
@click.argument("command", nargs=-1, required=True)
@inventory_option("The file of hosts; else names as ssh has them.")
@click.option("--parallel", default=64, show_default=True, type=click.IntRange(1, 1000), help="Hosts at once.")
@click.option("--timeout", default="30s", show_default=True, help="How long the command may take on a host.")
@answer_options()
def run(
    pattern: str,
    command: tuple[str, ...],
    inventory: Path | None,
    parallel: int,
    timeout: str,
    output: str,
    query: str | None,
) -> None:
    """Run COMMAND on the hosts of PATTERN; exit 0 when all succeeded, 3 when some did, 4 when none.

    \b
    Example:
      sane run -i hosts.yaml 'web[1-30]' -- uptime
    """
    raise click.exceptions.Exit(asyncio.run(_run(pattern, command, inventory, parallel, timeout, output, query)))


async def _run(
    pattern: str,
    words: tuple[str, ...],
    inventory: Path | None,
    parallel: int,
    timeout: str,
    output: str,
    query: str | None,
) -> int:
    from sane.core.fleet.hostset import expand
    from sane.core.fleet.place import target_of
    from sane.core.target import Target
    from sane.engine.context import AsyncContext
    from sane.surfaces.counter import HostCounter

    asked = _command_of(words[1:] if words[0] == "--" else words, timeout)
    if inventory is None:
        context = AsyncContext()
        targets = [(name, Target(name, None)) for name in expand(pattern)]
    else:
        from sane.operations.files import load_inventory

        loaded = load_inventory(inventory)
        context = AsyncContext(loaded)
        chosen = loaded.select(pattern)
        targets = [(host.name, target_of(host)) for host in chosen]
    if not targets:
        raise UsageError(f"host pattern '{pattern}' means no host")
    with HostCounter(len(targets)) as counter:
        began = time.monotonic()
        try:
            answers, stopped = await _ask(context, targets, asked, parallel, counter.count)
        finally:
            await context.close()
    _print(answers, output, query, time.monotonic() - began)
    good = sum(answer.ok for answer in answers)
    return stopped or (0 if good == len(answers) else 3 if good else 4)


async def _ask(
    context: AsyncContext,
    targets: Sequence[tuple[str, Target]],
    asked: Command,
    parallel: int,
    count: Callable[[], None],
) -> tuple[list[HostAnswer], int]:
    """Return an answer for each host, and 130 or 143 where a signal cut it short: what had come by then is not lost."""
    from sane.engine.fan_out import HostAnswer, fan_out

    came: dict[str, HostAnswer] = {}
    stopped = 130

    def take(answer: HostAnswer) -> None:
        came[answer.host] = answer
        count()

    def terminate() -> None:
        nonlocal stopped
        stopped = 143
        asking.cancel()

    asking = asyncio.create_task(fan_out(context, targets, asked, parallel=parallel, on_answer=take))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await asking, 0
    except asyncio.CancelledError:  # Ctrl-C cancels the task around this one
        error = "stopped before it answered"
        none = (HostAnswer(name, None, b"", b"", 0.0, phase="command", error=error) for name, _ in targets)
        return [came.get(answer.host, answer) for answer in none], stopped


def _command_of(words: tuple[str, ...], timeout: str) -> Command:
    from sane.core.command import Command
    from sane.core.units import parse_duration_ms

    if not words or not words[0].strip():
        raise UsageError("there is no command to run", hint="sane run -i hosts.yaml 'web[1-30]' -- uptime")
    if words[0].startswith("-"):
        raise UsageError(
            f"'{words[0]}' is no command", hint="Options go before PATTERN: sane run -i hosts.yaml all -- uptime"
        )
    script = words[0] if len(words) == 1 else shlex.join(words)
    return Command(script, timeout_s=parse_duration_ms(timeout, "timeout_s") / 1000)


def as_json(answer: HostAnswer) -> dict[str, Any]:
    """Return an answer as JSON; what a host did not give is left out."""
    found: dict[str, Any] = {
        "host": answer.host,
        "exit_code": answer.exit_code,
        "output": answer.output.decode("utf-8", "replace"),
        "stderr": answer.stderr.decode("utf-8", "replace"),
        "duration_ms": round(answer.duration_ms, 1),
        "timed_out": answer.timed_out or None,
        "phase": answer.phase or None,
        "error": answer.error or None,
        "hint": answer.hint or None,
    }
    return {name: value for name, value in found.items() if value is not None or name == "exit_code"}


def _print(answers: list[HostAnswer], output: str, query: str | None, elapsed_s: float) -> None:
    documents = [as_json(answer) for answer in answers]
    if not answered(documents if output == "ndjson" and not query else {"hosts": documents}, output, query):
        _print_folded(answers, elapsed_s)


def _print_folded(answers: list[HostAnswer], elapsed_s: float) -> None:
    from sane.core.fleet.hostset import fold

    groups: dict[tuple[Any, ...], list[HostAnswer]] = {}
    for answer in answers:
        error = answer.error.replace(answer.host, "…")
        groups.setdefault((answer.exit_code, answer.output, answer.stderr, answer.phase, error), []).append(answer)
    for members in sorted(groups.values(), key=len, reverse=True):
        _print_group(fold([answer.host for answer in members]), members)
    good = sum(answer.ok for answer in answers)
    bad = [answer.host for answer in answers if not answer.ok]
    failed = click.style(f", {len(bad)} failed: {fold(bad)}", fg="red") if bad else ""
    click.echo(f"{good} of {len(answers)} hosts ok in {elapsed_s:.1f} s{failed}", err=True)


def _print_group(names: str, members: list[HostAnswer]) -> None:
    answer = members[0]
    mark = click.style("✓", fg="green") if answer.ok else click.style("✗", fg="red")
    count = f" ({len(members)})" if len(members) > 1 else ""
    if answer.error:
        detail = f" {answer.phase}: {printable(answer.error)}"
    elif answer.timed_out:
        detail = " timed out"
    else:
        detail = "" if answer.ok else f" exit code {answer.exit_code}"
    click.echo(f"{mark} {click.style(names, bold=True)}{count}{detail}")
    for stream, colour in ((answer.output, None), (answer.stderr, "yellow")):
        for line in stream.decode("utf-8", "replace").splitlines():
            click.echo("    " + click.style(printable(line, keep="\t"), fg=colour))
    if answer.hint:
        click.echo(click.style("    → ", fg="yellow") + printable(answer.hint))

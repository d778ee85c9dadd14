"""`sane deploy`, `sane retry`, `sane resume`: start a rollout, or go on with one, and show it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sane.errors import InterruptedRunError, StoreError, UsageError
from sane.surfaces.cli.inventory_option import inventory_option
from sane.surfaces.cli.query import check_query

if TYPE_CHECKING:
    from sane.operations.inputs import DeployRequest

# option name -> what it takes and what it means: every field of a rollout policy.
POLICY_OPTIONS: dict[str, tuple[str, str]] = {
    "strategy": ("WORD", "rolling, canary or blue-green."),
    "max_parallel": ("N|%", "Hosts at once."),
    "canary": ("N|%", "Hosts that go first and wait for promotion."),
    "min_healthy": ("DURATION", "How long a host must stay healthy without a break."),
    "healthy_deadline": ("DURATION", "How long a host may take to become healthy."),
    "progress_deadline": ("DURATION", "How long no host at all may become healthy; 0: the first failure fails it."),
    "health_check": ("WORD", "checks or agent_states."),
    "max_failures": ("N|%", "Hosts that may be bad before the rollout stops."),
    "on_failure": ("WORD", "stop, revert_failed or revert_all."),
    "poll_interval": ("DURATION", "How often health is read."),
    "dead_man": ("DURATION", "Hosts take an activation back themselves that is not confirmed for so long."),
}
FLAGS = {
    "auto_promote": "Promote canaries that are proven, without a person.",
    "auto_revert": "The same as --on-failure revert_all.",
}
OUTPUTS = click.Choice(["table", "json", "ndjson"])
REASON = click.option("--reason", default="", help="Why, for the history.")


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of a policy."""
    for name, summary in reversed(FLAGS.items()):
        word = name.replace("_", "-")
        command = click.option(f"--{word}/--no-{word}", name, default=None, help=summary)(command)
    for name, (metavar, summary) in reversed(POLICY_OPTIONS.items()):
        command = click.option("--" + name.replace("_", "-"), name, metavar=metavar, help=summary)(command)
    return command


def show_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about what is shown and how long is waited."""
    for option in (
        click.option(
            "--query", callback=check_query, metavar="JMESPATH", help="Print only this part of the JSON report."
        ),
        click.option("--output", type=OUTPUTS, default="table", show_default=True, help="The form of the report."),
        click.option("--wait/--no-wait", default=True, help="Wait for a promotion; else exit 8 there."),
        click.option("--keep-windows", is_flag=True, help="Leave the tmux windows of healthy hosts open."),
    ):
        command = option(command)
    return command


def _no_empty_word(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse an option that was given an empty word, as an unset variable of a script gives it."""
    from click.core import ParameterSource

    if not value and parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
        raise click.BadParameter("it is empty; leave the option out where there is none.", context, parameter)
    return value


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that say what to deploy; `request_of` reads them."""
    for option in (
        click.option(
            "--idempotency-key",
            default="",
            callback=_no_empty_word,
            help="A word that makes asking twice the same as asking once.",
        ),
        REASON,
        click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the workflow."),
        click.option(
            "--via",
            type=click.Choice(["ssh", "tmux", "host-tmux"]),
            default="ssh",
            show_default=True,
            help="Straight over SSH, in windows of a tmux session here, or in the tmux of each host.",
        ),
        click.option(
            "--limit", default="all", metavar="PATTERN", help="Only these hosts: web[1-4], @group, 'web*', !web3."
        ),
        click.option(
            "--controls",
            default="",
            callback=_no_empty_word,
            metavar="PATTERN",
            help="Hosts whose health is judged beside the canaries'.",
        ),
        click.option(
            "--key", default="", callback=_no_empty_word, help="The deployment key; the workflow's own when left out."
        ),
        click.option("--version", "version", required=True, help="What to roll out."),
        inventory_option("The file of hosts.", required=True),
        click.argument("workflow", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


def request_of(given: dict[str, Any]) -> DeployRequest:
    """Return what the options of `request_options` and `policy_options` ask for. Raises UsageError."""
    from sane.operations.inputs import DeployRequest

    named = ("workflow", "inventory", "version", "key", "limit", "controls", "via", "reason", "idempotency_key")
    policy = {name: given[name] for name in (*POLICY_OPTIONS, *FLAGS)}
    own = {name: given[name] for name in named}
    return DeployRequest(**own, policy=read_policy_options(policy), given=_variables(given["variables"]))


@click.command()
@request_options
@policy_options
@click.option("--supersede", is_flag=True, help="Cancel the active deployment of the key first, and wait for its end.")
@click.option("--rehearse", is_flag=True, help="Run it on throwaway hosts of this machine instead, 20 at most.")
@show_options
def deploy(
    supersede: bool, rehearse: bool, output: str, query: str | None, wait: bool, keep_windows: bool, **given: Any
) -> None:
    """Roll a version out to the hosts of an inventory, and tell the truth about each.

    \b
    Example:
      sane deploy workflows/multi-server-deploy.yaml -i hosts.yaml --version 1.0.0 --max-failures 1
    """
    asked = request_of(given)
    if rehearse:
        from sane.operations.rehearsal import rehearsal

        with rehearsal(asked) as rehearsed:
            click.echo(f"a rehearsal on {rehearsed.hosts} hosts of this machine: no host of yours is touched", err=True)
            deploy_request(rehearsed.request, output, query, wait, keep_windows)
    if supersede:
        _deploy_superseding(asked, output, query, wait, keep_windows)
    deploy_request(asked, output, query, wait, keep_windows)


def _deploy_superseding(asked: DeployRequest, output: str, query: str | None, wait: bool, keep_windows: bool) -> None:
    from sane.operations.deployments import load_plan
    from sane.operations.supersede import create_superseding

    def say(text: str) -> None:
        click.echo(text, err=True)

    plan = load_plan(asked)
    run_and_report(lambda store: create_superseding(store, plan, asked, say=say), output, query, wait, keep_windows)


def deploy_request(asked: DeployRequest, output: str, query: str | None, wait: bool, keep_windows: bool) -> None:
    """Deploy what is asked for, show it, and exit with its status."""
    from sane.operations.deployments import create_deployment, load_plan

    plan = load_plan(asked)
    run_and_report(lambda store: create_deployment(store, plan, asked), output, query, wait, keep_windows)


@click.command()
@click.argument("deployment")
@click.option(
    "--inventory",
    "-i",
    type=click.Path(path_type=Path),
    help="How the hosts are reached now; else as when they were deployed.",
)
@REASON
@show_options
def retry(
    deployment: str,
    inventory: Path | None,
    reason: str,
    output: str,
    query: str | None,
    wait: bool,
    keep_windows: bool,
) -> None:
    """Deploy again to the hosts of DEPLOYMENT (an id, or a key: its newest) that need it; probe the healthy ones.

    \b
    Example:
      sane retry multi-server-deploy
    """
    from sane.operations.deployments import create_retry, find_deployment
    from sane.operations.inputs import read_source

    async def create(store: Any) -> Any:
        found = await find_deployment(store, deployment)
        return await create_retry(store, found.id, read_source(inventory) if inventory else None, reason=reason)

    run_and_report(create, output, query, wait, keep_windows)


@click.command()
@click.argument("deployment")
@show_options
def resume(deployment: str, output: str, query: str | None, wait: bool, keep_windows: bool) -> None:
    """Go on with DEPLOYMENT where a controller left it: nothing that was begun is begun again.

    \b
    Example:
      sane resume multi-server-deploy
    """
    from sane.operations.deployments import find_deployment
    from sane.operations.drive import refuse_ended

    async def find(store: Any) -> Any:
        return await refuse_ended(store, (await find_deployment(store, deployment)).id)

    run_and_report(find, output, query, wait, keep_windows)


def run_and_report(
    create: Callable[[Any], Awaitable[Any]], output: str, query: str | None, wait: bool, keep_windows: bool
) -> None:
    """Create or find a deployment, drive it with its progress shown, print the report, exit with its status."""
    raise click.exceptions.Exit(asyncio.run(_run_and_report(create, output, query, wait, keep_windows)))


async def drive_and_report(deployment: str, output: str, query: str | None, *, wait: bool) -> int:
    """Drive a deployment that is there, and return its exit status."""
    from sane.operations.deployments import load_deployment

    async def find(store: Any) -> Any:
        return (await load_deployment(store, deployment))[1]

    return await _run_and_report(find, output, query, wait, False)


async def _run_and_report(
    create: Callable[[Any], Awaitable[Any]], output: str, query: str | None, wait: bool, keep_windows: bool
) -> int:
    from sane.core.rollout.controller import exit_status
    from sane.engine.log_away import follow_on
    from sane.operations.deployments import last_seq, opened_store
    from sane.operations.drive import drive
    from sane.operations.reports import build_report
    from sane.surfaces.progress import open_view, show_progress

    async with opened_store() as store:
        event = await create(store)
        behind = await last_seq(store, event.deployment)
        view = open_view(sys.stderr)
        following = follow_on(store, event.seq - 1, deployment=event.deployment)
        showing = asyncio.create_task(show_progress(following, view, behind=behind))
        try:
            state = await drive(store, event.deployment, say=view.say, wait_for_people=wait, keep_windows=keep_windows)
            if state.terminal:
                await asyncio.wait({showing}, timeout=2.0)
        except InterruptedRunError:
            with contextlib.suppress(StoreError):  # a log that is away can be why: then there is none to print
                print_report(await build_report(store, event.deployment), output, query)
            raise
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            view.close()
        print_report(await build_report(store, event.deployment), output, query)
        return exit_status(state)


def print_report(report: dict[str, Any], output: str, query: str | None) -> None:
    """Print a report in the form asked for, or the part that a JMESPath names as JSON."""
    if query is not None:
        from sane.surfaces.cli.query import select

        click.echo(_json(select(query, report)))
        return
    from sane.surfaces.report import write_report

    write_report(report, output, sys.stdout)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, indent=2)


def read_policy_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a policy that were given as options, typed. Raises UsageError."""
    from sane.core.units import parse_amount, parse_duration_ms

    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in ("max_parallel", "canary", "max_failures"):
            fields[name] = parse_amount(value, name)
        elif name in ("min_healthy", "healthy_deadline", "progress_deadline", "poll_interval", "dead_man"):
            fields[f"{name}_ms"] = parse_duration_ms(value, name)
        else:
            fields[name] = value
    return fields


def _variables(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(f"--var takes NAME=VALUE, got '{word}'", hint="For example --var root=/srv/app.")
        found[name] = value
    return found

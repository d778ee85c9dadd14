"""`sane validate`: explain the mistakes in inventories and workflows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import click

from sane.core.document import Node, Problems
from sane.core.nearest import nearest
from sane.core.printable import printable
from sane.errors import ConfigError, Problem, SaneError, UsageError
from sane.surfaces.cli.query import check_query

LIKENESS = 0.7  # `service` is no mistyped `revert`


class Verdict(NamedTuple):
    """Hold what came of one file."""

    file: str
    kind: str
    summary: str
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Choice(["table", "json", "ndjson"]), default="table", help="For people, or as JSON."
)
@click.option("--query", callback=check_query, metavar="JMESPATH", help="Print only this part of the JSON answer.")
@click.pass_context
def validate(ctx: click.Context, files: tuple[Path, ...], output: str, query: str | None) -> None:
    """Explain the mistakes in inventories, workflows (YAML) and bash workflows.

    Exit status: 0 when every file is right (a warning is no mistake), 2 when one is not. Nothing is run and no host is
    touched.

    \b
    Example:
      sane validate inventory.yaml workflows/multi-server-deploy.yaml
    """
    verdicts = [check_file(file) for file in files]
    documents = [_as_json(verdict) for verdict in verdicts]
    if query is not None:
        from sane.surfaces.cli.query import select

        click.echo(json.dumps(select(query, documents), ensure_ascii=False, indent=2))
    elif output == "table":
        for verdict in verdicts:
            _show(verdict)
    else:
        lines = [json.dumps(document) for document in documents] if output == "ndjson" else [json.dumps(documents)]
        click.echo("\n".join(lines))
    if any(verdict.problems for verdict in verdicts):
        ctx.exit(2)


def check_file(file: Path) -> Verdict:
    """Return the verdict on a file; told apart by content: a bash script, a workflow, or an inventory."""
    from sane.operations.files import parse_yaml, read_bytes

    try:
        content = read_bytes(file)
        if content.startswith(b"#!") or file.suffix in (".sh", ".bash"):
            from sane.surfaces.cli.validate_shell import check_script

            return Verdict(str(file), "bash", "its syntax is right", check_script(file, content))
        problems = Problems()
        root = parse_yaml(content, str(file), problems)
        kind = _kind_of(root)
        if kind is None:
            hint = "An inventory has hosts:, a workflow has stage: or switch:."
            problems.add(root, "this is neither an inventory nor a workflow", hint)
            return Verdict(str(file), "unknown", "", tuple(problems.found))
        return (_check_inventory if kind == "inventory" else _check_workflow)(file, root, problems)
    except ConfigError as error:
        return Verdict(str(file), "unknown", "", error.problems)
    except UsageError as error:
        return Verdict(str(file), "unknown", "", (Problem(error.message, str(file), hint=error.hint),))


def _kind_of(root: Node) -> str | None:
    """Return the kind that the keys of a file tell, or that the nearest of a mistyped one tells; None for neither."""
    from sane.operations.files import INVENTORY_KEYS, WORKFLOW_KEYS

    keys = [key.text for key, _ in root.entries]
    near = [nearest(key, INVENTORY_KEYS | WORKFLOW_KEYS, cutoff=LIKENESS) for key in keys]
    for found in (keys, near):
        for kind, telling in (("inventory", INVENTORY_KEYS), ("workflow", WORKFLOW_KEYS)):
            if telling.intersection(found):
                return kind
    return None


def _check_inventory(file: Path, root: Node, problems: Problems) -> Verdict:
    from sane.operations.files import inventory_of

    try:
        inventory = inventory_of(root, problems)
    except ConfigError as error:
        return Verdict(str(file), "inventory", "", error.problems)
    hosts, groups = _count(len(inventory.hosts), "host"), _count(len(inventory.groups), "group")
    return Verdict(str(file), "inventory", f"{hosts} in {groups}", ())


def _check_workflow(file: Path, root: Node, problems: Problems) -> Verdict:
    from sane.core.host.dead_man import check_dead_man
    from sane.core.workflow.workflow import warnings_of
    from sane.operations.files import workflow_of
    from sane.surfaces.cli.validate_shell import check_steps

    check_steps(root, problems)
    try:
        workflow = workflow_of(root, problems)
        check_dead_man(workflow)
    except ConfigError as error:
        return Verdict(str(file), "workflow", "", error.problems)
    parts = [f"{part} {len(workflow.part(part))}" for part in ("stage", "switch", "revert") if workflow.part(part)]
    summary = f"'{workflow.name}', steps: {', '.join(parts)}; {workflow.policy.strategy}"
    summary = f"{summary}, {workflow.policy.max_parallel} at once"
    return Verdict(str(file), "workflow", summary, (), warnings_of(workflow))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _as_json(verdict: Verdict) -> dict[str, object]:
    problems = [problem._asdict() for problem in verdict.problems]
    return {
        "file": verdict.file,
        "kind": verdict.kind,
        "valid": not problems,
        "summary": verdict.summary,
        "problems": problems,
        "warnings": list(verdict.warnings),
    }


def _show(verdict: Verdict) -> None:
    if not verdict.problems:
        click.echo(f"{verdict.file}: {verdict.kind}: {verdict.summary}")
        for warning in verdict.warnings:
            click.echo(f"{verdict.file}: warning: {warning}", err=True)
        return
    lines = _lines_of(verdict.file)
    for problem in verdict.problems:
        click.echo(problem.text, err=True)
        if 0 < problem.line <= len(lines):
            _show_line(lines[problem.line - 1], problem)
        if problem.hint:
            click.echo(f"  {problem.hint}", err=True)
    click.echo(f"{verdict.file}: {_count(len(verdict.problems), 'mistake')}", err=True)


def _show_line(line: str, problem: Problem) -> None:
    """Write the line with a caret below its column, cut to what fits around the caret."""
    start = max(0, problem.column - 60)
    shown = printable(line[start : start + 100], instead=" ")
    number = f"{problem.line:>5} | "
    click.echo(f"{number}{shown}", err=True)
    if problem.column:
        click.echo(f"{' ' * (len(number) + problem.column - 1 - start)}^", err=True)


def _lines_of(file: str) -> list[str]:
    from sane.operations.files import read_bytes

    try:
        return read_bytes(Path(file)).decode("utf-8-sig", "replace").split("\n")
    except SaneError:
        return []

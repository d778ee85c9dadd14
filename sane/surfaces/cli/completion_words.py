"""What Tab offers for values that click knows nothing of: hosts, deployments, plans, the lab, words of a policy.

Imported only while a shell completes. Whatever goes wrong, Tab offers nothing and says nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from sane.core.paths import state_dir

if TYPE_CHECKING:
    from sane.store.base import DeploymentRow

Find = Callable[[click.Context], Iterable[str]]
SHOWN = 300
STORE_TIMEOUT_S = 2.0
_PATTERN = re.compile(r".*[,!&]")  # the terms of a host pattern before the one that is typed


def attach_words(command: click.Command) -> None:
    """Let the parameters of a command, and of its subcommands, complete with the words that there are now."""
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            attach_words(sub)
    for parameter in command.params:
        find = FINDERS.get(parameter.name or "")
        if find and isinstance(parameter.type, click.types.StringParamType):
            parameter.shell_complete = partial(_complete, find)  # type: ignore[method-assign]


def _complete(find: Find, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    found = _PATTERN.match(incomplete) if find is _hosts else None
    before = found[0] if found else ""
    try:
        words = [before + word for word in find(context)]
    except Exception:
        return []
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(incomplete)][:SHOWN]


def _hosts(context: click.Context) -> Sequence[str]:
    path = context.params.get("inventory")
    if path is None:
        return ()
    from sane.operations.files import load_inventory

    inventory = load_inventory(Path(path))
    return ("all", *(f"@{name}" for name in inventory.groups), *(host.name for host in inventory.hosts))


def _rows() -> list[DeploymentRow]:
    from sane.operations.deployments import opened_store

    async def read() -> list[DeploymentRow]:
        async with asyncio.timeout(STORE_TIMEOUT_S), opened_store() as store:
            return await store.list_deployments(limit=SHOWN)

    return asyncio.run(read()) if _has_log() else []


def _has_log() -> bool:
    return bool(os.environ.get("SANE_DATABASE_URL")) or (state_dir(os.environ) / "sane.db").exists()


def _keys(_: click.Context) -> Iterable[str]:
    return [row.key for row in _rows()]


def _deployments(context: click.Context) -> Iterable[str]:
    rows = _rows()
    keys = () if context.info_name == "events" else [row.key for row in rows]
    return [*keys, *(row.id for row in rows)]


def _names(context: click.Context) -> Iterable[str]:
    called = context.command_path.split()[1:]
    if called[:1] == ["deployment"]:
        return _deployments(context)
    if called == ["apply"]:
        kept = (state_dir(os.environ) / "plans").glob("*.json")
        return [path.stem for path in sorted(kept, key=lambda path: -path.stat().st_mtime)]
    return ()


def _plans(_: click.Context) -> Iterable[str]:
    from sane.operations.deployments import opened_store
    from sane.operations.plans import list_plans

    async def read() -> list[str]:
        async with asyncio.timeout(STORE_TIMEOUT_S), opened_store() as store:
            return [plan.id for plan in await list_plans(store)]

    return asyncio.run(read()) if _has_log() else []


def _lab_hosts(context: click.Context) -> Iterable[str]:
    from sane.operations import lab

    return [view.name for view in lab.look(context.params.get("directory") or state_dir(os.environ) / "lab")]


def _faults(_: click.Context) -> Iterable[str]:
    from sane.operations.lab import FAULTS

    return [form.partition(":")[0] + (":" if ":" in form else "") for form in FAULTS]


def _policy_words(name: str) -> Find:
    def words(_: click.Context) -> Iterable[str]:
        from sane.core.rollout import policy

        return {"strategy": policy.STRATEGIES, "on_failure": policy.ON_FAILURE}.get(name, policy.HEALTH_CHECKS)

    return words


FINDERS: dict[str, Find] = {
    **dict.fromkeys(("pattern", "hosts", "limit", "group", "controls"), _hosts),
    "deployment": _deployments,
    "name": _names,
    "key": _keys,
    "plan_id": _plans,
    "host": _lab_hosts,
    "fault": _faults,
    **{name: _policy_words(name) for name in ("strategy", "on_failure", "health_check")},
}

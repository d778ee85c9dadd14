"""Call one verb under asyncio, for targets that are reached over SSH. Imported only for those."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from sane.engine.context import AsyncContext
from sane.surfaces.context import report_on_stderr
from sane.verbs.registry import Verb


def call_with_asyncio(verb: Verb, values: Mapping[str, object]) -> object:
    """Return a verb's answer; hosts are those of the inventory $SANE_INVENTORY names and of ~/.ssh/config."""
    return asyncio.run(_call(verb, values))


async def _call(verb: Verb, values: Mapping[str, object]) -> object:
    inventory = None
    if os.environ.get("SANE_INVENTORY"):
        from sane.operations.files import load_inventory

        inventory = load_inventory(os.environ["SANE_INVENTORY"])
    context = AsyncContext(inventory, report=report_on_stderr)
    try:
        return await verb.function(context, **values)
    finally:
        await context.close()

"""The option that names the file of hosts, and the variable that stands for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

VARIABLE = "SANE_INVENTORY"


def inventory_option(text: str, *, required: bool = False) -> Callable[[Any], Any]:
    """Return the option `--inventory`; where it is left out, $SANE_INVENTORY counts."""
    kind = click.Path(path_type=Path)
    return click.option("--inventory", "-i", type=kind, required=required, help=text, envvar=VARIABLE, show_envvar=True)


def inventory_of_environment() -> Path | None:
    """Return the file that $SANE_INVENTORY names, for commands that may take their hosts from elsewhere."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None

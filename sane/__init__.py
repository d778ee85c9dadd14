"""Run steps on many hosts, in tmux panes people can watch or over SSH, and tell the truth about each."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself would cost every primitive 4 ms at its start
if TYPE_CHECKING:
    from sane import errors as errors
    from sane.api import Connection as Connection
    from sane.api import connect as connect
    from sane.core.command import CommandResult as CommandResult
    from sane.errors import SaneError as SaneError

__version__ = "0.1.0"
__all__ = ["CommandResult", "Connection", "SaneError", "__version__", "connect", "errors"]

_HOMES = {
    "CommandResult": "sane.core.command",
    "Connection": "sane.api",
    "SaneError": "sane.errors",
    "connect": "sane.api",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: `import sane` alone costs nothing."""
    if name != "errors" and name not in _HOMES:
        raise AttributeError(f"module 'sane' has no attribute '{name}'")
    from importlib import import_module

    if name == "errors":
        return import_module("sane.errors")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)

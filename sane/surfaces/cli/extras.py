"""What to say when a command needs packages that only an extra brings."""

from __future__ import annotations

from sane.core.rollout.hints import install_hint
from sane.errors import UsageError


def missing_extra(command: str, extra: str, error: ImportError) -> UsageError:
    """Return the error that names the package which a command lacks, and how to install it."""
    return UsageError(f"{command} needs a package that is not installed: {error.name}", hint=install_hint(extra))

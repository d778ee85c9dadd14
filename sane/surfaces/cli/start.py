"""Start a command of bin/ in a bare interpreter (`python -I -S`), 3 ms quicker than one that looks for packages.

Packages outside the standard library are looked for on the first import that needs one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NEVER_INSTALLED = frozenset({"org"})  # the standard library's `copy` asks every time whether this is Jython


class LatePackages:
    """Make site-packages importable on the first import that nothing else could serve."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a top-level module after site-packages have been added; None as before otherwise."""
        if path is not None or name in NEVER_INSTALLED:
            return None
        sys.meta_path.remove(self)
        import site

        site.main()
        return PathFinder.find_spec(name, None, target)


def start(name: str) -> None:
    """Run the command called `name` with the arguments in sys.argv, and exit with its status."""
    if sys.flags.no_site:
        sys.meta_path.append(LatePackages())
    if name == "sane":
        from sane.surfaces.cli.main import main as main_sane

        sys.exit(main_sane())
    from sane.surfaces.cli.primitive import main

    sys.exit(main(name))

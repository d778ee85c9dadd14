"""Start a command of bin/ in a bare interpreter (`python -I -S`), 3 ms quicker than one that looks for packages.

Packages outside the standard library are looked for on the first import that needs one. Nothing is imported here that a
call carried out by a warm helper does not need.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
else:
    ModuleType = type(sys)

# Not to be looked for: modules of other systems, and what the standard library's `copy` tells Jython by.
ABSENT = sys.stdlib_module_names | {"org"}


class LatePackages:
    """Make site-packages importable on the first import that nothing else could serve."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a top-level module after site-packages have been added; None as before otherwise."""
        if path is not None or name in ABSENT:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        import site

        site.main()
        return PathFinder.find_spec(name, None, target)


class LateInspect(ModuleType):
    """Stand for `inspect` until something of it is used: `dataclasses` imports it for classes without a docstring.

    A tenth of the instructions of a one-shot `sane-run-command` (callgrind).
    """

    def __getattr__(self, name: str) -> object:
        if sys.modules.get("inspect") is self:
            del sys.modules["inspect"]
        import inspect

        return getattr(inspect, name)


def keep_bytecode(compiled: str) -> None:
    """Keep compiled code in the user's cache where it can't be kept beside the code; compiling it takes 100 ms.

    `compiled` is the file that the import of this module would have left behind.
    """
    try:
        posix.stat(compiled)
    except OSError:
        environ = {
            key: posix.environ.get(key, b"").decode("utf-8", "surrogateescape") for key in (b"XDG_CACHE_HOME", b"HOME")
        }
        cache = environ[b"XDG_CACHE_HOME"] or environ[b"HOME"] + "/.cache"
        if cache.startswith("/") and cache != "/.cache":
            sys.pycache_prefix = f"{cache}/sane/bytecode"


def main() -> None:
    """Run the command that an installed script is named after."""
    start(sys.argv[0].rpartition("/")[2])


def start(name: str) -> None:
    """Run the command called `name` with the arguments in sys.argv, and exit with its status."""
    keep_bytecode(__cached__)
    if sys.flags.no_site:
        sys.meta_path.append(LatePackages())
    sys.modules.setdefault("inspect", LateInspect("inspect"))
    if name == "sane":
        from sane.surfaces.cli.main import main as main_sane

        sys.exit(main_sane())
    from sane.surfaces.cli.warm import ask, may_be_warm

    verb, words = name.removeprefix("sane-"), sys.argv[1:]
    warm = may_be_warm(verb, words)
    if warm and (status := ask(verb, words)) is not None:
        posix._exit(status)  # pyright: ignore[reportPrivateUsage]  # everything is written and nothing is open: 2 ms less than an orderly end
    from sane.surfaces.cli.primitive import main

    status = main(name)
    if warm and status == 0:
        from sane.surfaces.cli.warm import goes_over_ssh
        from sane.surfaces.cli.warm_start import start_helper

        start_helper(ssh=goes_over_ssh(words))
    sys.exit(status)

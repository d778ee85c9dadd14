"""Where a command runs: the one grammar of targets.

SESSION[:WINDOW[.PANE]]          a pane of the local tmux, as tmux users type it; `SESSION:` is its active pane too
%ID                              the same, by pane id
local:                           this machine, without tmux
ssh:HOST                         an inventory name, a ~/.ssh/config alias, or [user@]host[:port]
ssh:HOST/SESSION[:WINDOW[.PANE]] a pane of the tmux on that host
"""

from __future__ import annotations

from typing import NamedTuple

from sane.errors import UsageError


class Target(NamedTuple):
    """Name the place where a command runs: `host` None is this machine, `pane` None is no tmux."""

    host: str | None
    pane: str | None

    def __str__(self) -> str:
        if self.host is None:
            return self.pane if self.pane is not None else "local:"
        return f"ssh:{self.host}/{self.pane}" if self.pane is not None else f"ssh:{self.host}"


def parse_target(text: str) -> Target:
    """Return the target that `text` names.

    Raises UsageError on an empty text or an incomplete `ssh:` form. The existence of what is named is not checked.
    """
    if text == "local:":
        return Target(None, None)
    if text.startswith("ssh:"):
        host, slash, pane = text[len("ssh:") :].partition("/")
        if not host or (slash and not pane):
            raise UsageError(
                f"target '{text}' is incomplete",
                hint="Write ssh:HOST, or ssh:HOST/SESSION[:WINDOW[.PANE]] for a pane of its tmux.",
            )
        return Target(host, pane if slash else None)
    if not text:
        raise UsageError("target is empty", hint="Write SESSION[:WINDOW[.PANE]], %ID, local: or ssh:HOST.")
    return Target(None, text)

#!/usr/bin/env python3
"""Draw the tables of docs/reference/states.md from the code: `python docs/states.py` writes; `--check` compares."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sane.core.rollout import table as t

PAGE = Path(__file__).parent / "reference" / "states.md"


def diagram(rows: Sequence[t.Row], ends: Sequence[str]) -> str:
    """Return the Mermaid diagram of a table of changes."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for row in rows:
        lines.append(f"    {row.source or '[*]'} --> {row.target}: {row.who}")
    lines += [f"    {end} --> [*]" for end in ends]
    return "\n".join([*lines, "```"])


def table(rows: Sequence[t.Row]) -> str:
    """Return the Markdown table of a table of changes."""
    lines = ["| from | to | who | what must hold |", "|---|---|---|---|"]
    lines += [f"| {r.source or '—'} | {r.target} | {r.who} | {r.guard.replace('_', ' ')} |" for r in rows]
    return "\n".join(lines)


def sections() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    host_ends = (t.UNCHANGED, t.NOT_ATTEMPTED, t.REVERTED, t.REVERT_FAILED, t.NO_PREVIOUS)
    requests = ["| request | while it is |", "|---|---|"]
    requests += [f"| {name} | {', '.join(states)} |" for name, states in t.REQUESTS.items()]
    return {
        "deployment-diagram": diagram(t.DEPLOYMENT_ROWS, t.TERMINAL),
        "deployment-table": table(t.DEPLOYMENT_ROWS),
        "host-diagram": diagram(t.HOST_ROWS, host_ends),
        "host-table": table(t.HOST_ROWS),
        "requests": "\n".join(requests),
    }


def filled(page: str) -> str:
    """Return the page with every generated part drawn anew. Raises ValueError where the page lacks one."""
    for name, text in sections().items():
        start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} has no place for {name}")
        page = f"{before}{start}\n{text}\n{end}{after}"
    return page


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check return 1 where it is not up to date."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = filled(page)
    if "--check" in arguments:
        if fresh != page:
            print(f"{PAGE.name} is not up to date: run python docs/states.py", file=sys.stderr)
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

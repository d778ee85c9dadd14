#!/usr/bin/env python3
"""Write the commands of docs/reference/primitives.md from the code: `python docs/primitives.py`; `--check` compares."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sane.surfaces.cli.arguments import help_text
from sane.verbs.registry import VERB_NAMES, Verb, load_verb
from sane.verbs.schema import output_schema

PAGE = Path(__file__).parent / "reference" / "primitives.md"
START = "<!-- commands -->\n"
ACCESS = {"read": "changes nothing", "write": "changes something", "admin": "for whoever administers the host"}


def command(verb: Verb) -> str:
    """Return a verb's part of the page: what it does, its arguments, an example, the fields of its answer."""
    facts = [ACCESS[verb.access]]
    if verb.destructive:
        facts.append("may lose what was there")
    if verb.idempotent and verb.access != "read":
        facts.append("safe to call again")
    usage, _, rest = help_text(verb).partition("\n")
    arguments = [line for line in _arguments(rest) if not line.lstrip().startswith(COMMON)]
    shown = [usage.removeprefix("Usage: "), *arguments]
    lines = [f"### sane-{verb.name}", f"{verb.summary} ({'; '.join(facts)})", "", "```", *shown, "```"]
    if verb.example:
        lines += ["", "```sh", verb.example, "```"]
    return "\n".join([*lines, "", f"Answers {fields(output_schema(verb))}."])


COMMON = ("--query", "--output", "--help")


def _arguments(rest: str) -> list[str]:
    """Return the lines of a help text that explain arguments."""
    return [line for line in rest.partition("\nExample:")[0].split("\n") if line.startswith("  ")]


def fields(schema: dict[str, Any]) -> str:
    """Return the fields of an answer; those in brackets are there only when they say something."""
    names = schema.get("properties", {})
    required = schema.get("required", [])
    words = [f"`{name}`{_inner(names[name])}" for name in names]
    return ", ".join(word if name in required else f"[{word}]" for name, word in zip(names, words, strict=True))


def _inner(schema: dict[str, Any]) -> str:
    inner = schema.get("items", schema)
    if "enum" in schema:
        return f" ({', '.join(map(str, schema['enum']))})"
    return f" {{{', '.join(inner['properties'])}}}" if inner.get("properties") else ""


def filled(page: str) -> str:
    """Return the page with its commands written anew. Raises ValueError where it has no place for them."""
    before, found, _ = page.partition(START)
    if not found:
        raise ValueError(f"{PAGE.name} has no place for the commands")
    return f"{before}{START}\n" + "\n\n".join(command(load_verb(name)) for name in VERB_NAMES) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check return 1 where it is not up to date."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = filled(page)
    if "--check" in arguments:
        if fresh != page:
            print(f"{PAGE.name} is not up to date: run python docs/primitives.py", file=sys.stderr)
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

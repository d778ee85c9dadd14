"""Agents as files: instructions, a model, tools and a tier, in one YAML document each.

name: doctor                     # the file's name where left out
description: Explains why hosts are unhealthy.
instructions: |
  You explain …
model: big                       # of watch.yaml, PROVIDER:MODEL, or rules
tools: [read-file, detect-platform]
tier: read
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sane.core.document import Fields, Node, Problems
from sane.core.nearest import nearest_hint
from sane.core.watch.plan import TIERS

MAX_INSTRUCTIONS_CHARS = 100_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KNOWN = ("name", "description", "instructions", "model", "tools", "tier")


@dataclass(frozen=True, slots=True)
class AgentFile:
    """Describe an agent. `model` "" is the planner's; `tools` are verbs; `file` is where it was read."""

    name: str
    instructions: str
    description: str = ""
    model: str = ""
    tools: tuple[str, ...] = ()
    tier: str = "read"
    file: str = ""

    def as_json(self) -> dict[str, object]:
        """Return what a list of agents shows."""
        return {
            "name": self.name,
            "description": self.description,
            "model": self.model or "rules",
            "tools": list(self.tools),
            "tier": self.tier,
            "file": self.file,
        }


def read_agent(root: Node, problems: Problems, *, default_name: str, verbs: Collection[str]) -> AgentFile:
    """Return the agent in a document; mistakes are recorded, each at its line."""
    fields = Fields(root, problems, "an agent", _KNOWN)
    name = fields.text("name", default_name)
    if not _NAME.fullmatch(name):
        hint = "Use small letters, digits, - and _."
        problems.add(fields.key("name"), f"'{name[:60]}' is no name for an agent", hint)
    instructions = fields.text("instructions").strip()
    if not instructions:
        problems.add(fields.key("instructions"), "an agent needs instructions", "Say what it is to do, in words.")
    elif len(instructions) > MAX_INSTRUCTIONS_CHARS:
        problems.add(fields.key("instructions"), f"instructions are longer than {MAX_INSTRUCTIONS_CHARS:,} characters")
    tools: list[str] = []
    for text, node in fields.strings("tools"):
        if text in verbs:
            tools.append(text)
        else:
            problems.add(node, f"there is no verb '{text}'", nearest_hint(text, verbs))
    return AgentFile(
        name,
        instructions,
        fields.text("description"),
        fields.text("model"),
        tuple(dict.fromkeys(tools)),
        fields.choice("tier", "read", TIERS),
        root.file,
    )

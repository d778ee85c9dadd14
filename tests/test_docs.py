"""What the documents show works: links lead somewhere, files are valid, command lines are taken as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sane.core.document import Problems
from sane.operations.files import inventory_of, parse_yaml, workflow_of
from sane.surfaces.cli.main import cli
from tests.surfaces.cli.test_help import called, read

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARTS = {"plan.md", "watch.md"}  # these show a part of a workflow, and the configuration of a watch
CALL = re.compile(r"""(?:[^'"|;&]|'[^']*'|"[^"]*")*""")  # up to what a shell makes of its end


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert not [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if blocks(p, "yaml") and p.name not in PARTS], ids=lambda p: p.name
)
def test_inventories_and_workflows_are_valid(path: Path) -> None:
    for text in blocks(path, "yaml"):
        problems = Problems()
        root = parse_yaml(text.encode(), path.name, problems)
        reader = inventory_of if any(key.text == "hosts" for key, _ in root.entries) else workflow_of
        reader(root, problems)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "sh")], ids=lambda p: p.name)
def test_command_lines_are_taken(path: Path) -> None:
    lines = [line for block in blocks(path, "sh") for line in block.splitlines() if line.startswith("sane ")]
    for line in lines:
        first = CALL.match(line.replace("…", "WORKFLOW -i HOSTS --version 1"))
        assert first is not None
        read(cli, cli.make_context("sane", called(first[0])))

"""Every surface has the same verbs: registry, modules, launchers, console scripts and tools."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sane.surfaces.mcp.tools import OWN_TOOLS, all_tools
from sane.verbs.registry import VERB_NAMES, load_verb

ROOT = Path(__file__).parents[1]


def test_the_registry_is_sorted_and_names_each_verb_once():
    assert list(VERB_NAMES) == sorted(set(VERB_NAMES))


def test_every_verb_is_a_module_and_every_module_a_verb():
    modules = {path.stem for path in (ROOT / "sane" / "primitives").glob("*.py") if not path.stem.startswith("_")}
    assert modules == {name.replace("-", "_") for name in VERB_NAMES}


def test_every_verb_has_its_launcher_and_every_launcher_is_the_same_file():
    launchers = {path.name: path for path in (ROOT / "bin").iterdir()}
    assert set(launchers) == {"sane", *(f"sane-{name}" for name in VERB_NAMES)}
    assert len({path.read_bytes() for path in launchers.values()}) == 1
    assert all(os.access(path, os.X_OK) for path in launchers.values())


def test_every_verb_has_its_console_script():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    verbs = {f"sane-{name}": "sane.surfaces.cli.start:main" for name in VERB_NAMES}
    assert scripts == {"sane": "sane.surfaces.cli.main:main", **verbs}


def test_every_verb_is_a_tool():
    assert {tool.name for tool in all_tools("admin", 1000)} == {*OWN_TOOLS, *(n.replace("-", "_") for n in VERB_NAMES)}


@pytest.mark.parametrize("name", VERB_NAMES)
def test_a_verb_says_what_it_does_with_an_example_of_its_own(name: str):
    verb = load_verb(name)
    assert verb.name == name
    assert verb.summary.endswith(".")
    assert verb.example.startswith(f"sane-{name}")
    assert all(parameter.help for parameter in verb.parameters)


def test_the_page_of_primitives_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "primitives.py", "--check"], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")

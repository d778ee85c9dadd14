"""Agents as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sane.errors import ConfigError, NotFoundError
from sane.operations.watch_files import find_agent, load_agents

READY = Path(__file__).parents[2] / "workflows" / "agents"


def test_the_ready_agents_are_whole() -> None:
    agents = load_agents({}, READY)
    assert set(agents) == {"fleet", "doctor", "release-writer"}
    assert agents["doctor"].tier == "read"
    assert "read-file" in agents["doctor"].tools


def test_mistakes_of_all_files_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("instructions: x\ntier: rot\n")
    (tmp_path / "b.yaml").write_text("name: Bad Name\ninstructions: x\ntols: []\n")
    (tmp_path / "c.yaml").write_text("description: nothing to do\n")
    with pytest.raises(ConfigError) as error:
        load_agents({}, tmp_path)
    for told in ("a.yaml:2: tier", "b.yaml:1: 'Bad Name'", "b.yaml:3: unknown key 'tols'", "c.yaml:1: an agent needs"):
        assert told in error.value.message


def test_two_files_of_one_name_and_unknown_names_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("name: same\ninstructions: x\n")
    with pytest.raises(ConfigError, match="b.yaml"):
        load_agents({}, tmp_path)
    with pytest.raises(NotFoundError, match="no directory"):
        load_agents({}, tmp_path / "absent")
    with pytest.raises(NotFoundError) as error:
        find_agent(load_agents({}, READY), "docter")
    assert "doctor" in error.value.hint

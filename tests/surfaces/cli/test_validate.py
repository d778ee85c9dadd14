"""`sane validate`: files told apart, mistakes shown with their line, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sane.surfaces.cli.validate import check_file, validate

READY = Path(__file__).parents[3] / "workflows" / "multi-server-deploy.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(validate, [str(argument) for argument in arguments], catch_exceptions=False)


def test_right_files_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "inv.yaml").write_text("hosts: ['web[1-3]']\ngroups: {web: [web1]}\n")
    (tmp_path / "deploy.sh").write_text("#!/bin/bash\nif true; then echo; fi\n")
    result = run(tmp_path / "inv.yaml", READY, tmp_path / "deploy.sh")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{tmp_path}/inv.yaml: inventory: 3 hosts in 1 group",
        f"{READY}: workflow: 'multi-server-deploy', steps: stage 3, switch 2, revert 2; rolling, 1 at once",
        f"{tmp_path}/deploy.sh: bash: its syntax is right",
    ]
    assert result.stderr == ""


def test_a_mistake_is_shown_with_its_line_and_a_hint(tmp_path: Path) -> None:
    file = tmp_path / "inv.yaml"
    file.write_text("hosts:\n  web1: {prt: 22}\n")
    result = run(file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{file}:2: unknown key 'prt' in host 'web1'",
        "    2 |   web1: {prt: 22}",
        "                 ^",
        "  Did you mean 'port'?",
        f"{file}: 1 mistake",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "a: [", "this is not YAML"),
        ("a.yaml", "a: 1", "this is neither an inventory nor a workflow"),
        ("a.yaml", "- a", "this is neither an inventory nor a workflow"),
        ("a.sh", "if true\nthen (\n", "syntax error"),
        ("a.yaml", "name: x\nstage: [{run-command: ls, name: [x]}]", "name must be a string"),
        ("a.yaml", "host: {web1: {}}", "unknown key 'host' in the inventory"),
        ("a.yaml", "name: x\nstge: [{run-command: ls}]", "unknown key 'stge' in the workflow"),
    ],
)
def test_json_and_status_of_wrong_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    result = run(tmp_path / name, READY, tmp_path / "none.yaml", "--output", "json")
    wrong, right, absent = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (wrong["valid"], right["valid"], absent["valid"]) == (False, True, False)
    assert message in wrong["problems"][0]["message"]
    assert wrong["problems"][0]["line"] >= 1
    assert "there is no file" in absent["problems"][0]["message"]


def test_a_long_line_is_cut_around_the_caret(tmp_path: Path) -> None:
    file = tmp_path / "inv.yaml"
    file.write_text("hosts: [" + "a, " * 200 + "]\n")
    shown = [line for line in run(file).stderr.splitlines() if " | " in line or line.strip() == "^"]
    assert all(len(line) < 120 for line in shown)
    assert shown[0][shown[1].index("^")] == "a"


NO_HEALTH = "name: app\nstage:\n  - run-command: echo {{ version }}\n"


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        (NO_HEALTH, True),
        (NO_HEALTH + "health: none\n", False),
        (NO_HEALTH + "health: {path: health.json}\n", False),
        (NO_HEALTH + "  - run-command: echo hello >{{ health_path }}\n", False),
        (NO_HEALTH + "  - create-file: {path: health.json, content: x}\n", False),
    ],
)
def test_a_workflow_that_nobody_could_prove_is_warned_of_and_is_right(
    tmp_path: Path, content: str, warned: bool
) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(content)
    result = run(file)
    assert result.exit_code == 0
    assert ("warning: no step writes health.json: each host is waited for 5m" in result.stderr) is warned
    (document,) = json.loads(run(file, "--output", "json").stdout)
    assert (document["valid"], len(document["warnings"])) == (True, int(warned))


def test_a_query_selects_from_the_answer(tmp_path: Path) -> None:
    result = run(READY, tmp_path / "none.yaml", "--query", "[].valid")
    assert (result.exit_code, json.loads(result.stdout)) == (2, [True, False])


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("host:\n  web1: {}\n", "Did you mean 'hosts'?"),
        ("gruops:\n  web: [web1]\nvars: {root: /srv}\n", "Did you mean 'groups'?"),
        ("name: app\nstge:\n  - run-command: ls\n", "Did you mean 'stage'?"),
        ("name: app\nstages:\n  - run-command: ls\n", "Did you mean 'stage'?"),
        ("name: app\nzzzzzz: 1\n", "An inventory has hosts:, a workflow has stage: or switch:."),
        ("services: {web: {image: nginx}}\n", "An inventory has hosts:, a workflow has stage: or switch:."),
    ],
)
def test_a_mistyped_key_that_tells_the_kind_names_the_nearest(tmp_path: Path, content: str, hint: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(content)
    (document,) = json.loads(run(file, "--output", "json").stdout)
    assert [problem["hint"] for problem in document["problems"]] == [hint]


def problems_of(file: Path, content: str) -> list[tuple[int, str]]:
    file.write_text(content)
    (document,) = json.loads(run(file, "--output", "json").stdout)
    return [(problem["line"], problem["message"]) for problem in document["problems"]]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("stage:\n  - run-command: if true; then\n", 4, "unexpected end of file"),
        ("stage:\n  - run-command: {command: 'echo )', timeout: 5s}\n", 4, "near unexpected token `)'"),
        ("stage:\n  - run-command: |\n      echo {{ version }}\n      then\n      echo\n", 6, "token `then'"),
        ("stage:\n  - run-command: ls\nhooks:\n  pre_deploy:\n    - run-command: 'a ('\n", 7, "syntax error"),
        ('stage:\n  - run-command: ls\nrevert:\n  - run-command: echo "x\n', 6, "unexpected"),
    ],
)
def test_shell_text_that_no_shell_can_read_is_one_mistake(tmp_path: Path, content: str, line: int, said: str) -> None:
    ((found_line, message),) = problems_of(tmp_path / "a.yaml", f"name: app\nhealth: none\n{content}")
    assert found_line == line
    assert message.startswith("the shell can't read the command: ")
    assert said in message


@pytest.mark.parametrize(
    "command",
    ["for f in {{ version }}; do echo '{{ host }}'; done", "a=(1 2); [[ x == x ]] && cat <(echo)", 'echo "a\x00b"'],
)
def test_shell_text_that_is_right_or_can_not_be_checked_is_let_through(tmp_path: Path, command: str) -> None:
    steps = json.dumps({"name": "app", "health": "none", "stage": [{"run-command": command}]})
    assert problems_of(tmp_path / "a.yaml", steps) == []


def test_without_a_shell_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert problems_of(tmp_path / "a.yaml", "name: app\nhealth: none\nstage:\n  - run-command: if\n") == []


def test_a_name_that_is_no_word_is_one_mistake(tmp_path: Path) -> None:
    content = "name: [a]\nhealth: none\nstage:\n  - run-command: ls\n"
    assert problems_of(tmp_path / "a.yaml", content) == [(1, "name must be a string, got a list")]


def test_a_guard_that_the_revert_part_has_no_steps_for_is_a_mistake_and_one_that_is_short_a_warning(
    tmp_path: Path,
) -> None:
    text = "name: app\npolicy: {dead_man: 20s, healthy_deadline: 60s}\nhealth: none\nswitch: [{run-command: 'true'}]\n"
    file = tmp_path / "app.yaml"
    file.write_text(text + "revert:\n  - create-file: {path: x, content: y}\n")
    (problem,) = check_file(file).problems
    assert "which a dead-man guard can't run on the host" in problem.message
    assert problem.line == 6
    file.write_text(text + "revert: [{run-command: 'true'}]\n")
    verdict = check_file(file)
    assert verdict.problems == ()
    assert "dead_man (20s) is shorter than healthy_deadline (1m)" in verdict.warnings[0]

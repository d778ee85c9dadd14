"""Workflows: what a file may say, every mistake at its line, and what a step sees."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from sane.core.document import Problems
from sane.core.fleet.inventory import Host
from sane.core.names import check_version
from sane.core.units import Amount
from sane.core.workflow.binding import Binding, check_variables, environment, fill_arguments
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import Workflow, read_workflow
from sane.errors import ConfigError, UsageError
from sane.operations.files import RegisteredVerbs, load_workflow, parse_yaml

READY = Path(__file__).parents[3] / "workflows" / "multi-server-deploy.yaml"


def workflow(text: str) -> Workflow:
    problems = Problems()
    root = parse_yaml(textwrap.dedent(text).encode(), "w.yaml", problems)
    found = read_workflow(root, problems, RegisteredVerbs())
    problems.check()
    return found


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as caught:
        workflow(text)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_a_full_workflow() -> None:
    found = workflow("""
        name: My App
        description: All there is.
        parameters: {port: 8080, color: ~}
        deployment: {key: my-app}
        policies: {update: {max_parallel: 25%, max_failures: 1, on_failure: revert_failed}}
        health: {path: "/srv/{{ host }}/health.json", gate: "n < `5`", poll_interval: 2s, max_bytes: 4KB}
        gates: {host: ["a == 'x'"], canary: "canary.rate <= control.rate"}
        hooks: {pre_deploy: [{run-command: "echo {{ version }}"}]}
        stage:
          - name: build
            run-command: {command: make, timeout: 2m}
            when: vars.port > `0`
            expect: exit_code == `0`
            retries: 2
            retry_delay: 500ms
            timeout: 90
            register: built
          - create-file: {path: "/tmp/{{ results.built.output }}", content: 1.10, backup: false}
        switch: [{run-command: "true"}]
        revert: [{run-command: "true"}]
    """)
    assert (found.name, found.key, found.description) == ("My App", "my-app", "All there is.")
    assert found.vars == {"port": 8080, "color": None}
    assert (found.policy.max_parallel, found.policy.poll_interval_ms) == (Amount(25, percent=True), 2_000)
    assert (found.health.path, found.health.max_bytes) == ("/srv/{{ host }}/health.json", 4096)
    assert [gate.expression for gate in found.health.gates] == ["n < `5`", "a == 'x'"]
    assert [gate.expression for gate in found.canary_gates] == ["canary.rate <= control.rate"]
    build, create = found.stage
    assert (build.name, build.verb, build.arguments) == ("build", "run-command", {"command": "make", "timeout_s": 120})
    assert (build.retries, build.retry_delay_ms, build.timeout_ms, build.register) == (2, 500, 90_000, "built")
    assert build.line == 11
    assert create.arguments["content"] == "1.10"
    assert create.arguments["backup"] is False
    assert create.name == "create-file-2"
    assert found.part("pre_deploy")[0].arguments == {"command": "echo {{ version }}"}


HEAD = "name: x\nvars: {root: /srv}\nstage:\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x", [(1, "the workflow has no steps")]),
        ("stage: [{run-command: ls}]", [(1, "the workflow has no name")]),
        ("name: x\nstag: []", [(2, "unknown key 'stag' in the workflow")]),
        (HEAD + "  - run-comand: ls", [(4, "unknown key 'run-comand' in the step")]),
        (HEAD + "  - name: x", [(4, "the step calls no verb")]),
        (HEAD + "  - ls", [(4, "the step must be a mapping, got 'ls'")]),
        (HEAD + "  - run-command:", [(4, "run-command needs command")]),
        (HEAD + "  - run-command: {comand: ls}", [(4, "run-command has no argument 'comand'")]),
        (HEAD + "  - run-command: {command: }", [(4, "command has no value")]),
        (HEAD + "  - run-command: {command: {a: b}}", [(4, "command can't be a mapping")]),
        (HEAD + "  - run-command: {command: ls, timeout: soon}", [(4, "timeout_s must be a number with a unit, got 'soon'")]),
        (HEAD + "  - create-file: {path: /x, content: y, backup: 7}", [(4, "backup must be 'true' or 'false', got '7'")]),
        (HEAD + "  - run-command: ls {{ rot }}", [(4, "'rot' is undefined")]),
        (HEAD + "  - run-command: ls {{ root", [(4, "'{{' is not closed")]),
        (HEAD + "  - run-command: ls `{{ root }}`", [(4, "'{{ root }}' can't be made safe inside `…`")]),
        (HEAD + "  - run-command: ls\n    when: '{{ root }} == 1'", [(5, "the expression is wrong at column 2: unexpected '{'")]),
        (HEAD + "  - run-command: ls\n    expect: a == '{{ root }}'", [(5, "expect is JMESPath, without {{ }}")]),
        (HEAD + "  - run-command: ls\n    retries: 101", [(5, "retries must be a whole number from 0 to 100, got '101'")]),
        (HEAD + "  - run-command: ls\n    ignore_errors: true", [(5, "unknown key 'ignore_errors' in the step")]),
        (HEAD + "  - run-command: ls\n    create-file: x", [(5, "a step calls one verb, this one 2: run-command, create-file")]),
        (HEAD + "  - {name: a, run-command: ls}\n  - {name: a, run-command: ls}", [(5, "stage has two steps named 'a'")]),
        (HEAD + "  - run-command: echo {{ results.a }}", [(4, "no earlier step registers 'results.a'")]),
        ("name: x\nvars: {host: 1}\nstage: [{run-command: ls}]", [(2, "'host' has its value from the deployment")]),
        ("name: x\nhooks: {pre_deploy: [{run-command: 'echo {{ host }}'}]}\nstage: [{run-command: ls}]", [(2, "'host' is undefined")]),
        ("name: x\npolicy: {on_failure: revert_all}\nswitch: [{run-command: ls}]", [(2, "on_failure: revert_all needs a revert part")]),
        ("name: x\npolicy: {canary: 1}\npolicies: {update: {}}\nstage: []", [(2, "policy is the short form of policies.update")]),
        ("name: x\ndeployment: {key: a b}\nstage: [{run-command: ls}]", [(2, "deployment key 'a b' can't be used")]),
        ("name: x\nhealth: {gate: 'a ='}\nstage: [{run-command: ls}]", [(2, "the expression is wrong at column 3: Unknown token '='")]),
        ("name: x\nstage: 5", [(2, "stage must be a list of steps, got '5'")]),
    ],
)  # fmt: skip
def test_mistakes(text: str, expected: list[tuple[int, str]]) -> None:
    assert mistakes(text) == expected


def test_a_version_is_safe_as_a_word_and_a_name() -> None:
    for version in ("1.0.0", "1.10", "v2-rc.1+b5", "2024-01-01"):
        assert check_version(version) == version
    for version in ("", "..", "a/b", "-x", "a b", "a\nb", "$(x)", ".hidden", "x" * 129):
        with pytest.raises(UsageError):
            check_version(version)


def bound(text: str, host: Host, **more: Any) -> tuple[Binding, Step]:
    found = workflow(text)
    return Binding(found, host, version="2.0", previous_version="1.10", **more), found.stage[0]


def test_who_deploys_goes_before_the_host_and_that_before_the_workflow() -> None:
    text = "{name: x, vars: {a: w, b: w, c: w}, stage: [{run-command: 'echo {{ a }} {{ b }} {{ c }}'}]}"
    binding, step = bound(text, Host("h", vars={"b": "h", "c": "h"}), given={"c": "g"})
    assert fill_arguments(step, binding) == {"command": "echo 'w' 'h' 'g'"}


def test_the_environment() -> None:
    text = "{name: x, vars: {a: 1, b: ~, c: [1], d: it's}, health: {path: '/{{ host }}/{{ d }}'}, stage: [{run-command: ls}]}"
    binding, step = bound(text, Host("h"), nonce="n", revision=3, deployment="d1")
    assert environment(binding, step) == {
        "SANE_VERSION": "2.0",
        "SANE_PREVIOUS_VERSION": "1.10",
        "SANE_DEPLOYMENT": "d1",
        "SANE_KEY": "x",
        "SANE_REVISION": "3",
        "SANE_NONCE": "n",
        "SANE_STEP": "run-command-1",
        "SANE_HOST": "h",
        "SANE_HEALTH_PATH": "/h/it's",
        "SANE_VAR_A": "1",
        "SANE_VAR_C": "[1]",
        "SANE_VAR_D": "it's",
    }


def test_a_host_has_its_own_health_path() -> None:
    binding, _ = bound("{name: x, vars: {r: /r}, stage: [{run-command: ls}]}", Host("h", health_path="{{ r }}/h.json"))
    assert binding.health_path() == "/r/h.json"
    assert binding.values()["health_path"] == "/r/h.json"
    assert binding.document()["host"]["name"] == "h"


def test_a_variable_without_a_value_names_its_hosts() -> None:
    found = workflow("{name: x, vars: {a: ~}, stage: [{run-command: 'echo {{ a }}'}]}")
    hosts = [Host("web1"), Host("web2"), Host("db", vars={"a": 1})]
    with pytest.raises(ConfigError, match=r"a on web\[1-2\]"):
        check_variables(found, hosts, {})
    check_variables(found, hosts, {"a": "x"})
    with pytest.raises(ConfigError, match=r"w\.yaml:1: step 'run-command-1': 'a' has no value"):
        fill_arguments(found.stage[0], Binding(found, hosts[0], "1"))


def perform(steps: tuple[Step, ...], binding: Binding, home: Path) -> None:
    """Do steps as a host would, with a real shell."""
    for step in steps:
        arguments = fill_arguments(step, binding)
        if step.verb == "create-file":
            path = Path(str(arguments["path"]).replace("~", str(home), 1))
            path.write_text(str(arguments["content"]))
        else:
            env = {**environment(binding, step), "HOME": str(home), "PATH": os.environ["PATH"]}
            subprocess.run(["sh", "-c", str(arguments["command"])], env=env, check=True, cwd="/", timeout=20)


@pytest.mark.parametrize("root", [None, "~/my apps/it's $HOME", "absolute"])
def test_the_ready_workflow_switches_and_reverts(root: str | None, tmp_path: Path) -> None:
    ready = load_workflow(READY)
    directory = str(tmp_path / "a b") if root == "absolute" else root
    host = Host("server1", vars={} if directory is None else {"root": directory})
    place = Path((directory or "~/sane-demo").replace("~", str(tmp_path), 1))
    for version, previous in (("1.0.0", ""), ("1.10", "1.0.0")):
        binding = Binding(ready, host, version, previous_version=previous, nonce=f"n-{version}")
        perform(ready.stage, binding, tmp_path)
        perform(ready.switch, binding, tmp_path)
        assert os.readlink(place / "current") == f"releases/{version}"
        assert json.loads((place / "health.json").read_text()) == {
            "status": "healthy",
            "version": version,
            "nonce": f"n-{version}",
        }
    perform(ready.revert, binding, tmp_path)
    assert os.readlink(place / "current") == "releases/1.0.0"
    assert json.loads((place / "health.json").read_text())["version"] == "1.0.0"
    assert sorted(p.name for p in place.iterdir()) == ["current", "health.json", "releases"]


def test_the_ready_workflow_never_reverts_to_nothing(tmp_path: Path) -> None:
    ready = load_workflow(READY)
    with pytest.raises(subprocess.CalledProcessError):
        perform(ready.revert[:1], Binding(ready, Host("h"), "1.0.0"), tmp_path)


def test_health_none_says_that_there_is_nothing_to_prove() -> None:
    found = workflow("""
        name: a
        health: none
        stage: [{run-command: "true"}]
        """)
    assert found.health.path == ""
    assert environment(Binding(found, Host("web1"), "1"), found.stage[0])["SANE_HEALTH_PATH"] == ""

"""What a push-bundle step sends is pinned by its content, and found beside the workflow's file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sane.core.document import Problems
from sane.core.fleet.inventory import Host, Inventory
from sane.core.workflow.binding import Binding, bundle_source, fill_arguments
from sane.core.workflow.steps import Step
from sane.core.workflow.workflow import Workflow, read_workflow
from sane.engine.plan import DeploymentPlan, Source, digest_of
from sane.operations.files import RegisteredVerbs, parse_yaml

HOST = Host("web1", "127.0.0.1", vars={"flavour": "small"})


def push(source: str) -> Step:
    return Step("push", "push-bundle", {"source": source, "root": "/srv/{{ version }}"})


def binding(step: Step, **changes: object) -> Binding:
    return replace(Binding(Workflow("w", "w", stage=(step,), file="/work/flows/w.yaml"), HOST, "2.0"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("dist", "/work/flows/dist"),
        ("../build/app-{{ version }}-{{ flavour }}.tar.gz", "/work/build/app-2.0-small.tar.gz"),
        ("/abs/{{ host }}", "/abs/web1"),
        ("~/dist", "~/dist"),
        ("dist/{{ previous_version }}", ""),
        ("dist/{{ results.build.output }}", ""),
    ],
)
def test_source_is_beside_the_workflow_and_known_before(written: str, path: str) -> None:
    assert bundle_source(push(written), binding(push(written))) == path


def test_step_expects_the_pinned_digest() -> None:
    step = push("dist")
    pinned = binding(step, bundles={"/work/flows/dist": "a" * 64})
    assert fill_arguments(step, pinned) == {"source": "/work/flows/dist", "root": "/srv/2.0", "expect": "a" * 64}
    assert "expect" not in fill_arguments(step, binding(step))


def test_short_digests_stand_in_templates() -> None:
    step = Step("activate", "activate-release", {"root": "/srv", "release": "{{ version }}-{{ digest }}"})
    filled = fill_arguments(step, binding(step, digest="0123456789abcdef" * 4))
    assert filled["release"] == "2.0-0123456789abcdef"


def test_digest_of_a_version_covers_the_bundle() -> None:
    workflow = Workflow("w", "w", stage=(push("dist"),), file="/work/flows/w.yaml")
    plan = DeploymentPlan(workflow, Inventory((HOST,), {}), Source("", "text"), Source("", ""))
    one, two = (replace(plan, bundles={"/work/flows/dist": word * 64}) for word in "ab")
    assert digest_of(one, HOST, "2.0") != digest_of(two, HOST, "2.0")
    assert digest_of(one, HOST, "2.0") == digest_of(replace(one), HOST, "2.0")


def test_a_digest_covers_what_a_workflow_does_and_nothing_else() -> None:
    def digest(text: str) -> str:
        problems = Problems()
        workflow = read_workflow(parse_yaml(text.encode(), "w.yaml", problems), problems, RegisteredVerbs())
        problems.check()
        return digest_of(DeploymentPlan(workflow, Inventory((HOST,), {}), Source("", text), Source("", "")), HOST, "1")

    text = "name: w\nvars: {a: 1}\npolicy: {max_parallel: 1}\nstage:\n  - run-command: echo {{ a }}\n"
    same = text.replace("max_parallel: 1", "max_parallel: 5").replace("stage:", "# a remark\n\nstage:")
    assert digest(same + "hooks: {pre_deploy: [{run-command: 'true'}]}\n") == digest(text)
    for other in (text.replace("echo", "printf"), text.replace("a: 1", "a: 2"), text.replace("stage", "switch")):
        assert digest(other) != digest(text)

"""What gates over canaries make of health files that are no documents, read by real probes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sane.core.rollout.actions import JudgeGates
from sane.core.rollout.controller import apply
from sane.engine.context import AsyncContext
from sane.engine.hosts import HostPlaces
from sane.engine.probes import judge_gates
from sane.operations.inputs import DeployRequest, created_event, load_plan, specs_of


@pytest.mark.parametrize("content", ["[" * 20_000, '{"a":' * 5_000, "[1]", '{"status":"\\ud800"}', '{"a":NaN}', ""])
async def test_a_control_host_whose_health_file_is_no_document_is_absent(tmp_path: Path, content: str) -> None:
    (tmp_path / "canary.json").write_text('{"status":"healthy"}')
    (tmp_path / "control.json").write_text(content)
    workflow = {
        "name": "app",
        "policy": {"canary": 1, "min_healthy": "0ms"},
        "health": {"path": str(tmp_path / "canary.json")},
        "gates": {"canary": ["canary[0].health.status == control[0].health.status"]},
        "stage": [{"name": "s", "run-command": "true"}],
    }
    control = {"target": "local:", "health_path": str(tmp_path / "control.json")}
    for name, document in (("w", workflow), ("i", {"hosts": {"one": {"target": "local:"}, "two": control}})):
        (tmp_path / name).write_text(json.dumps(document))
    asked = DeployRequest(tmp_path / "w", tmp_path / "i", "1", limit="one", controls="two")
    plan = load_plan(asked)
    made = created_event(plan, asked, specs_of(plan, plan.inventory.select("one"), "1"), "app-1", 1)
    context = AsyncContext(plan.inventory)
    try:
        places = HostPlaces(context, "app", "ssh")
        action = JudgeGates("app-1/gates/1", ("one",), ("two",))
        outcome, why = await judge_gates(context, places, plan, apply(None, made), action)
    finally:
        await context.close()
    assert outcome == "inconclusive"
    assert why.endswith("no health could be read of two")

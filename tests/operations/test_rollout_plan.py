"""Kept plans."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sane.operations.inputs import DeployRequest
from sane.operations.rollout_plan import KEPT_PLANS, find_plan, save_plan


def test_many_may_plan_at_once_and_the_last_plans_are_kept(short_dir: Path) -> None:
    asked = DeployRequest(Path("w"), Path("i"), "1")
    with ThreadPoolExecutor(3) as planners:
        saved = list(planners.map(lambda n: save_plan({"plan": f"{n:064x}"}, asked), range(300), timeout=30))
    assert len(list((short_dir / "state" / "plans").iterdir())) <= KEPT_PLANS
    assert find_plan(saved[-1].stem)[0] == {"plan": saved[-1].stem}

"""The planner that needs no model: retry what failed, then roll back, then tell a person."""

from __future__ import annotations

from collections.abc import Sequence

from sane.core.watch.plan import TIERS, Plan, PlanStep

# fault -> the steps in the order in which they are tried. A leak or a flapping host is not healed by deploying again:
# the version before it may not have the fault.
LADDERS: dict[str, tuple[str, ...]] = {
    "crash": ("retry", "rollback"),
    "stale": ("retry", "rollback"),
    "lying": ("retry", "rollback"),
    "degraded": ("retry", "rollback"),
    "skew": ("retry",),
    "flapping": ("rollback",),
    "leak": ("rollback",),
}


def plan_by_rules(
    fault: str, scope: str, hosts: Sequence[str], tried: Sequence[str], tier: str, *, deploys: bool = True
) -> Plan:
    """Return the first step of the fault's ladder that was not tried and that the tier allows, or an alert.

    `tried` are the texts of `Episode.tried` (`VERB …: OUTCOME`). A zone that is out is nobody's deployment: a
    person is told. So is one where the watch knows no deployment (`deploys` is false).
    """
    done = {text.split(" ")[0].rstrip(":") for text in tried}
    needs = {"retry": "retry", "rollback": "rollback"}
    for verb in () if scope == "zone" or not deploys else LADDERS.get(fault, ()):
        if verb not in done and TIERS.index(tier) >= TIERS.index(needs[verb]):
            return Plan((PlanStep(verb, tuple(hosts)),), f"{fault}: {verb} is the next thing to try", 1.0)
    if scope == "zone":
        why = "a whole zone is out"
    elif not deploys:
        why = "the watch knows no deployment to retry"
    else:
        why = "nothing that the rules may try is left"
    return Plan((PlanStep("alert", (), {"message": f"{fault}: {why}"}),), why, 1.0)

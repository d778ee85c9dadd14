"""The planner that needs no model: retry what failed, then roll back, then tell a person."""

from __future__ import annotations

from collections.abc import Sequence

from sane.core.watch.episodes import WIDE
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


def verbs_in(tried: Sequence[str]) -> set[str]:
    """Return the verbs that the texts of `Episode.tried` name."""
    return {word.strip(",") for text in tried for word in text.partition(":")[0].split()}


def rung_behind_retry(fault: str, scope: str, tried: Sequence[str]) -> str:
    """Return the rung to take where the last thing tried was a retry that did not help, "" where there is none."""
    if scope in WIDE or not tried or "retry" not in verbs_in(tried[-1:]):
        return ""
    done = verbs_in(tried)
    return next((verb for verb in LADDERS.get(fault, ()) if verb not in done), "")


def plan_by_rules(
    fault: str, scope: str, hosts: Sequence[str], tried: Sequence[str], tier: str, *, deploys: bool = True
) -> Plan:
    """Return the first step of the fault's ladder that was not tried and that the tier allows, or an alert.

    `tried` are the texts of `Episode.tried` (`VERB, VERB: OUTCOME`). A zone that is out, or a fleet that fails in one
    way, is nobody's deployment: a person is told. So is one where the watch knows no deployment (`deploys` is false).
    """
    done = verbs_in(tried)
    needs = {"retry": "retry", "rollback": "rollback"}
    for verb in () if scope in WIDE or not deploys else LADDERS.get(fault, ()):
        if verb not in done and TIERS.index(tier) >= TIERS.index(needs[verb]):
            return Plan((PlanStep(verb, tuple(hosts)),), f"{fault}: {verb} is the next thing to try", 1.0)
    if scope == "zone":
        why = "a whole zone is out"
    elif scope == "fleet":
        why = f"{len(hosts)} hosts fail in the same way"
    elif not deploys:
        why = "the watch knows no deployment to retry"
    else:
        why = "nothing that the rules may try is left"
    return Plan((PlanStep("alert", (), {"message": why}),), why, 1.0)

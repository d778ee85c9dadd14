"""The state of one deployment: what the fold of its events keeps, frozen and cheap to copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sane.core.rollout import table as t
from sane.core.rollout.host_rows import Rows
from sane.core.rollout.policy import RolloutPolicy

# What a workflow can do to a host; a deployment lists those that its workflow has.
PARTS = ("preflight", "stage", "switch", "probe", "revert")
# What is asked of a host: deploy skips one that has the digest, redeploy does not, probe only looks,
# revert goes on with a revert that did not end, keep leaves it as it is and only lists it.
TASKS = ("deploy", "redeploy", "probe", "revert", "keep")


@dataclass(frozen=True, slots=True)
class HostSpec:
    """Say what a deployment wants of one host."""

    name: str
    group: str = ""
    version: str = ""
    digest: str = ""
    task: str = "deploy"


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """Keep the last sample of a host's health; `verdict` is one of health.VERDICTS, or `unreachable`."""

    verdict: str
    status: str = ""
    version: str = ""
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class HostState:
    """Keep what is known of one host in a deployment.

    `operation` is the one under way, "" for none. `part` is what was started last and `outcome` what came of it.
    `proving_since_ms` is when its health began to count, `streak_since_ms` since when it is healthy without a break.
    `cause` is what was wrong with a host before it was taken back, `lost` how contact to its step was lost, until it is
    proven.
    """

    spec: HostSpec
    status: str = t.PENDING
    operation: str = ""
    part: str = ""
    outcome: str = ""
    probes: int = 0
    previous_version: str = ""
    previous_digest: str = ""
    proving_since_ms: int | None = None
    streak_since_ms: int | None = None
    observed_ms: int = 0
    health: HealthSeen | None = None
    step: str = ""
    exit_code: int | None = None
    error: str = ""
    hint: str = ""
    cause: str = ""
    lost: str = ""
    started_ms: int = 0
    ended_ms: int = 0

    @property
    def failed_step(self) -> str:
        """Return the step to blame for what is wrong, "" where every step ended well and the health was not proven."""
        return "" if self.part == "probe" and not self.lost else self.step

    @property
    def has_previous(self) -> bool:
        """Return whether there is something to revert to."""
        return bool(self.previous_digest or self.previous_version)


class Stopping(NamedTuple):
    """Say why no further host starts; `cause` is deadline, gate, fail, cancel, supersede or conflict."""

    cause: str
    reason: str


class Request(NamedTuple):
    """Keep what an operator asked for and has not got yet."""

    name: str
    reason: str


class HookFailed(NamedTuple):
    """Say what came of a hook that failed: steps that run once a deployment, on the controller's machine."""

    hook: str
    step: str
    exit_code: int | None
    error: str
    hint: str
    output_file: str


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Keep one deployment. Sets of hosts are ints, bit i for host i (see host_rows).

    `undecided` are hosts about which something came in that `reconcile` has not answered; `busy` have an operation
    under way. `touched` were changed, `switched` take traffic on the new version, both from the start of the part on;
    one that ends with no step begun takes that back. `same` had the digest before.
    `given` are the words of people that stay with it: why it was asked for, promoted and resumed.
    `reprobed` are canaries that were probed again since they were proven, or since an operator asked for something.
    """

    id: str
    key: str
    revision: int
    version: str
    policy: RolloutPolicy
    hosts: Rows[HostState]
    index: Mapping[str, int]
    groups: tuple[int, ...]
    parts: frozenset[str] = frozenset(PARTS)
    controls: tuple[str, ...] = ()
    gates: bool = False
    skip_canary: bool = False
    status: str = t.PENDING
    reason: str = ""
    given: tuple[str, ...] = ()
    by_status: Mapping[str, int] = field(default_factory=dict[str, int])
    busy: int = 0
    undecided: int = 0
    preflighted: int = 0
    touched: int = 0
    switched: int = 0
    same: int = 0
    canaries: int = 0
    to_revert: int = 0
    promoted: bool = False
    paused_from: str = ""
    request: Request | None = None
    stopping: Stopping | None = None
    gate_operation: str = ""
    gate_outcome: str = ""
    gate_detail: str = ""
    gate_attempt: int = 0
    watched_ms: int = 0
    reprobed: int = 0
    progress_ms: int = 0
    created_ms: int = 0
    ended_ms: int = 0
    keyboard: bool = False
    failed_hooks: tuple[HookFailed, ...] = ()

    @property
    def total(self) -> int:
        """Return how many hosts the deployment has."""
        return len(self.hosts)

    @property
    def terminal(self) -> bool:
        """Return whether it has ended."""
        return self.status in t.TERMINAL

    def among(self, *statuses: str) -> int:
        """Return the set of hosts in any of these states."""
        found = 0
        for status in statuses:
            found |= self.by_status.get(status, 0)
        return found

    def count(self, *statuses: str) -> int:
        """Return how many hosts are in any of these states."""
        return self.among(*statuses).bit_count()

    def is_only_looked_at(self, number: int) -> bool:
        """Return whether a host that is pending will be probed and not changed."""
        return self.hosts[number].spec.task == "probe" or bool(self.same >> number & 1)

    @property
    def in_flight(self) -> int:
        """Return the set of hosts that are being changed or proven now."""
        working = self.among(t.TRANSFERRING, t.ACTIVATING, t.CHECKING, t.REVERTING)
        waiting = self.busy if self.cancelling else self.busy | self.undecided
        return working | (self.among(t.UNKNOWN) & waiting)

    @property
    def settled(self) -> bool:
        """Return whether nothing is under way."""
        return not (self.in_flight or self.busy or self.gate_operation)

    @property
    def bad(self) -> int:
        """Return how many hosts count against the failure budget: failed, unreachable and unknown ones."""
        return self.count(*t.BAD)

    @property
    def budget(self) -> int:
        """Return how many hosts may be bad: none where there is no progress deadline."""
        return self.policy.failure_budget(self.total) if self.policy.progress_deadline_ms else 0

    @property
    def budget_spent(self) -> bool:
        """Return whether more hosts are bad than may be."""
        return self.bad > self.budget

    @property
    def unswitched(self) -> int:
        """Return the healthy hosts whose new version stands beside the old one and takes no traffic yet."""
        return self.among(t.HEALTHY) & self.touched & ~self.switched

    @property
    def canary_bad(self) -> bool:
        """Return whether a canary failed before it was promoted."""
        return not self.promoted and bool(self.canaries & self.among(*t.BAD))

    @property
    def canaries_proven(self) -> bool:
        """Return whether each canary is healthy."""
        return not self.canaries & ~self.among(*t.GOOD)

    @property
    def revert_only(self) -> bool:
        """Return whether it only goes on with a revert that did not end."""
        return bool(self.to_revert) and self.status in (t.PENDING, t.RUNNING)

    @property
    def failing(self) -> bool:
        """Return whether it must stop and fail: no further host starts, and those in flight finish."""
        if self.stopping is not None:
            return self.stopping.cause not in ("cancel", "supersede")
        if self.status == t.PAUSED:
            return False
        if self.revert_only:
            return self.status == t.RUNNING
        return self.budget_spent or self.canary_bad

    @property
    def cancelling(self) -> bool:
        """Return whether it was cancelled or superseded and waits for operations under way."""
        return self.stopping is not None and self.stopping.cause in ("cancel", "supersede")

    @property
    def selected_for_revert(self) -> int:
        """Return the hosts that a revert would take back, by `on_failure`."""
        if self.to_revert:
            return self.to_revert
        if "revert" not in self.parts or self.policy.on_failure == "stop":
            return 0
        chosen = self.among(*t.BAD)
        if self.policy.on_failure == "revert_all":
            chosen |= self.among(t.HEALTHY)
        return chosen & self.touched

    @property
    def green_first(self) -> bool:
        """Return whether canaries are proven beside the old version before traffic is switched (blue-green)."""
        return self.policy.strategy == "blue-green" and not self.skip_canary and "switch" in self.parts

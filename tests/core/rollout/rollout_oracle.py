"""What a rollout without operators must come to, written as the plainest sequential program that says it."""

from __future__ import annotations

from collections.abc import Sequence

from sane.core.rollout.policy import RolloutPolicy

END = {
    "ok": "healthy",
    "blips": "healthy",
    "same": "unchanged",
    "same_sick": "failed",
    "gone": "unreachable",
    "unfit": "failed",
    "stage_fails": "failed",
    "refused": "unreachable",
    "not_ours": "failed",
    "goes": "unreachable",
    "switch_fails": "failed",
    "switch_refused": "unreachable",
    "sick": "failed",
    "silent": "unreachable",
    "lost_back": "healthy",
    "lost_gone": "unreachable",
}
BAD = ("failed", "unreachable")
UNTOUCHED = ("same", "same_sick", "gone", "unfit")
NEVER_BEGAN = ("refused", "not_ours")  # its first part was to begin, and no step of it did
BACK = {
    "ok": "reverted",
    "fails": "revert_failed",
    "lost": "reverted",
    "unproven": "revert_failed",
    "none": "no_previous",
}


class Oracle:
    """Predict the end of a deployment from the fates of its hosts."""

    def __init__(self, hosts: Sequence[tuple[str, str, str, str]], policy: RolloutPolicy) -> None:
        self.hosts = hosts  # name, group, fate, revert fate
        self.policy = policy
        self.ends: dict[str, str] = {}
        self.touched: list[str] = []
        self.peak = 0

    def predict(self) -> tuple[str, dict[str, str]]:
        status = self._roll()
        if status == "failed" and self.policy.on_failure != "stop":
            status = self._revert()
        return status, {name: self.ends.get(name, "not_attempted") for name, *_ in self.hosts}

    def _spent(self) -> bool:
        allowed = self.policy.failure_budget(len(self.hosts)) if self.policy.progress_deadline_ms else 0
        return sum(end in BAD for end in self.ends.values()) > allowed

    def _roll(self) -> str:
        for name, _, fate, _ in self.hosts:
            if fate in ("gone", "unfit"):
                self.ends[name] = END[fate]
        if self._spent():
            return "failed"
        left = [host for host in self.hosts if host[0] not in self.ends]
        changing = [host for host in left if host[2] not in UNTOUCHED]
        canaries = changing[: self.policy.canaries(len(self.hosts))]
        green = self.policy.strategy == "blue-green"
        for batch in self._batches(canaries):
            for name, _, fate, _ in batch:
                if fate not in NEVER_BEGAN:
                    self.touched.append(name)
                hidden = green and fate in ("switch_fails", "switch_refused", "lost_back", "lost_gone")
                self.ends[name] = "healthy" if hidden and fate != "lost_gone" else END[fate]
            if any(self.ends[name] in BAD for name, *_ in batch):
                return "failed"
        if green and canaries:
            for batch in self._batches(canaries):
                for name, _, fate, _ in batch:
                    self.ends[name] = END[fate]
                if self._spent():
                    return "failed"
        for batch in self._batches([host for host in left if host not in canaries]):
            for name, _, fate, _ in batch:
                if fate not in (*UNTOUCHED, *NEVER_BEGAN):
                    self.touched.append(name)
                self.ends[name] = END[fate]
            if self._spent():
                return "failed"
        return "partial" if any(end in BAD for end in self.ends.values()) else "successful"

    def _batches(self, hosts: Sequence[tuple[str, str, str, str]]) -> list[list[tuple[str, str, str, str]]]:
        parallel, batches = self.policy.parallel(len(self.hosts)), []
        for host in hosts:
            full = bool(batches) and len(batches[-1]) >= parallel and host[2] not in ("same", "same_sick")
            if not batches or full or batches[-1][0][1] != host[1]:
                batches.append([])
            batches[-1].append(host)
        return batches

    def _revert(self) -> str:
        chosen = [
            (name, back)
            for name, _, _, back in self.hosts
            if name in self.touched and (self.policy.on_failure == "revert_all" or self.ends[name] in BAD)
        ]
        for name, back in chosen:
            self.ends[name] = BACK[back]
        if not chosen:
            return "failed"
        return "reverted" if all(self.ends[name] == "reverted" for name, _ in chosen) else "failed"

"""Find what is wrong with one host from its samples: rules first, then hysteresis. O(1) memory a host, no clock.

    watch = HostWatch("web1", zone="a")
    watch, findings = observe_sample(watch, sample, policy=policy, expected_version="1.4.0")

`findings` go to sane.core.watch.escalation.open_episode. A healthy sample like the one before it returns the very same
`watch`: whoever has many of them may skip those for which `can_skip` is true until `watch.tick_ms`, with the same
result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sane.core.watch.detect_trend import NO_TRENDS, Trends, is_settled, leaking, observe_fields, restart_fields
from sane.core.watch.episodes import FAMILIES, Finding
from sane.core.watch.hysteresis import count, fade, push
from sane.core.watch.policy import WatchPolicy
from sane.core.watch.samples import Sample, Signature, signature_of

NO_FINDINGS: tuple[Finding, ...] = ()
# what an observation is before hysteresis
GOOD, HOLD = "", "hold"


@dataclass(frozen=True, slots=True)
class HostWatch:
    """Hold what is known of one host.

    `bits` is the window of bad samples, `good_run` and `bad_run` count samples in a row, `hard_run` those of
    `bad_run` that are worse than degraded. `hold_ms`, `degraded_ms`
    and `skew_ms` say since when it starts, is degraded and has a wrong version (0: is not). `is_held`: maintenance
    was announced, nothing counts. `acute`, `skewed`, `leaked` are the faults found and not over.
    """

    host: str
    zone: str = ""
    signature: Signature | None = None
    tick_ms: int = 0
    bits: int = 0
    good_run: int = 0
    bad_run: int = 0
    hard_run: int = 0
    hold_ms: int = 0
    degraded_ms: int = 0
    skew_ms: int = 0
    flap_score: float = 0.0
    flap_ms: int = 0
    acute: str = ""
    skewed: bool = False
    leaked: bool = False
    is_held: bool = False
    trends: Trends = field(default_factory=lambda: NO_TRENDS)

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing is open, suspected or being counted."""
        is_counting = self.bits or self.hold_ms or self.degraded_ms or self.skew_ms
        return not (is_counting or self.acute or self.skewed or self.is_held)


def can_skip(watch: HostWatch, signature: Signature, at_ms: int) -> bool:
    """Return whether a sample of that signature would change nothing."""
    return watch.is_quiet and at_ms < watch.tick_ms and signature == watch.signature


def observe_sample(
    watch: HostWatch,
    sample: Sample,
    *,
    policy: WatchPolicy,
    expected_version: str = "",
    in_maintenance: bool = False,
) -> tuple[HostWatch, tuple[Finding, ...]]:
    """Return the watch after one more sample (in the order of time), and what was found or is over."""
    signature = signature_of(sample, stale_after_ms=policy.stale_limit_ms, expected_version=expected_version)
    if can_skip(watch, signature, sample.at_ms):
        return watch, NO_FINDINGS
    before, watch = watch, _follow_trend(watch, sample, signature, policy)
    if in_maintenance and not watch.acute:
        watch = replace(
            watch, is_held=True, bits=0, good_run=0, bad_run=0, hard_run=0, hold_ms=0, degraded_ms=0, skew_ms=0
        )
    else:
        watch = replace(watch, is_held=False) if watch.is_held else watch
        watch = _count(watch, sample.at_ms, signature, policy)
        watch = _decide(watch, sample.at_ms, judge(watch, signature, sample.at_ms, policy), policy)
        if not in_maintenance:
            watch = _decide_skew(watch, sample.at_ms, signature, policy)
    watch = replace(watch, signature=signature)
    return watch, tuple(_changes(before, watch, sample, signature, expected_version))


def fault_of(watch: HostWatch) -> str:
    """Return the fault of a host that is open, the gravest one, or ""."""
    return watch.acute or ("skew" if watch.skewed else "leak" if watch.leaked else "")


def is_well(sample: Sample, watch: HostWatch) -> bool:
    """Return whether nothing is wrong with a host by its last sample, whether that is proven yet or not."""
    is_doubted = sample.probe_ok is False or sample.gate != ""
    is_stale = watch.signature is not None and watch.signature.is_stale
    return sample.reachable and sample.verdict == "pass" and not (is_doubted or is_stale or fault_of(watch))


def resume_watch(host: str, zone: str, faults: Iterable[str]) -> HostWatch:
    """Return the watch of a host whose open episodes the log names, so that a restarted poller sees their recovery."""
    found = set(faults)
    acute = next((fault for fault in sorted(found) if FAMILIES[fault] == "acute"), "")
    return HostWatch(host, zone, acute=acute, skewed="skew" in found, leaked="leak" in found)


def judge(watch: HostWatch, signature: Signature, at_ms: int, policy: WatchPolicy) -> str:
    """Return the fault that one sample shows by the rules, GOOD, or HOLD where it proves neither."""
    if not signature.reachable:
        return "crash"
    if signature.verdict in ("fail", "unrecognised", "missing", "malformed"):
        return "crash"
    if signature.is_stale:
        return "stale"
    if signature.verdict == "wait":
        return "crash" if watch.hold_ms and at_ms - watch.hold_ms > policy.wait_limit_ms else HOLD
    if signature.probe_ok is False or signature.gate:
        return "lying"
    if signature.verdict == "inconclusive":
        return "degraded" if watch.degraded_ms and at_ms - watch.degraded_ms > policy.patience_ms else HOLD
    return GOOD


def explain(fault: str, signature: Signature) -> str:
    """Return the rule that failed, as one short sentence."""
    match fault:
        case "crash" if not signature.reachable:
            return "the host does not answer"
        case "crash" | "degraded":
            return f"health says '{signature.status}' ({signature.verdict})"
        case "stale":
            return "the health file is no longer written"
        case "lying":
            named = f"gate '{signature.gate}'" if signature.gate else "the probe"
            return f"health says '{signature.status}', {named} disagrees"
        case "flapping":
            return "it went bad and good again several times"
        case _:
            return f"the version is '{signature.version}', not the one deployed"


def _follow_trend(watch: HostWatch, sample: Sample, signature: Signature, policy: WatchPolicy) -> HostWatch:
    if watch.signature is not None and _has_restarted(watch.signature, signature):
        watch = replace(watch, trends=restart_fields(watch.trends), leaked=False)
    if sample.at_ms < watch.tick_ms:
        return watch
    tick_ms = policy.trend.tick_ms
    following = (sample.at_ms // tick_ms + 1) * tick_ms
    if not sample.fields or not sample.reachable or signature.verdict != "pass":
        return replace(watch, tick_ms=following)
    trends = observe_fields(watch.trends, sample.fields, sample.at_ms, policy.trend)
    leaked = leaking(trends)[0] != "" or (watch.leaked and not is_settled(trends, policy.trend))
    return replace(watch, tick_ms=following, trends=trends, leaked=leaked)


def _has_restarted(last: Signature, now: Signature) -> bool:
    is_other_version = last.version != "" and now.version != "" and last.version != now.version
    return is_other_version or (last.nonce != "" and now.nonce != "" and last.nonce != now.nonce)


def _count(watch: HostWatch, at_ms: int, signature: Signature, policy: WatchPolicy) -> HostWatch:
    is_waiting = signature.reachable and signature.verdict == "wait"
    is_degraded = signature.reachable and signature.verdict == "inconclusive"
    hold_ms = (watch.hold_ms or at_ms) if is_waiting else 0
    degraded_ms = (watch.degraded_ms or at_ms) if is_degraded else 0
    if hold_ms == watch.hold_ms and degraded_ms == watch.degraded_ms:
        return watch
    return replace(watch, hold_ms=hold_ms, degraded_ms=degraded_ms)


def _decide(watch: HostWatch, at_ms: int, seen: str, policy: WatchPolicy) -> HostWatch:
    if seen == HOLD:
        return watch if watch.good_run == 0 else replace(watch, good_run=0)
    if seen == GOOD:
        return _recover(watch, at_ms, policy)
    flap = policy.flap
    run = watch.bad_run + 1
    weight = flap.short_weight if run == 1 else flap.long_weight - flap.short_weight if run == 2 else 0.0
    score = min(fade(watch.flap_score, at_ms - watch.flap_ms, flap.fade_ms) + weight, 2 * flap.threshold)
    bits = push(watch.bits, True, policy.window)
    needed = policy.stale_samples if seen == "stale" else policy.bad_in_a_row
    hard_run = watch.hard_run + 1 if seen != "degraded" else 0
    acute = watch.acute
    is_found = run >= needed or count(bits) >= policy.bad_samples
    if score >= flap.threshold:
        acute = "flapping"
    elif (not acute and is_found) or (acute == "degraded" and hard_run >= needed):
        acute = seen
    return replace(
        watch,
        bits=bits,
        bad_run=run,
        hard_run=hard_run,
        good_run=0,
        flap_score=score,
        flap_ms=at_ms,
        acute=acute,
    )


def _recover(watch: HostWatch, at_ms: int, policy: WatchPolicy) -> HostWatch:
    if not watch.bits and not watch.acute:
        return watch if watch.bad_run == 0 else replace(watch, bad_run=0, hard_run=0)
    good_run = watch.good_run + 1
    score = fade(watch.flap_score, at_ms - watch.flap_ms, policy.flap.fade_ms)
    is_over = good_run >= policy.good_samples and score < policy.flap.calm
    return replace(
        watch,
        bits=push(watch.bits, False, policy.window),
        bad_run=0,
        hard_run=0,
        good_run=0 if is_over else good_run,
        acute="" if is_over else watch.acute,
    )


def _decide_skew(watch: HostWatch, at_ms: int, signature: Signature, policy: WatchPolicy) -> HostWatch:
    if not signature.reachable or (not signature.version and not signature.is_skewed):
        return watch  # it says nothing about its version now
    if not signature.is_skewed:
        return watch if not watch.skew_ms and not watch.skewed else replace(watch, skew_ms=0, skewed=False)
    since_ms = watch.skew_ms or at_ms
    return replace(watch, skew_ms=since_ms, skewed=watch.skewed or at_ms - since_ms >= policy.patience_ms)


def _changes(
    before: HostWatch, after: HostWatch, sample: Sample, signature: Signature, expected_version: str
) -> Iterable[Finding]:
    host, zone, at_ms = sample.host, sample.zone, sample.at_ms
    version = signature.version or expected_version  # a host that is silent runs what it should, as far as is known
    if before.acute and not after.acute:
        yield Finding(host, zone, before.acute, at_ms, "", cleared=True)
    elif before.acute != after.acute:
        yield Finding(host, zone, after.acute, at_ms, explain(after.acute, signature), version=version)
    if before.skewed != after.skewed:
        rule = explain("skew", signature)
        yield Finding(host, zone, "skew", at_ms, rule if after.skewed else "", before.skewed, version)
    if before.leaked != after.leaked:
        yield Finding(host, zone, "leak", at_ms, leaking(after.trends)[1], before.leaked, version)

"""A simulated fleet: what goes wrong and when, and what a poller would see of it.

`build_fleet` draws the incidents from the shapes in traces/, and the noise: blips, releases, planned restarts,
steps and rhythms in the numbers. `HostTrace.sample(i)` is what the poll number `i` sees: a function of the trace
and `i` alone, so that polls can be skipped. The truth (`Fleet.incidents`) is for the score; nothing of it is in a
sample.
"""

from __future__ import annotations

import bisect
import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_prices import BLIP_RATE

from sane.core.watch.samples import Sample

POLL_MS = 30_000
POLLS_AN_HOUR = 120
POLLS_A_DAY = 2_880
KINDS = ("crash", "stale", "flapping", "leak", "lying", "skew", "zone")
TRACES = Path(__file__).parent / "traces"
BLIPS: tuple[dict[str, Any], ...] = (
    {"reachable": False},
    {"reachable": False},
    {"verdict": "malformed", "status": ""},
    {"probe_ok": False},
    {"verdict": "fail", "status": "error"},
)
_GAUSS = [random.Random(7).gauss(0.0, 1.0) for _ in range(65_536)]


@dataclass(frozen=True)
class Incident:
    """The truth about one incident: polls are indexes, `end` the first healthy one."""

    number: int
    kind: str
    shape: str
    hosts: tuple[str, ...]
    start: int
    end: int


@dataclass
class Leak:
    start: int
    end: int
    field: str
    amount: float
    curve: float
    stairs_polls: int

    def at(self, i: int) -> float:
        """Return what has leaked at poll `i`."""
        if not self.start <= i < self.end:
            return 0.0
        polls = i - self.start
        if self.stairs_polls:
            polls = polls // self.stairs_polls * self.stairs_polls
        return self.amount * (polls / (self.end - self.start)) ** self.curve


@dataclass
class HostTrace:
    """Everything a poller may see of one host."""

    name: str
    zone: str
    seed: int
    abnormal: dict[int, dict[str, Any]] = field(default_factory=dict)
    restarts: list[int] = field(default_factory=list)
    versions: list[tuple[int, str]] = field(default_factory=list)
    maintenance: list[tuple[int, int]] = field(default_factory=list)
    steps: list[tuple[int, float]] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    busy: list[tuple[int, int]] = field(default_factory=list)

    def finish(self) -> None:
        """Sort what was drawn and precompute what each poll needs."""
        rng = random.Random(self.seed)
        self.restarts.sort()
        self.steps.sort()
        self.maintenance.sort()
        self.version_polls = [i for i, _ in self.versions]
        self.step_polls = [i for i, _ in self.steps]
        self.window_starts = [i for i, _ in self.maintenance]
        self.total_mb = rng.choice((2_048, 4_096, 8_192))
        self.memory_mb = self.total_mb * rng.uniform(0.25, 0.5)
        self.files = rng.uniform(200, 800)
        self.rate = rng.uniform(20, 200)
        self.rhythm = rng.uniform(0.03, 0.15)
        self.saw_polls = rng.randrange(40, 300)
        self.phase = rng.uniform(0, 2 * math.pi)

    def sample(self, i: int) -> Sample:
        """Return what poll `i` sees."""
        at_ms = i * POLL_MS
        version = self.versions[bisect.bisect_right(self.version_polls, i) - 1][1]
        nonce = str(bisect.bisect_right(self.restarts, i))
        odd = self.abnormal.get(i)
        if odd is None:
            return Sample(
                self.name,
                at_ms,
                "pass",
                "healthy",
                version,
                at_ms - 5_000,
                self.numbers(i),
                True,
                "",
                self.zone,
                "",
                True,
                nonce,
            )
        if not odd.get("reachable", True):
            return Sample(self.name, at_ms, "", "", reachable=False, zone=self.zone)
        named = odd.get("version", version)
        if named == "previous":
            named = self._previous(version)
        mtime_ms = min(at_ms - 5_000, odd["frozen"] * POLL_MS - 5_000) if "frozen" in odd else at_ms - 5_000
        verdict, status = odd.get("verdict", "pass"), odd.get("status", "healthy")
        probe_ok = odd.get("probe_ok", verdict == "pass")
        return Sample(
            self.name,
            at_ms,
            verdict,
            status,
            named,
            mtime_ms,
            self.numbers(i),
            probe_ok,
            odd.get("gate", ""),
            self.zone,
            "",
            True,
            nonce,
        )

    def _previous(self, version: str) -> str:
        major, minor, _ = version.split(".")
        return f"{major}.{int(minor) - 1}.0"

    def numbers(self, i: int) -> dict[str, float]:
        """Return the numeric fields: a base, a daily rhythm, a sawtooth, steps, noise, and what leaks."""
        key = (self.seed * 2_654_435_761 + i * 40_503) & 0xFFFFFFFF
        key ^= key >> 15
        key = (key * 2_246_822_519) & 0xFFFFFFFF
        g1, g2, g3 = _GAUSS[key & 0xFFFF], _GAUSS[(key >> 8) & 0xFFFF], _GAUSS[(key >> 16) & 0xFFFF]
        day = math.sin(2 * math.pi * i / POLLS_A_DAY + self.phase)
        step = 1.0
        for start, factor in self.steps:
            if start <= i:
                step *= factor
        saw = 0.12 * (i % self.saw_polls) / self.saw_polls
        memory = self.memory_mb * step * (1 + self.rhythm * day + saw + 0.02 * g1)
        memory = min(memory, 0.82 * self.total_mb)  # what is healthy leaves room
        files = self.files * (1 + self.rhythm * day + 0.05 * g2)
        for leak in self.leaks:
            if leak.field == "memory_used_mb":
                memory += leak.at(i)
            else:
                files += leak.at(i)
        return {
            "memory_used_mb": min(memory, float(self.total_mb)),
            "memory_total_mb": float(self.total_mb),
            "open_files": files,
            "requests_per_s": max(0.0, self.rate * (1 + 0.4 * day + 0.15 * g3)),
        }

    def in_maintenance(self, i: int) -> bool:
        """Return whether maintenance of this host is announced for poll `i`."""
        place = bisect.bisect_right(self.window_starts, i) - 1
        return any(start <= i < end for start, end in self.maintenance[max(0, place - 2) : place + 1])

    def changes(self) -> list[int]:
        """Return the polls at which a healthy answer differs from the one before, in order."""
        edges = {0, *self.restarts, *self.version_polls, *self.abnormal}
        edges.update(edge for window in self.maintenance for edge in window)
        return sorted(edges)


@dataclass
class Fleet:
    """A fleet's traces, and the truth."""

    hosts: list[HostTrace]
    polls: int
    zone_sizes: dict[str, int]
    incidents: list[Incident]
    releases: list[tuple[int, str]]

    def expected_version(self, i: int) -> str:
        """Return the version that was deployed last, as the poller knows it."""
        return self.releases[bisect.bisect_right([at for at, _ in self.releases], i) - 1][1]


def load_shapes(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Return the shapes of each kind in traces/FOLDER."""
    shapes: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((TRACES / folder).glob("*.json")):
        value = json.loads(path.read_text())
        shapes.setdefault(value["kind"], []).extend(value["shapes"])
    return shapes


def build_fleet(*, folder: str, hosts: int, days: int, incidents: int, seed: int, zone_size: int = 40) -> Fleet:
    """Return a fleet with that many incidents of the shapes in traces/FOLDER, and its noise.

    The seed decides everything.
    """
    rng = random.Random(seed)
    polls = days * POLLS_A_DAY
    zone_size = min(zone_size, max(5, hosts // 3))
    traces = [HostTrace(f"web{n + 1}", f"z{n // zone_size + 1}", rng.randrange(1 << 30)) for n in range(hosts)]
    releases = [(0, "1.10.0")]
    at = rng.randrange(3, 6) * POLLS_A_DAY
    while at < polls - POLLS_A_DAY:
        releases.append((at + rng.randrange(POLLS_A_DAY), f"1.{10 + len(releases)}.0"))
        at += rng.randrange(6, 9) * POLLS_A_DAY
    for trace in traces:
        _add_noise(trace, releases, polls, rng)
    drawn = _place(traces, load_shapes(folder), incidents, polls, rng)
    sizes: dict[str, int] = {}
    for trace in traces:
        trace.finish()
        sizes[trace.zone] = sizes.get(trace.zone, 0) + 1
    return Fleet(traces, polls, sizes, sorted(drawn, key=lambda x: x.start), releases)


def _add_noise(trace: HostTrace, releases: list[tuple[int, str]], polls: int, rng: random.Random) -> None:
    trace.versions.append((0, releases[0][1]))
    for at, version in releases[1:]:
        trace.maintenance.append((at, at + 60))
        switch = at + rng.randrange(2, 50)
        trace.versions.append((switch, version))
        trace.restarts.append(switch)
        trace.steps.append((switch, rng.uniform(0.87, 1.15)))
        _restart(trace, switch, rng.randrange(1, 5), rng)
    for _ in range(_poisson(rng, polls / (10 * POLLS_A_DAY))):  # announced
        at = rng.randrange(polls)
        trace.maintenance.append((at, at + 20))
        trace.restarts.append(at + 2)
        _restart(trace, at + 2, rng.randrange(1, 15), rng)
    for _ in range(_poisson(rng, polls / (10 * POLLS_A_DAY))):  # not announced, but short
        at = rng.randrange(polls)
        trace.restarts.append(at)
        _restart(trace, at, rng.randrange(1, 3), rng)
    for _ in range(_poisson(rng, polls / (15 * POLLS_A_DAY))):
        trace.steps.append((rng.randrange(polls), rng.choice((0.8, 0.9, 1.12, 1.25))))
    i = -1
    while True:
        i += 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - BLIP_RATE))
        if i >= polls:
            return
        trace.abnormal[i] = rng.choice(BLIPS)


def _restart(trace: HostTrace, at: int, length: int, rng: random.Random) -> None:
    for i in range(at, at + length):
        gone = i < at + rng.randrange(1, 3)
        trace.abnormal[i] = {"reachable": False} if gone else {"verdict": "wait", "status": "starting"}


def _poisson(rng: random.Random, mean: float) -> int:
    count, total = 0, rng.expovariate(1.0)
    while total < mean:
        count, total = count + 1, total + rng.expovariate(1.0)
    return count


def _place(
    traces: list[HostTrace], shapes: dict[str, list[dict[str, Any]]], count: int, polls: int, rng: random.Random
) -> list[Incident]:
    zones: dict[str, list[HostTrace]] = {}
    for trace in traces:
        zones.setdefault(trace.zone, []).append(trace)
    weights = [0.25 if kind == "zone" else 1.0 for kind in KINDS]
    placed: list[Incident] = []
    for number in range(count):
        for _ in range(1_000):
            kind = KINDS[number] if number < len(KINDS) else rng.choices(KINDS, weights)[0]
            shape = rng.choices(shapes[kind], [s["weight"] for s in shapes[kind]])[0]
            members = rng.choice(list(zones.values())) if kind == "zone" else [rng.choice(traces)]
            incident = _draw(number, kind, shape, members, polls, rng)
            if incident is not None:
                placed.append(incident)
                break
        else:
            raise SystemExit(f"{count} incidents do not fit on {len(traces)} hosts: ask for fewer, or for more days")
    return placed


def _draw(
    number: int, kind: str, shape: dict[str, Any], members: list[HostTrace], polls: int, rng: random.Random
) -> Incident | None:
    start = rng.randrange(12 * POLLS_AN_HOUR, polls - POLLS_AN_HOUR)
    if "zone_share" in shape:
        share = rng.uniform(*shape["zone_share"])
        members = rng.sample(members, max(3, round(share * len(members))))
    if "leak" in shape:
        end = start + int(rng.uniform(*shape["leak"]["hours"]) * POLLS_AN_HOUR)
        timeline: list[tuple[int, dict[str, Any]]] = []
    else:
        timeline = []
        for _ in range(rng.randint(*shape.get("repeat", [1, 1]))):
            timeline += [(rng.randint(*phase["polls"]), phase["set"]) for phase in shape["phases"]]
        end = start + sum(length for length, _ in timeline)
    stagger = shape.get("stagger_polls", [0, 0])
    latest = end + stagger[1]
    margin = 4 * POLLS_AN_HOUR
    if latest >= polls - 60 or any(s - margin < latest and start < e + margin for m in members for s, e in m.busy):
        return None
    if any(_hidden(m, start, end) > (end - start) / 2 for m in members):
        return None  # over before anybody is to be told: that is what announcing maintenance is for
    for member in members:
        member.busy.append((start, latest))
        late = rng.randint(*stagger)
        if "leak" in shape:
            _leak(member, shape["leak"], start, end, rng)
        else:
            _play(member, timeline, start + late)
    return Incident(number, kind, shape["name"], tuple(m.name for m in members), start, latest)


def _hidden(trace: HostTrace, start: int, end: int) -> int:
    """Return how many of the polls are announced maintenance."""
    return sum(max(0, min(end, last) - max(start, first)) for first, last in trace.maintenance)


def _play(trace: HostTrace, timeline: list[tuple[int, dict[str, Any]]], start: int) -> None:
    """Write the phases of an incident over what the host would have answered."""
    i = start
    for length, settings in timeline:
        overrides = {name: value for name, value in settings.items() if name not in ("restart", "file")}
        if settings.get("restart"):
            trace.restarts.append(i)
        if settings.get("file") == "frozen":
            overrides["frozen"] = i
        for poll in range(i, i + length):
            if overrides:
                trace.abnormal[poll] = overrides
        i += length
    trace.restarts.append(i)


def _leak(trace: HostTrace, leak: dict[str, Any], start: int, end: int, rng: random.Random) -> None:
    probe = HostTrace(trace.name, trace.zone, trace.seed)
    probe.finish()
    to = rng.uniform(*leak["to"])
    is_memory = leak["field"] == "memory_used_mb"
    amount = probe.total_mb * to - probe.memory_mb if is_memory else probe.files * (to - 1)
    curve = rng.uniform(*leak["curve"])
    stairs = leak.get("stairs_hours", 0) * POLLS_AN_HOUR
    trace.leaks.append(Leak(start, end, leak["field"], amount, curve, stairs))
    trace.restarts.append(end)

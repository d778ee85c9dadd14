"""What a poller saw of one host at one moment, as data.

A poller makes a `Sample` of each answer (or of its absence), and appends only those whose `signature_of` differs
from the last. Everything a detector may know is in here: no detector reads a clock, a file or a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

VERDICTS = (
    "pass",
    "wait",
    "inconclusive",
    "fail",
    "unrecognised",
    "missing",
    "malformed",
    "stale",
    "version_mismatch",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold one host's answer to one poll.

    `verdict` is that of the health rules (`VERDICTS`), "" when the host did not answer (`reachable` False). `at_ms`
    and `mtime_ms` are epoch milliseconds of one clock: the poller turns the file's age on the host's own clock into
    `at_ms - age`; 0 is unknown. `probe_ok` is what an independent probe or gate said (None: none ran), and `gate`
    names the one that failed. `fields` are the numbers of the health document. `nonce` changes with each start of
    the process. `zone` is the group hosts fail together in.
    """

    host: str
    at_ms: int
    verdict: str = "pass"
    status: str = "healthy"
    version: str = ""
    mtime_ms: int = 0
    fields: Mapping[str, float] = field(default_factory=dict[str, float])
    probe_ok: bool | None = None
    gate: str = ""
    zone: str = ""
    group: str = ""
    reachable: bool = True
    nonce: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the sample as one JSON object without the fields that have their default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["fields"] = dict(self.fields)
        return {name: value for name, value in values.items() if name in ("host", "at_ms") or value != _DEFAULTS[name]}


_DEFAULTS: dict[str, Any] = {f.name: getattr(Sample("", 0), f.name) for f in fields(Sample)}


def sample_from_json(value: Mapping[str, Any]) -> Sample:
    """Return the sample that `as_json` wrote."""
    return Sample(**value)


class Signature(NamedTuple):
    """Hold what of a sample matters to the rules: two samples of one signature are judged alike."""

    verdict: str
    status: str
    version: str
    probe_ok: bool | None
    gate: str
    reachable: bool
    nonce: str
    is_stale: bool
    is_skewed: bool


def signature_of(sample: Sample, *, stale_after_ms: int, expected_version: str = "") -> Signature:
    """Return what of the sample matters to the rules.

    The file is stale when older than `stale_after_ms` (0: only the verdict says so). An empty `expected_version`
    means that any will do.
    """
    version = sample.version
    return Signature(
        sample.verdict,
        sample.status,
        version,
        sample.probe_ok,
        sample.gate,
        sample.reachable,
        sample.nonce,
        sample.verdict == "stale" or (0 < stale_after_ms < sample.at_ms - sample.mtime_ms and sample.mtime_ms > 0),
        sample.verdict == "version_mismatch"
        or (expected_version != "" and version != "" and version != expected_version),
    )

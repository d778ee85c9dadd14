"""Turn what a host said about its health file into a sample for the detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sane.core.health import HealthVerdict
from sane.core.host.health_probe import ProbeReading
from sane.core.strict_json import RefusedError, parse_document
from sane.core.watch.samples import Sample

MAX_FIELDS = 64
_NO_NUMBERS = frozenset(("timestamp", "time", "updated_at", "written_at", "pid"))


def sample_of(
    host: str,
    at_ms: int,
    reading: ProbeReading,
    verdict: HealthVerdict,
    *,
    gate: str = "",
    probe_ok: bool | None = None,
    zone: str = "",
    group: str = "",
) -> Sample:
    """Return the sample of one answer; the file's age is measured on the host's own clock."""
    document = document_of(reading)
    age_ms = None
    if reading.mtime_ms is not None and reading.host_now_ms is not None:
        age_ms = reading.host_now_ms - reading.mtime_ms
    return Sample(
        host,
        at_ms,
        verdict.verdict,
        verdict.status[:80],
        verdict.version[:200],
        at_ms - age_ms if age_ms is not None else 0,
        numbers_of(document),
        probe_ok,
        gate[:200],
        zone,
        group,
        True,
        str(document.get("nonce") or "")[:80],
    )


def silent_sample(host: str, at_ms: int, *, zone: str = "", group: str = "") -> Sample:
    """Return the sample of a host that did not answer."""
    return Sample(host, at_ms, verdict="", status="", zone=zone, group=group, reachable=False)


def document_of(reading: ProbeReading) -> dict[str, Any]:
    """Return the health document that was read, {} where it is none."""
    try:
        return parse_document(reading.content or b"")
    except RefusedError:
        return {}


def numbers_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a document, those of mappings in it as `outer.inner`; at most 64."""
    found: dict[str, float] = {}
    for name, value in document.items():
        inner = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {name: value}
        for key, number in inner.items():
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if is_number and abs(number) < 1e300 and key not in _NO_NUMBERS and len(found) < MAX_FIELDS:
                found[key if inner.get(name) is value else f"{name}.{key}"] = float(number)
    return found

"""What `--until` waits for: a JMESPath expression over what is known of the fleet, true only when it is exactly true.

The document: `{"hosts": [{"host", "status", "verdict", "version", "reachable", "fault", "zone", "fields"}],
"total", "healthy", "versions": {version: count}, "episodes"}`. A host is healthy when its verdict is `pass`, it
answers, and no fault of it is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sane.core.watch.detect import HostWatch, fault_of, is_well
from sane.core.watch.samples import Sample
from sane.errors import UsageError

Condition = Callable[[Mapping[str, Any]], bool]


def compile_until(expression: str) -> Condition:
    """Return a function of the fleet document. Raises UsageError for an expression that is not JMESPath.

    Errors while it is evaluated, absent fields and values that are only truthy are not true.
    """
    import jmespath  # pyright: ignore[reportMissingTypeStubs]  # 27 ms, paid only by those who wait
    from jmespath.exceptions import JMESPathError  # pyright: ignore[reportMissingTypeStubs]

    try:
        compiled: Any = jmespath.compile(expression)  # pyright: ignore[reportUnknownMemberType]
    except JMESPathError as error:
        hint = "Write JMESPath, for example: length(hosts[?verdict!='pass']) == `0`"
        raise UsageError(f"'{expression}' is not JMESPath: {str(error).splitlines()[0]}", hint=hint) from error

    def holds(document: Mapping[str, Any]) -> bool:
        try:
            return compiled.search(document) is True
        except JMESPathError:
            return False

    return holds


def fleet_document(seen: Iterable[tuple[Sample, HostWatch]], episodes: int) -> dict[str, Any]:
    """Return the document that conditions look at, from the last sample and the watch of each host."""
    hosts = [_host(sample, watch) for sample, watch in seen]
    versions = Counter(host["version"] for host in hosts if host["version"])
    return {
        "hosts": hosts,
        "total": len(hosts),
        "healthy": sum(host["healthy"] for host in hosts),
        "versions": dict(versions),
        "episodes": episodes,
    }


def _host(sample: Sample, watch: HostWatch) -> dict[str, Any]:
    return {
        "host": sample.host,
        "status": sample.status if sample.reachable else "",
        "verdict": sample.verdict if sample.reachable else "",
        "version": sample.version,
        "reachable": sample.reachable,
        "fault": fault_of(watch),
        "healthy": is_well(sample, watch),
        "zone": sample.zone,
        "fields": dict(sample.fields),
    }

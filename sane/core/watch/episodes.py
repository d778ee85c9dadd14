"""Episodes: one thing that is wrong, from its first sign to its recovery, whatever number of samples and hosts show
it.

`fold_finding` takes the open episodes and one finding of one host, and says which events to append:

- a fault on a host with no open episode of that family opens one;
- the same within `correlate_ms`, in the same zone and family, joins the episode that is already there;
- a host that has no zone joins one whose fault, rule and version are its own: the cause is all that such hosts share;
- once a third of a zone is in it, the episode's scope is the zone (`fleet` for hosts without one), and later hosts join
  without a new escalation;
- a recovery takes the host out; the last one out closes the episode; a fault after that is a new episode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sane.core.events import Event

# fault -> family. Faults of one family on one host are one thing: an unreachable host is soon stale as well.
FAMILIES: dict[str, str] = {
    "crash": "acute",
    "stale": "acute",
    "lying": "acute",
    "flapping": "acute",
    "degraded": "acute",
    "skew": "skew",
    "leak": "leak",
}

WIDE = ("zone", "fleet")  # scopes that no deployment heals


@dataclass(frozen=True, slots=True)
class Finding:
    """Report that a fault of a host was found (`cleared` False), or is over.

    `rule` names what failed, as one short sentence for the packet; `version` is what the host runs, "" if unknown.
    """

    host: str
    zone: str
    fault: str
    at_ms: int
    rule: str
    cleared: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class CorrelationPolicy:
    """Say which hosts' faults are one episode: those of a zone, or of one cause without a zone, within `correlate_ms`.

    It is the zone's from `zone_share` of its hosts on, and at least `zone_hosts`. Of the hosts without a zone,
    `fleet_hosts` are enough: what they have in common is not where they are, so their number says nothing.
    """

    correlate_ms: int = 120_000
    zone_share: float = 0.3
    zone_hosts: int = 3
    fleet_hosts: int = 10


@dataclass(frozen=True, slots=True)
class OpenEpisode:
    """Hold what correlation needs of an open episode; `hosts` are those still bad, `seen` counts all it ever had."""

    id: str
    fault: str
    scope: str
    zone: str
    hosts: frozenset[str]
    seen: int
    opened_ms: int
    is_escalated: bool
    rule: str = ""
    version: str = ""


def fold_finding(
    open_episodes: Mapping[str, OpenEpisode],
    finding: Finding,
    *,
    next_id: str,
    zone_sizes: Mapping[str, int],
    policy: CorrelationPolicy,
) -> tuple[Event, ...]:
    """Return the events that the finding makes: none, when it says nothing new."""
    current = _episode_of(open_episodes, finding)
    if finding.cleared:
        return _take_out(current, finding) if current is not None else ()
    if current is not None:
        return _change_fault(current, finding)
    joined = _correlated(open_episodes, finding, policy)
    if joined is None:
        return (_opened(next_id, finding),)
    scope = _scope_with(joined, zone_sizes.get(finding.zone, 0), policy)
    hosts = [finding.host]
    if _is_worse(joined, finding):
        return (_updated(joined.id, finding, joined=hosts, scope=scope, fault=finding.fault, rule=finding.rule),)
    return (_updated(joined.id, finding, joined=hosts, scope=scope),)


def _episode_of(open_episodes: Mapping[str, OpenEpisode], finding: Finding) -> OpenEpisode | None:
    family = FAMILIES[finding.fault]
    for episode in open_episodes.values():
        if finding.host in episode.hosts and FAMILIES[episode.fault] == family:
            return episode
    return None


def _correlated(
    open_episodes: Mapping[str, OpenEpisode], finding: Finding, policy: CorrelationPolicy
) -> OpenEpisode | None:
    """Return the episode that the finding belongs to: of the same zone and family, without a zone of the same cause."""
    for episode in open_episodes.values():
        if episode.zone != finding.zone or not _is_alike(episode, finding):
            continue
        is_near = finding.at_ms - episode.opened_ms <= policy.correlate_ms
        if is_near and (episode.scope in WIDE or not episode.is_escalated):
            return episode
    return None


def _is_alike(episode: OpenEpisode, finding: Finding) -> bool:
    if finding.zone:
        return FAMILIES[episode.fault] == FAMILIES[finding.fault]
    return _cause(episode) == _cause(finding)


def _cause(of: OpenEpisode | Finding) -> tuple[str, str, str]:
    """Return what tells one cause from another; a rule may name figures, which differ from host to host."""
    return of.fault, re.sub(r"\d+", "#", of.rule), of.version


def _scope_with(episode: OpenEpisode, zone_size: int, policy: CorrelationPolicy) -> str:
    hosts = episode.seen + 1
    is_many = hosts >= policy.zone_share * zone_size or (not episode.zone and hosts >= policy.fleet_hosts)
    is_wide = episode.scope in WIDE or (hosts >= policy.zone_hosts and is_many)
    return ("zone" if episode.zone else "fleet") if is_wide else "hosts"


def _opened(episode_id: str, finding: Finding) -> Event:
    data = {
        "episode": episode_id,
        "fault": finding.fault,
        "scope": "host",
        "hosts": [finding.host],
        "rule": finding.rule,
        "zone": finding.zone,
    }
    data |= {"version": finding.version} if finding.version else {}
    return Event("episode_opened", finding.at_ms, host=finding.host, data=data)


def _updated(
    episode_id: str,
    finding: Finding,
    *,
    joined: list[str] | None = None,
    recovered: list[str] | None = None,
    **changes: str,
) -> Event:
    data = {"episode": episode_id, "joined": joined or [], "recovered": recovered or [], **changes}
    return Event("episode_updated", finding.at_ms, host=finding.host, data=data)


def _change_fault(episode: OpenEpisode, finding: Finding) -> tuple[Event, ...]:
    if finding.fault == episode.fault or (episode.scope != "host" and not _is_worse(episode, finding)):
        return ()
    return (_updated(episode.id, finding, fault=finding.fault, rule=finding.rule),)


def _is_worse(episode: OpenEpisode, finding: Finding) -> bool:
    """Return whether the finding is of a host that is down, and the episode of hosts that are only degraded."""
    return episode.fault == "degraded" and finding.fault != "degraded"


def _take_out(episode: OpenEpisode, finding: Finding) -> tuple[Event, ...]:
    if episode.hosts == frozenset((finding.host,)):
        data = {"episode": episode.id, "reason": "recovered"}
        return (Event("episode_closed", finding.at_ms, host=finding.host, data=data),)
    return (_updated(episode.id, finding, recovered=[finding.host]),)

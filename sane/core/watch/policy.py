"""The numbers that the detectors go by.

The defaults were set on the traces of tests/bench/cascade/traces/tune at 30 s polls, and judged on those of
traces/judge; tests/bench/cascade/README.md has the figures. All times are milliseconds, so that they hold at any
interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class FlapPolicy:
    """Say what flapping is: bad runs add up, and fade with `fade_ms`; at `threshold` the host is flapping.

    A run of one bad sample adds `short_weight`: at 0.2% of such blips, four within minutes are needed, which chance
    makes some twice a month on 1,000 hosts. A longer run adds `long_weight`. It is over after `calm_ms` without a
    bad sample.
    """

    short_weight: float = 1.0
    long_weight: float = 2.5
    threshold: float = 4.6
    calm: float = 1.5
    fade_ms: int = 30 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class TrendPolicy:
    """Say what a slow leak is.

    One reading is taken in each `tick_ms`; the least of each `bucket_ms` counts, so sawtooths vanish. Each bucket is
    compared with the one a day before (`season` buckets), as a share of it; before there is a day, with the least
    so far. What is above `allowance` adds up (CUSUM). A leak is a sum above `limit`, in which at least
    `concordance` of all pairs of the last `window` buckets rise (Kendall; or `long_concordance` of the last
    `long_window`, for what rises slowly in much noise), by at least `window_rise` (`long_rise`) in all, and no
    single step is more than `step_share` of all. A field NAME_used_UNIT whose bucket is at `full_share` of
    NAME_total_UNIT needs no trend; it is over below `relief_share`.
    """

    tick_ms: int = 15 * MINUTE_MS
    bucket_ms: int = HOUR_MS
    season: int = 24
    window: int = 12
    least: int = 8
    allowance: float = 0.03
    limit: float = 0.6
    young_allowance: float = 1.5
    concordance: float = 0.75
    long_window: int = 24
    long_concordance: float = 0.6
    long_rise: float = 0.2
    window_rise: float = 0.1
    step_share: float = 0.35
    full_share: float = 0.9
    relief_share: float = 0.8
    field_limit: int = 16


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """Say when a sample is bad and how many bad ones make a finding.

    A finding needs `bad_in_a_row`, or `bad_samples` of the last `window` (a stale file `stale_samples` in a row:
    its age has already waited); recovery needs `good_samples` in a row. A file is stale after `stale_after_ms` (0:
    three polls). `starting` may last `wait_limit_ms`, `degraded` and a wrong version `patience_ms`. After an
    announced maintenance all counts start anew.
    """

    interval_ms: int = 30_000
    bad_in_a_row: int = 3
    window: int = 6
    bad_samples: int = 4
    stale_samples: int = 2
    good_samples: int = 10
    stale_after_ms: int = 0
    wait_limit_ms: int = 5 * MINUTE_MS
    patience_ms: int = 10 * MINUTE_MS
    flap: FlapPolicy = field(default_factory=FlapPolicy)
    trend: TrendPolicy = field(default_factory=TrendPolicy)

    @property
    def stale_limit_ms(self) -> int:
        """Return the age from which a health file is stale."""
        return self.stale_after_ms or 3 * self.interval_ms

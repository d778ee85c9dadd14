"""What calls cost in the benchmark. Every figure here is an assumption, named as one; change it here and run again.

Prices are in millionths of a dollar a thousand tokens. They stand for two classes of hosted models at list price,
without caching or batch discounts: a large one at 3 and 15 dollars a million tokens in and out, a small one at 0.15
and 0.60. The ratios of the result depend on the ratio of the two (20 in, 25 out), not on their size. Token counts
assume 3 bytes of JSON a token.
"""

from __future__ import annotations

from typing import NamedTuple


class Price(NamedTuple):
    """Micro-dollars a thousand tokens."""

    input: int
    output: int


class Call(NamedTuple):
    """Tokens of one call."""

    input: int
    output: int


PLANNER = Price(3_000, 15_000)
CHEAP = Price(150, 600)

SAMPLE_BY_PLANNER = Call(370, 60)  # 250 of instructions, 120 for one host's sample; a verdict and its reason
SAMPLE_BY_CHEAP = Call(370, 20)  # the same; a label and a confidence
PACKET_BY_PLANNER = Call(
    2_500, 400
)  # 800 of instructions, 700 for a packet of 2 KB, 1,000 for what its reading tools answer; a plan
EPISODE_BY_CHEAP = Call(950, 20)  # 250 of instructions, 700 for a packet of 2 KB; a label and a confidence
ROUND_FIXED, ROUND_A_HOST = 250, 12  # a whole fleet in one call: instructions, and one short line a host

BLIP_RATE = 0.002  # of all samples, each on its own
PLANNER_FAILURE_RATE = 0.05
CHEAP_MATRIX = (
    0.9,
    0.02,
)  # the small model by default: share of incidents it calls one, share of the rest it calls one
CHEAP_SWEEP = ((1.0, 0.0), (0.95, 0.05), (0.9, 0.02), (0.8, 0.2), (0.6, 0.4), (0.5, 0.5), (0.1, 0.9), (0.0, 1.0))


def cost_micro(price: Price, call: Call) -> float:
    """Return what a call costs in micro-dollars."""
    return (price.input * call.input + price.output * call.output) / 1_000

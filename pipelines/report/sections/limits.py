"""The section about the arms of a run: is it the labels, the conditioning or the policy's precision that limits it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.formats import figure, signed
from pipelines.report.model import ArmResult, ReportData

Context = Mapping[str, Any] | str | None

CONDITIONS = ("positive", "negative", "absent")
_HARDLY = 0.5
"""A condition that moves actions by less than this part of what the noise does is hardly read."""


def limits(data: ReportData) -> Context:
    """Every arm beside imitation: success, success by condition, how far the condition moves the actions."""
    if not data.arms:
        return None
    return {
        "rows": data.arms,
        "conditions": CONDITIONS,
        "probed": any(one.probe is not None for one in data.arms),
        "readings": [reading(one) for one in data.arms if one.probe is not None],
    }


def reading(one: ArmResult) -> str:
    """What a probe shows and what it does not, in a sentence."""
    probe = one.probe
    assert probe is not None, "asked for probed arms alone"
    positive, negative = probe.conditions["positive"], probe.conditions["negative"]
    gap = 100 * (positive.success - negative.success)
    # The attempts share starts and noise; apart intervals are beyond chance, overlapping ones say nothing.
    apart = positive.success_low > negative.success_high or negative.success_low > positive.success_high
    text = f"{one.arm}: positive minus negative {signed(gap)} points of {positive.attempts} starts each"
    text += ", beyond chance" if apart else ", which these attempts cannot tell from 0"
    distance = probe.distance
    if distance.ratio is None:
        return f"{text}; it acts without noise, and its condition moves actions by {figure(distance.condition)}."
    hardly = "hardly read: " if distance.ratio < _HARDLY else ""
    return f"{text}; the condition is {hardly}worth {figure(distance.ratio)} times the sampling noise in its actions."

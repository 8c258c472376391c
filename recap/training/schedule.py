"""Learning rate as a pure function of the step, so that a resume has no scheduler state to lose."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, peak: float, warmup_steps: int, final_share: float) -> float:
    """Linear warm-up from peak / warmup_steps, then half a cosine down to `final_share` of the peak.

    Args:
        step: 0-based number of the gradient step about to be taken.
        steps: gradient steps in all, >= 1.
        peak: highest rate.
        warmup_steps: steps of warm-up; shortened to a tenth of `steps` when training is shorter than ten of them.
        final_share: rate of the last step over the peak, [0, 1].

    Example:
        >>> learning_rate(0, steps=100, peak=1.0, warmup_steps=10, final_share=0.0)
        0.1
    """
    warmup = min(warmup_steps, steps // 10)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return peak * (final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress)))

"""advantage: from values to labels. N-step advantages, a threshold per task, one positive-or-negative per frame.

Composition only: the maths and the label health that fails the step stand in `value_model`. No model runs here, so
another threshold is a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recap.config import validate
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from value_model.advantage import LabelConfig
from value_model.health import LabelHealthConfig
from value_model.returns import ReturnConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageConfig:
    """Settings of one labelling."""

    task: str
    """Task id."""
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    """The return that the value model was trained on."""
    label: LabelConfig = field(default_factory=LabelConfig)
    health: LabelHealthConfig = field(default_factory=LabelHealthConfig)

    def __post_init__(self) -> None:
        validate(self)

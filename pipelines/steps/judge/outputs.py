"""What is found of values on episodes that their models had not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from value_model.evaluation import ValueReport
from value_model.metrics import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedModel:
    """One value model."""

    family: str
    tasks: Mapping[str, ValueReport]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueHealth:
    """The model whose values label, and those that stand beside it."""

    name: str
    """The one that labels."""
    held_out: bool
    """Every episode's values come from a model that had not seen it."""
    models: Mapping[str, JudgedModel]
    """{name in the run: its figures}, the one that labels among them."""
    problems: tuple[str, ...]
    """Bounds that the labelling model misses, in words."""
    enforce: bool
    """Label nothing with values that miss a bound."""
    differences: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """{task: {"FIGURE_minus_OTHER": a flaw AUC of the one that labels minus the other model's}}, of the same resamples
    of episodes; "episode_return" stands for the bare return of the whole episode."""

    @property
    def own(self) -> JudgedModel:
        """The one that labels."""
        return self.models[self.name]

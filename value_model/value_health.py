"""Are held-out values good enough to label with? Floors and ceilings on the figures of a value report.

Off unless they catch a model that cannot work at all: constant values, values that fall as successes proceed, that
belong to other frames or episodes, or that tell flawed actions from clean ones no better than chance.

A model that gives its advantages itself labels with them, and nothing says on what scale its values are. Bounds that
compare values with returns in size are not asked of it: `min_skill`, `min_value_spread`, `max_mse`, `max_gap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recap.config import setting, validate
from recap.errors import HealthError
from value_model.evaluation import ValueReport

_FLOORS = {
    "min_flaw_auc": "flaw_auc",
    "min_skill": "skill",
    "min_value_std": "value_std",
    "min_value_spread": "value_spread",
    "min_spearman": "spearman_time_median",
    "min_auc_75": "auc_75",
    "min_difference_correlation": "difference_correlation",
    "min_oracle_auc": "oracle_auc",
}
_CEILINGS = {
    "max_constant_share": "constant_share",
    "max_mse": "mse_return",
    "max_gap": "mse_gap",
    "max_outside_share": "outside_share",
    "max_flip_rate": "flip_rate",
}
_OF_SCALE = ("min_skill", "min_value_spread", "max_mse", "max_gap")
"""Bounds on the size of values beside that of returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueHealthConfig:
    """What held-out values must satisfy; none turns a check off. A figure that cannot be had fails no check.

    `min_skill`, `min_value_spread`, `max_mse` and `max_gap` are not asked of a model that gives its advantages itself.
    """

    min_flaw_auc: float | None = setting(
        0.55, minimum=0, maximum=1, help="flaw AUC: clean action segments above flawed ones; simulation only"
    )
    min_skill: float | None = setting(
        -0.1, maximum=1, help="squared error saved against the mean return; values of other episodes are far below 0"
    )
    min_value_std: float | None = setting(1e-3, minimum=0, help="smallest spread of all values")
    min_value_spread: float | None = setting(
        0.05, minimum=0, help="spread of values over that of returns; a model that collapsed to one value has none"
    )
    max_constant_share: float | None = setting(0.5, minimum=0, maximum=1, help="largest share of constant episodes")
    min_spearman: float | None = setting(0.0, minimum=-1, maximum=1, help="median Spearman with time on successes")
    min_auc_75: float | None = setting(None, minimum=0, maximum=1, help="AUC at 75 % of the median success length")
    min_difference_correlation: float | None = setting(None, minimum=-1, maximum=1, help="with true progress")
    min_oracle_auc: float | None = setting(None, minimum=0, maximum=1, help="agreement with oracle labels")
    max_mse: float | None = setting(None, minimum=0, help="error against the return")
    max_gap: float | None = setting(None, help="held-out minus train error")
    max_outside_share: float | None = setting(None, minimum=0, maximum=1, help="share of values not in [-1, 0]")
    max_flip_rate: float | None = setting(None, minimum=0, maximum=1, help="labels that change with the noise")
    enforce: bool = setting(True, help="label nothing with values that miss a bound; off: list them and go on")

    def __post_init__(self) -> None:
        validate(self)


def check_values(report: ValueReport, config: ValueHealthConfig, *, given: bool = False) -> tuple[str, ...]:
    """The bounds that the report misses, in words; none if all is well.

    Args:
        report: of one model on one task.
        config: the bounds.
        given: the model gives its advantages itself: no bound on the scale of its values is asked of it, those on
            ranks, constancy and flaw AUC are.
    """
    problems = []
    for bounds, word, wrong in ((_FLOORS, "at least", -1), (_CEILINGS, "at most", 1)):
        for name, figure_name in bounds.items():
            if given and name in _OF_SCALE:
                continue
            bound, figure = getattr(config, name), report.figures[figure_name]
            if bound is not None and figure.value is not None and (figure.value - bound) * wrong > 0:
                problems.append(
                    f"{report.task}: {figure_name} {figure.value:.4g} over {figure.count} episodes, "
                    f"expected {word} {bound:g} ({name})"
                )
    return tuple(problems)


def refuse_unfit(problems: Sequence[str]) -> None:
    """HealthError with every missed bound, if there is one: no label may be made from such values."""
    if problems:
        raise HealthError(
            "held-out values are not fit to label with:\n  - " + "\n  - ".join(problems),
            hint="recap report (all figures, beside clock and state_only); train the value model longer or on more "
            "episodes, or label all the same: --set judge.bounds.enforce=false",
        )

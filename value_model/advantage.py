"""Advantages, thresholds and labels: which frames a policy should imitate as "positive".

Owns the maths between values and labels, all of it on flat arrays of frames. It must not know which model gave the
values, nor whether the labels are fit to be used (health.py does).

Letters: E episodes, N frames in all, T frames of one episode, K look-ahead in control steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recap.config import setting, validate
from recap.errors import ConfigError, HealthError
from recap.types import BoolArray, FloatArray, IntArray, Source
from value_model.episodes import EpisodeFacts
from value_model.gae import EPISODE, GAE, HORIZONS, N_STEP, Horizon, decayed_sums
from value_model.returns import ReturnConfig, line_values, return_lines

_USUAL = Horizon()


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """How advantages become labels."""

    positive_fraction: float | None = setting(
        None,
        above=0,
        maximum=0.99,
        help="share of this iteration's autonomous frames above the threshold; none: task's",
    )
    human_positive: str = setting(
        "corrections",
        choices=("corrections", "all", "none"),
        help="human frames labelled positive whatever their value",
    )
    horizon: str = setting(
        N_STEP,
        choices=HORIZONS,
        help="how far an advantage looks: N steps, to the episode's end, or all horizons at once (gae)",
    )
    gae_lambda: float | None = setting(
        None, above=0, maximum=1, help="lambda of horizon gae, which needs one; none with the others"
    )
    lookahead_s: float | None = setting(
        None, above=0, maximum=3600, help="N of horizon n_step, s; none: the task's, which the value model has"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.lookahead_s is not None and self.horizon != N_STEP:
            raise ConfigError(
                f"advantage.label.lookahead_s = {self.lookahead_s:g} has no effect with horizon {self.horizon}",
                hint="--set advantage.label.horizon=n_step, or leave lookahead_s out",
            )

    @property
    def looks(self) -> Horizon:
        """How far the advantages look. ConfigError for a lambda that is missing or means nothing."""
        return Horizon(kind=self.horizon, gae_lambda=self.gae_lambda)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameLabels:
    """Labels of N frames and how they came about."""

    returns: FloatArray
    """[N] G_t; NaN where aborted."""
    advantage: FloatArray
    """[N] A_t; NaN where aborted."""
    positive: BoolArray
    """[N]."""
    forced: BoolArray
    """[N] True where a human's action is positive whatever the advantage."""
    on_threshold: BoolArray
    """[N] True on the frames that the thresholds were taken from."""
    thresholds: Mapping[str, float]
    """{task: eps}."""
    shares: Mapping[str, float]
    """{task: share that the threshold aims at}."""


def advantages(
    values: FloatArray,
    offsets: IntArray,
    success: BoolArray,
    max_steps: IntArray,
    lookahead: int | IntArray,
    config: ReturnConfig,
    *,
    ids: Sequence[str] | None = None,
    aborted: BoolArray | None = None,
    horizon: Horizon = _USUAL,
) -> FloatArray:
    """A_t = (sum of K step rewards) + V(o_{t+K}) - V(o_t); past the end the return itself: A_t = G_t - V(o_t).

    With horizon `episode` the return at every frame. With `gae` A_t = sum_k lambda^k delta_{t+k} up to the end, where
    delta_t is the advantage of K = 1. With V = G all are 0 for every outcome, frame and look-ahead.

    Args:
        values: [N] V(o_t).
        offsets: [E + 1].
        success: [E].
        max_steps: [E] T_max of each episode's task.
        lookahead: K in control steps, one for all or [E].
        config: the return that the values were trained on.
        ids: E episode ids, for messages.
        aborted: [E]; the rows of aborted episodes are NaN.
        horizon: how far to look; K matters to `n_step` alone.

    Returns:
        [N] float32.

    Raises:
        ConfigError: as `returns`; values do not fit the offsets; a look-ahead below 1.
    """
    lines = return_lines(offsets, success, max_steps, config, ids=ids, aborted=aborted)
    if values.shape != (int(offsets[-1]),):
        raise ConfigError(f"advantages: values have shape {values.shape}, expected ({int(offsets[-1])},)")
    ahead = np.broadcast_to(np.asarray(lookahead, dtype=np.int64), lines.slope.shape)
    if np.any(ahead < 1):
        raise ConfigError(f"advantages: look-ahead of {int(ahead.min())} steps, expected at least 1")
    lengths = np.diff(offsets)
    value = values.astype(np.float64)
    advantage = line_values(offsets, lines) - value
    if horizon.kind == EPISODE:
        return advantage.astype(np.float32)
    if horizon.kind == GAE:
        ahead = np.ones_like(ahead)
    later = np.arange(len(value)) + np.repeat(ahead, lengths)
    inside = np.flatnonzero(later < np.repeat(offsets[1:], lengths))
    cost = np.repeat(lines.slope * ahead, lengths)
    advantage[inside] = value[later[inside]] - value[inside] - cost[inside]
    if horizon.gae_lambda is not None:
        advantage = decayed_sums(advantage, offsets, horizon.gae_lambda)
    return advantage.astype(np.float32)


def check_share(share: float) -> None:
    """Raises ConfigError for a positive fraction outside (0, 1)."""
    if not 0 < share < 1:
        raise ConfigError(
            f"positive fraction {share}: expected between 0 and 1", hint="--set advantage.label.positive_fraction=0.4"
        )


def positive_threshold(advantage: FloatArray, share: float) -> float:
    """The (1 - share) quantile of the advantages (inverse of the empirical distribution, no interpolation).

    It is one of the advantages, chosen so that floor(share n) of n distinct ones lie strictly above it: the achieved
    share is never above the target, and below it by less than 1/n unless there are ties.

    Args:
        advantage: [n] of this iteration's autonomous frames.
        share: in (0, 1).

    Raises:
        ConfigError: a share outside (0, 1).
        HealthError: no advantages, or some that are not finite.
    """
    check_share(share)
    if advantage.size == 0:
        raise HealthError(
            "no autonomous frames of this iteration to set the threshold on",
            hint="collect rollouts in this iteration before labelling",
        )
    if not np.isfinite(advantage).all():
        bad = int(np.count_nonzero(~np.isfinite(advantage)))
        raise HealthError(
            f"{bad} of {advantage.size} advantages that set the threshold are NaN or infinite",
            hint="look at the value step's figures: its loss has probably diverged",
        )
    # The tiny term keeps 0.3 * 10 = 2.9999... from counting as 2.
    above = int(share * advantage.size + 1e-9)
    place = advantage.size - above - 1
    return float(np.partition(advantage, place)[place])


def label(advantage: FloatArray, threshold: float | FloatArray, forced: BoolArray) -> BoolArray:
    """[N] True where the advantage is strictly above the threshold (one, or [N]) or the frame is forced.

    NaN (aborted) is above nothing.
    """
    return (advantage > threshold) | forced


def threshold_frames(facts: EpisodeFacts) -> BoolArray:
    """[N] True on the autonomous frames of this iteration's rollouts and corrections that were not aborted."""
    chosen = facts.current & facts.of_source(Source.ROLLOUT, Source.CORRECTION) & ~facts.aborted
    return facts.rows(chosen) & ~facts.intervened


def forced_frames(facts: EpisodeFacts, human_positive: str) -> BoolArray:
    """[N] True on the frames that are positive because a human acted.

    `corrections`: the human's frames in corrections. `all`: those, and every frame of the demonstrations. `none`: none.
    Aborted episodes are never forced.
    """
    corrected = facts.rows(facts.of_source(Source.CORRECTION)) & facts.intervened
    if human_positive == "none":
        return np.zeros(facts.num_frames, dtype=np.bool_)
    if human_positive == "all":
        corrected |= facts.rows(facts.of_source(Source.DEMO))
    return corrected & facts.usable


def make_labels(
    values: FloatArray,
    facts: EpisodeFacts,
    config: LabelConfig,
    *,
    lookahead: Mapping[str, int],
    returns: ReturnConfig,
    shares: Mapping[str, float],
    given: FloatArray | None = None,
) -> FrameLabels:
    """Returns, advantages, one threshold per task and labels of every frame, old and new.

    Args:
        values: [N] V(o_t).
        facts: the E episodes; thresholds come from the current ones.
        config: how to label.
        lookahead: {task: K in control steps}.
        returns: the return that the values were trained on.
        shares: {task: positive fraction}, used where the configuration says none.
        given: [N] advantages by the model itself, in place of those of its values.

    Raises:
        ConfigError: as `advantages`; a task without a look-ahead or a share.
        HealthError: a task without autonomous frames of this iteration, or advantages that are not finite.
    """
    success, aborted = facts.success, facts.aborted
    shape = (facts.offsets, success, facts.max_steps)
    lines = return_lines(*shape, returns, ids=facts.ids, aborted=aborted)
    ahead = facts.per_task(lookahead, "look-ahead")
    advantage = advantages(values, *shape, ahead, returns, ids=facts.ids, aborted=aborted, horizon=config.looks)
    if given is not None:
        if given.shape != advantage.shape:
            raise ConfigError(f"given advantages have shape {given.shape}, expected {advantage.shape}")
        advantage = np.where(np.repeat(aborted, facts.lengths), np.float32(np.nan), given).astype(np.float32)
    forced, basis = forced_frames(facts, config.human_positive), threshold_frames(facts)
    tasks = facts.task_ids
    task_index = np.searchsorted(tasks, facts.tasks) if tasks else np.zeros(0, dtype=np.int64)
    task_of = np.repeat(task_index, facts.lengths)
    targets: dict[str, float] = {}
    eps = np.zeros(len(tasks), dtype=np.float32)
    for place, task in enumerate(tasks):
        share = shares.get(task) if config.positive_fraction is None else config.positive_fraction
        if share is None:
            raise ConfigError(f"task {task}: no positive fraction", hint="set positive_fraction of the advantage step")
        targets[task] = share
        try:
            eps[place] = positive_threshold(advantage[basis & (task_of == place)], share)
        except HealthError as error:
            raise HealthError(f"labels of {task}: {error.message}", hint=error.hint) from error
    return FrameLabels(
        returns=line_values(facts.offsets, lines).astype(np.float32),
        advantage=advantage,
        positive=label(advantage, eps[task_of], forced),
        forced=forced,
        on_threshold=basis,
        thresholds={task: float(eps[place]) for place, task in enumerate(tasks)},
        shares=targets,
    )

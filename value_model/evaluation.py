"""How good are values on episodes that the model did not see? Figures with intervals, one report per task.

Owns which figures there are and what each is taken from. It must not know which model gave the values: `clock`,
`state_only` and every other model pass through the same code, and are compared by the reader on the same episodes.

Letters: E episodes, N frames in all, K look-ahead in control steps. Aborted episodes are left out of everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.types import Event, FloatArray, KeyFrame
from value_model.advantage import advantages, positive_threshold
from value_model.episodes import EpisodeFacts
from value_model.event_scores import event_figures, event_scores
from value_model.flaw_auc import ScoredSegments, Segments, flaw_difference, flaw_figures, score_segments
from value_model.gae import Horizon
from value_model.held import Held, of_kept, prepare, rows_of
from value_model.metrics import Bootstrap, Figure, Floats, draws_of, pearson, spearman
from value_model.returns import ReturnConfig

Marks = Sequence[Sequence[Event | KeyFrame]]
_SHARES = (25, 50, 75)
_USUAL = Horizon()
EPISODE_RETURN = "episode_return"
"""Stands beside the models: an advantage that is the return of the whole episode, the same at each of its frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How to judge values."""

    seed: int = setting(0, minimum=0, help="of the bootstrap")
    resamples: int = setting(1000, minimum=100, maximum=100_000, help="of the bootstrap")
    confidence: float = setting(0.95, above=0, maximum=0.999, help="of the intervals")
    event_window: int = setting(10, minimum=1, help="w: frames before and after an event (the paper gives none)")
    event_eps: float = setting(0.05, above=0, help="eps in the event score's denominator (the paper gives none)")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueReport:
    """What was found on one task."""

    task: str
    episodes: int
    frames: int
    successes: int
    failures: int
    figures: Mapping[str, Figure]
    per_episode: Mapping[str, Mapping[str, float | None]]
    """{episode id: {spearman_time, pearson_time, mse_return}}, to compare models pairwise."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the health output of the step."""
        return {
            "task": self.task,
            "episodes": self.episodes,
            "frames": self.frames,
            "successes": self.successes,
            "failures": self.failures,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "per_episode": {name: dict(row) for name, row in self.per_episode.items()},
        }


def evaluate_values(
    values: FloatArray,
    facts: EpisodeFacts,
    config: EvaluationConfig,
    *,
    lookahead: int,
    returns: ReturnConfig,
    positive_fraction: float,
    progress: FloatArray | None = None,
    key_frames: Marks | None = None,
    segments: Segments | None = None,
    redrawn: FloatArray | None = None,
    train_values: FloatArray | None = None,
    horizon: Horizon = _USUAL,
    given: FloatArray | None = None,
) -> ValueReport:
    """Judges held-out values of one task.

    Args:
        values: [N] V(o_t) by a model that did not see the episode.
        facts: the E episodes, all of one task.
        config: how.
        lookahead: K of the labels, control steps.
        returns: the return that the values were trained on.
        positive_fraction: of the labels.
        progress: [N] true progress in [0, 1], NaN on the frames of episodes without truth.
        key_frames: E lists of events or marked frames.
        segments: E lists of action segments, None of an episode whose truth is not known.
        redrawn: [N] the same values from other noise.
        train_values: [N] values of the same frames by models that did see them.
        horizon: of the advantages that label.
        given: [N] advantages by the model itself, in place of those of its values. They depend on no noise.

    Returns:
        The report. A figure that cannot be had is None with the reason in its note.

    Raises:
        ConfigError: no episodes but aborted ones, several tasks, or arrays that do not fit.
        HealthError: a value that is NaN or infinite.
    """
    held, keep, rows = prepare(
        values,
        facts,
        lookahead=lookahead,
        returns=returns,
        positive_fraction=positive_fraction,
        progress=progress,
        horizon=horizon,
        given=given,
    )
    boot = Bootstrap(seed=config.seed, resamples=config.resamples, confidence=config.confidence)
    per_episode = _episode_rows(held)
    figures = {
        **_flaw_figures(held, of_kept(segments, keep, "segments"), boot),
        **_shape_figures(held, boot),
        **_time_figures(held, per_episode, boot),
        **_progress_figures(held, boot),
        **{f"auc_{share}": _auc_at(held, share, boot) for share in _SHARES},
        **_event_figures(held, of_kept(key_frames, keep, "key frames"), config, boot),
        "flip_rate": _flip_rate(held, rows_of(redrawn, rows, "redrawn"), returns, boot, given=given is not None),
        **_train_figures(held, rows_of(train_values, rows, "train_values"), boot),
    }
    success = held.facts.success
    return ValueReport(
        task=held.facts.tasks[0],
        episodes=held.facts.num_episodes,
        frames=held.facts.num_frames,
        successes=int(success.sum()),
        failures=int(np.sum(~success)),
        figures=figures,
        per_episode=dict(zip(held.facts.ids, per_episode, strict=True)),
    )


def evaluate_tasks(
    values: FloatArray,
    facts: EpisodeFacts,
    config: EvaluationConfig,
    *,
    lookahead: Mapping[str, int],
    returns: ReturnConfig,
    shares: Mapping[str, float],
    progress: FloatArray | None = None,
    key_frames: Marks | None = None,
    segments: Segments | None = None,
    redrawn: FloatArray | None = None,
    train_values: FloatArray | None = None,
    horizon: Horizon = _USUAL,
    given: FloatArray | None = None,
) -> dict[str, ValueReport]:
    """{task: `evaluate_values`} of episodes of several tasks.

    `lookahead` gives each task's K in control steps, `shares` its positive fraction.
    """
    reports = {}
    for task in facts.task_ids:
        keep = facts.of_task(task)
        rows = facts.rows(keep)
        for what, told in (("look-ahead", lookahead), ("positive fraction", shares)):
            if task not in told:
                raise ConfigError(f"task {task}: no {what}, only of {', '.join(sorted(told)) or 'no task'}")
        with draws_of(task):
            reports[task] = evaluate_values(
                values[rows],
                facts.subset(keep),
                config,
                lookahead=lookahead[task],
                returns=returns,
                positive_fraction=shares[task],
                progress=None if progress is None else progress[rows],
                key_frames=of_kept(key_frames, keep, "key frames"),
                segments=of_kept(segments, keep, "segments"),
                redrawn=None if redrawn is None else redrawn[rows],
                train_values=None if train_values is None else train_values[rows],
                horizon=horizon,
                given=None if given is None else given[rows],
            )
    return reports


def flaw_differences(
    values: Mapping[str, FloatArray],
    own: str,
    facts: EpisodeFacts,
    config: EvaluationConfig,
    *,
    lookahead: Mapping[str, int],
    returns: ReturnConfig,
    shares: Mapping[str, float],
    segments: Segments,
    horizon: Horizon = _USUAL,
    given: Mapping[str, FloatArray] | None = None,
) -> dict[str, dict[str, Figure]]:
    """{task: {"FIGURE_minus_OTHER": that figure of `own` minus the other's}}, as `flaw_difference` gives them.

    The others are the models of `values` ({name: [N]}) and "episode_return", the bare return of the whole episode.
    `given` holds the advantages of those models that give them. Arguments and errors as `evaluate_tasks`.
    """
    boot = Bootstrap(seed=config.seed, resamples=config.resamples, confidence=config.confidence)
    found: dict[str, dict[str, Figure]] = {}
    for task in facts.task_ids:
        chosen = facts.of_task(task)
        rows, of_task = facts.rows(chosen), facts.subset(chosen)
        scored: dict[str, ScoredSegments | None] = {}
        for name, value in values.items():
            held, keep, _ = prepare(
                value[rows],
                of_task,
                lookahead=lookahead[task],
                returns=returns,
                positive_fraction=shares[task],
                progress=None,
                horizon=horizon,
                given=given[name][rows] if given and name in given else None,
            )
            parts = [part for part, kept in zip(of_kept(segments, chosen, "segments") or (), keep, strict=True) if kept]
            scored[name] = score_segments(held.advantage, held.facts, parts)
            if EPISODE_RETURN not in scored:  # the same of every model
                scored[EPISODE_RETURN] = score_segments(held.bare_return, held.facts, parts)
        found[task] = {
            f"{figure}_minus_{name}": difference
            for name, other in scored.items()
            if name != own
            for figure, difference in flaw_difference(scored[own], other, boot).items()
        }
    return found


def _flaw_figures(held: Held, segments: Segments | None, boot: Bootstrap) -> dict[str, Figure]:
    """How well the advantage, and beside it the bare return of the episode, tells clean segments from flawed ones."""
    own, bare = (
        None if segments is None else score_segments(score, held.facts, segments)
        for score in (held.advantage, held.bare_return)
    )
    return flaw_figures(own, bare, boot)


def _episode_rows(held: Held) -> list[dict[str, float | None]]:
    error = held.per_episode((held.value - held.returns) ** 2) / held.facts.lengths
    table: list[dict[str, float | None]] = []
    for place, mse in enumerate(error):
        value = held.value[held.facts.offsets[place] : held.facts.offsets[place + 1]]
        time = np.arange(len(value))
        table.append(
            {"spearman_time": spearman(value, time), "pearson_time": pearson(value, time), "mse_return": float(mse)}
        )
    return table


def _shape_figures(held: Held, boot: Bootstrap) -> dict[str, Figure]:
    """Plain facts about the values; the constant ones are what a collapsed model gives."""
    lengths = held.facts.lengths.astype(np.float64)
    starts = held.facts.offsets[:-1]
    spread = np.maximum.reduceat(held.value, starts) - np.minimum.reduceat(held.value, starts)
    outside = ((held.value < -1) | (held.value > 0)).astype(np.float64)
    error = held.per_episode((held.value - held.returns) ** 2)
    blind = held.per_episode((held.returns.mean() - held.returns) ** 2)
    episodes = held.facts.num_episodes
    return {
        "value_std": Figure(value=float(held.value.std()), count=episodes, note="over all frames"),
        "value_spread": Figure(
            value=float(held.value.std() / held.returns.std()) if held.returns.std() > 0 else None,
            count=episodes,
            note="standard deviation of values over that of returns",
        ),
        "constant_share": Figure(
            value=float(np.mean(spread[lengths > 1] == 0)) if np.any(lengths > 1) else None,
            count=int(np.sum(lengths > 1)),
            note="episodes of more than one frame whose values are all equal",
        ),
        "outside_share": boot.ratio("outside_share", held.per_episode(outside), lengths, note="frames not in [-1, 0]"),
        "mse_return": boot.ratio("mse_return", error, lengths),
        "skill": boot.ratio(
            "skill", blind - error, blind, note="squared error saved against one value for all frames, the mean return"
        ),
    }


def _time_figures(held: Held, table: list[dict[str, float | None]], boot: Bootstrap) -> dict[str, Figure]:
    """Correlations with time on successes: an episode that ends well makes steady progress, roughly."""
    figures = {}
    won = [row for row, success in zip(table, held.facts.success, strict=True) if success]
    for measure, kinds in (("spearman_time", ("median", "mean")), ("pearson_time", ("median", "mean"))):
        known = np.array([row[measure] for row in won if row[measure] is not None], dtype=np.float64)
        note = f"{len(won)} successes"
        if len(known) < len(won):
            note += f", {len(won) - len(known)} left out: constant values or fewer than three frames"
        for kind in kinds:
            take = boot.median if kind == "median" else boot.mean
            figures[f"{measure}_{kind}"] = take(f"{measure}_{kind}", known, note=note)
    return figures


def _progress_figures(held: Held, boot: Bootstrap) -> dict[str, Figure]:
    """Against the simulator's progress, all outcomes: per-episode correlation, differences, oracle labels."""
    names = ("pearson_progress", "difference_correlation", "oracle_auc")
    known = np.isfinite(held.progress)
    if not known.any():
        return {name: Figure(value=None, note="no true progress is known") for name in names}
    each = []
    for place in np.unique(held.episode[known]):
        rows = np.flatnonzero(known & (held.episode == place))
        each.append(pearson(held.value[rows], held.progress[rows]))
    defined = np.array([one for one in each if one is not None], dtype=np.float64)
    note = f"{len(each)} episodes with truth, {len(each) - len(defined)} left out: constant values or progress"
    figures = {"pearson_progress": boot.mean("pearson_progress", defined, note=note)}
    rows = held.before_end
    rows = rows[known[rows] & known[rows + held.lookahead]]
    if not len(rows):
        reason = f"no episode with truth is longer than the look-ahead of {held.lookahead} steps"
        return figures | {name: Figure(value=None, note=reason) for name in names[1:]}
    gain = held.progress[rows + held.lookahead] - held.progress[rows]
    rise = held.value[rows + held.lookahead] - held.value[rows]
    episode = held.episode[rows]
    note = f"{len(rows)} frames whose look-ahead of {held.lookahead} steps stays within the episode"
    figures["difference_correlation"] = boot.pooled_pearson("difference_correlation", rise, gain, episode, note=note)
    best = gain > positive_threshold(gain.astype(np.float32), held.positive_fraction)
    note += f", {best.mean():.1%} positive by the oracle (ties fall below)"
    figures["oracle_auc"] = boot.pooled_auc("oracle_auc", held.advantage[rows], best, episode, note=note)
    return figures


def _auc_at(held: Held, share: int, boot: Bootstrap) -> Figure:
    """Success against failure at the same absolute step, among the episodes still running then."""
    success, lengths = held.facts.success, held.facts.lengths
    if success.all() or not success.any():
        return Figure(value=None, note=f"no {'failures' if success.all() else 'successes'} among {len(success)}")
    step = int(np.median(lengths[success]) * share / 100)
    running = lengths > step
    at = held.value[held.facts.offsets[:-1][running] + step]
    won = success[running]
    note = f"{int(won.sum())} successes and {int(np.sum(~won))} failures still running at step {step}"
    return boot.auc(f"auc_{share}", at[won], at[~won], note=note)


def _event_figures(held: Held, marks: Marks | None, config: EvaluationConfig, boot: Bootstrap) -> Mapping[str, Figure]:
    if marks is None:
        return {name: Figure(value=None, note="no events are known") for name in ("mdr", "err_dr", "ms", "es")}
    scores = event_scores(held.value, held.facts.offsets, marks, window=config.event_window, eps=config.event_eps)
    return event_figures(scores, boot)


def _flip_rate(held: Held, redrawn: Floats | None, returns: ReturnConfig, boot: Bootstrap, *, given: bool) -> Figure:
    """Share of frames whose label changes when only the noise is drawn anew, each draw with its own threshold."""
    if redrawn is None:
        return Figure(value=None, note="values were drawn once")
    if given:
        return Figure(value=None, note="the model gives its advantages itself, without noise")
    facts = held.facts
    shape = (facts.offsets, facts.success, facts.max_steps)
    again = advantages(redrawn.astype(np.float32), *shape, held.lookahead, returns, ids=facts.ids, horizon=held.horizon)
    first, second = (
        drawn > positive_threshold(drawn, held.positive_fraction)
        for drawn in (held.advantage.astype(np.float32), again)
    )
    chance = 2 * held.positive_fraction * (1 - held.positive_fraction)
    return boot.ratio(
        "flip_rate",
        held.per_episode((first != second).astype(np.float64)),
        facts.lengths.astype(np.float64),
        note=f"{chance:.2f} for labels by chance",
    )


def _train_figures(held: Held, train: Floats | None, boot: Bootstrap) -> dict[str, Figure]:
    """Error on the same frames by models that saw them, and how much worse the held-out values are."""
    if train is None:
        return {
            name: Figure(value=None, note="no values by models that saw the episodes")
            for name in ("mse_return_train", "mse_gap")
        }
    lengths = held.facts.lengths.astype(np.float64)
    seen, unseen = (held.per_episode((value - held.returns) ** 2) for value in (train, held.value))
    return {
        "mse_return_train": boot.ratio("mse_return_train", seen, lengths),
        "mse_gap": boot.ratio("mse_gap", unseen - seen, lengths, note="held-out minus train"),
    }

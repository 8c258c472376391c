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
from recap.errors import ConfigError, HealthError
from recap.types import BoolArray, Event, FloatArray, IntArray, KeyFrame
from value_model.advantage import advantages, positive_threshold
from value_model.episodes import EpisodeFacts
from value_model.event_scores import event_figures, event_scores
from value_model.metrics import Bootstrap, Figure, Floats, pearson, spearman
from value_model.returns import ReturnConfig
from value_model.returns import returns as returns_of

Marks = Sequence[Sequence[Event | KeyFrame]]
_SHARES = (25, 50, 75)


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Held:
    """The episodes under judgement, none aborted, all of one task."""

    facts: EpisodeFacts
    value: Floats
    returns: Floats
    advantage: Floats
    progress: Floats
    """[N] NaN where the truth is not known."""
    episode: IntArray
    """[N]."""
    lookahead: int
    positive_fraction: float

    @property
    def step(self) -> IntArray:
        """[N] t of each row."""
        return np.arange(self.facts.num_frames) - self.facts.offsets[self.episode]

    @property
    def before_end(self) -> IntArray:
        """Rows whose look-ahead stays within the episode."""
        rows = np.arange(self.facts.num_frames)
        return np.flatnonzero(rows + self.lookahead < self.facts.offsets[1:][self.episode])

    def per_episode(self, frame_numbers: Floats) -> Floats:
        """[E] sums over the frames of each episode."""
        return np.add.reduceat(frame_numbers, self.facts.offsets[:-1])


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
    redrawn: FloatArray | None = None,
    train_values: FloatArray | None = None,
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
        redrawn: [N] the same values from other noise.
        train_values: [N] values of the same frames by models that did see them.

    Returns:
        The report. A figure that cannot be had is None with the reason in its note.

    Raises:
        ConfigError: no episodes but aborted ones, several tasks, or arrays that do not fit.
        HealthError: a value that is NaN or infinite.
    """
    held, keep, rows = _prepare(
        values, facts, lookahead=lookahead, returns=returns, positive_fraction=positive_fraction, progress=progress
    )
    boot = Bootstrap(seed=config.seed, resamples=config.resamples, confidence=config.confidence)
    per_episode = _episode_rows(held)
    figures = {
        **_shape_figures(held, boot),
        **_time_figures(held, per_episode, boot),
        **_progress_figures(held, boot),
        **{f"auc_{share}": _auc_at(held, share, boot) for share in _SHARES},
        **_event_figures(held, key_frames, keep, config, boot),
        "flip_rate": _flip_rate(held, _rows_of(redrawn, rows, "redrawn"), returns, boot),
        **_train_figures(held, _rows_of(train_values, rows, "train_values"), boot),
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
    redrawn: FloatArray | None = None,
    train_values: FloatArray | None = None,
) -> dict[str, ValueReport]:
    """{task: `evaluate_values`} of episodes of several tasks.

    `lookahead` gives each task's K in control steps, `shares` its positive fraction.
    """
    reports = {}
    for task in facts.task_ids:
        keep = facts.of_task(task)
        rows = facts.rows(keep)
        for what, given in (("look-ahead", lookahead), ("positive fraction", shares)):
            if task not in given:
                raise ConfigError(f"task {task}: no {what}, only of {', '.join(sorted(given)) or 'no task'}")
        reports[task] = evaluate_values(
            values[rows],
            facts.subset(keep),
            config,
            lookahead=lookahead[task],
            returns=returns,
            positive_fraction=shares[task],
            progress=None if progress is None else progress[rows],
            key_frames=None if key_frames is None else [key_frames[place] for place in np.flatnonzero(keep)],
            redrawn=None if redrawn is None else redrawn[rows],
            train_values=None if train_values is None else train_values[rows],
        )
    return reports


def _prepare(
    values: FloatArray,
    facts: EpisodeFacts,
    *,
    lookahead: int,
    returns: ReturnConfig,
    positive_fraction: float,
    progress: FloatArray | None,
) -> tuple[_Held, BoolArray, BoolArray]:
    """What is judged, which episodes [E] that is and which rows [N]."""
    if len(facts.task_ids) > 1:
        raise ConfigError(f"values of {len(facts.task_ids)} tasks at once: judge each on its own (evaluate_tasks)")
    if values.shape != (facts.num_frames,):
        raise ConfigError(f"values have shape {values.shape}, expected ({facts.num_frames},)")
    keep = ~facts.aborted
    if not keep.any():
        raise ConfigError(f"no episodes to judge values on: {facts.num_episodes} given, all aborted")
    rows = facts.rows(keep)
    kept = facts.subset(keep)
    value = values[rows].astype(np.float64)
    episode = np.repeat(np.arange(kept.num_episodes, dtype=np.int64), kept.lengths)
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        place = int(episode[bad[0]])
        raise HealthError(
            f"{len(bad)} of {len(value)} values are NaN or infinite, the first at step "
            f"{int(bad[0] - kept.offsets[place])} of episode {kept.ids[place]}",
            hint="look at the value step's loss: it has probably diverged",
        )
    shape = (kept.offsets, kept.success, kept.max_steps)
    known = _rows_of(progress, rows, "progress")
    held = _Held(
        facts=kept,
        value=value,
        returns=returns_of(*shape, returns, ids=kept.ids).astype(np.float64),
        advantage=advantages(value.astype(np.float32), *shape, lookahead, returns, ids=kept.ids).astype(np.float64),
        progress=np.full(len(value), np.nan) if known is None else known,
        episode=episode,
        lookahead=lookahead,
        positive_fraction=positive_fraction,
    )
    return held, keep, rows


def _rows_of(array: FloatArray | None, rows: BoolArray, name: str) -> Floats | None:
    if array is None:
        return None
    if array.shape != rows.shape:
        raise ConfigError(f"{name} have shape {array.shape}, expected {rows.shape}")
    return array[rows].astype(np.float64)


def _episode_rows(held: _Held) -> list[dict[str, float | None]]:
    error = held.per_episode((held.value - held.returns) ** 2) / held.facts.lengths
    table: list[dict[str, float | None]] = []
    for place, mse in enumerate(error):
        value = held.value[held.facts.offsets[place] : held.facts.offsets[place + 1]]
        time = np.arange(len(value))
        table.append(
            {"spearman_time": spearman(value, time), "pearson_time": pearson(value, time), "mse_return": float(mse)}
        )
    return table


def _shape_figures(held: _Held, boot: Bootstrap) -> dict[str, Figure]:
    """Plain facts about the values; the constant ones are what a collapsed model gives."""
    lengths = held.facts.lengths.astype(np.float64)
    starts = held.facts.offsets[:-1]
    spread = np.maximum.reduceat(held.value, starts) - np.minimum.reduceat(held.value, starts)
    outside = ((held.value < -1) | (held.value > 0)).astype(np.float64)
    episodes = held.facts.num_episodes
    return {
        "value_std": Figure(value=float(held.value.std()), count=episodes, note="over all frames"),
        "constant_share": Figure(
            value=float(np.mean(spread[lengths > 1] == 0)) if np.any(lengths > 1) else None,
            count=int(np.sum(lengths > 1)),
            note="episodes of more than one frame whose values are all equal",
        ),
        "outside_share": boot.ratio("outside_share", held.per_episode(outside), lengths, note="frames not in [-1, 0]"),
        "mse_return": boot.ratio("mse_return", held.per_episode((held.value - held.returns) ** 2), lengths),
    }


def _time_figures(held: _Held, table: list[dict[str, float | None]], boot: Bootstrap) -> dict[str, Figure]:
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


def _progress_figures(held: _Held, boot: Bootstrap) -> dict[str, Figure]:
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


def _auc_at(held: _Held, share: int, boot: Bootstrap) -> Figure:
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


def _event_figures(
    held: _Held, marks: Marks | None, keep: BoolArray, config: EvaluationConfig, boot: Bootstrap
) -> Mapping[str, Figure]:
    if marks is None:
        return {name: Figure(value=None, note="no events are known") for name in ("mdr", "err_dr", "ms", "es")}
    if len(marks) != len(keep):
        raise ConfigError(f"key frames of {len(marks)} episodes, expected {len(keep)}")
    kept = [marks[place] for place in np.flatnonzero(keep)]
    scores = event_scores(held.value, held.facts.offsets, kept, window=config.event_window, eps=config.event_eps)
    return event_figures(scores, boot)


def _flip_rate(held: _Held, redrawn: Floats | None, returns: ReturnConfig, boot: Bootstrap) -> Figure:
    """Share of frames whose label changes when only the noise is drawn anew, each draw with its own threshold."""
    if redrawn is None:
        return Figure(value=None, note="values were drawn once")
    facts = held.facts
    shape = (facts.offsets, facts.success, facts.max_steps)
    again = advantages(redrawn.astype(np.float32), *shape, held.lookahead, returns, ids=facts.ids)
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


def _train_figures(held: _Held, train: Floats | None, boot: Bootstrap) -> dict[str, Figure]:
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
